"""A plan is complete, sound, and the same after a round trip through YAML; what is wrong with it is said at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from ilcore.degradations.estimate import ChannelReport, Preflight
from ilcore.formats.open import from_array
from ilcore.grammar.errors import BadPlan
from ilcore.grammar.problem import Noise
from ilcore.planning.channels import channel_plans
from ilcore.planning.known import believed, live_channels
from ilcore.planning.plan import (
    ChannelPlan,
    GridPlan,
    RestorationPlan,
    SamplesPlan,
    SourcePlan,
    WeightsPlan,
    read_plan,
)  # fmt: skip

CHANNEL = ChannelPlan(low=0, high=2, floor=-1, ceiling=3, gain=0.1, read_std=0.2, verdict="white", confidence=0.9)
PLAN = RestorationPlan(
    source=SourcePlan(uri="/data/scan.npy", digest="d" * 64, axes="yx", shape=(1, 1, 1, 64, 48), dtype="uint16"),
    target="/data/out.ome.zarr",
    method="zs_n2n",
    scope="volume",
    overrides={"stop.steps": 5, "network.slope": 0.1},
    why="because",
    grid=GridPlan(core=(1, 32, 24), overlap=(0, 8, 8), halo=(0, 4, 4)),
    channels=(CHANNEL,),
    samples=SamplesPlan(count=3, extent=(1, 32, 32)),
)


def changed(**updates):
    return RestorationPlan.of({**PLAN.model_dump(), **updates})


def test_yaml_there_and_back():
    assert RestorationPlan.from_yaml(PLAN.to_yaml()) == PLAN
    assert RestorationPlan.from_yaml(PLAN.to_yaml()).fingerprint == PLAN.fingerprint


def test_yaml_is_made_for_people():
    assert yaml.safe_load(PLAN.to_yaml())["grid"]["core"] == [1, 32, 24]
    assert PLAN.to_yaml().splitlines()[0] == "source:"


def test_the_fingerprint_ignores_where_things_lie_and_why():
    moved = PLAN.source.model_copy(update={"uri": "/elsewhere/scan.npy"})
    weights = {"sha256": "a" * 64}
    start = changed(method="adapted", overrides={}, weights=WeightsPlan(uri="shipped", path="/a", **weights))
    again = changed(method="adapted", overrides={}, weights=WeightsPlan(uri="models:/x", path="/b", **weights))
    assert changed(target="/x.zarr", why="asked", source=moved).fingerprint == PLAN.fingerprint
    assert start.fingerprint == again.fingerprint


@pytest.mark.parametrize(
    "updates",
    [
        {"seed": 1},
        {"overrides": {"stop.steps": 6, "network.slope": 0.1}},
        {"scope": "tile"},
        {"tile_steps": 3},
        {"grid": PLAN.grid.model_copy(update={"overlap": (0, 4, 8)})},
        {"channels": (CHANNEL.model_copy(update={"high": 2.5}),)},
        {"channels": (CHANNEL.model_copy(update={"read_std": 0.3}),)},
        {"source": PLAN.source.model_copy(update={"digest": "e" * 64})},
        {"source": PLAN.source.model_copy(update={"missing": 7.0})},
        {"samples": PLAN.samples.model_copy(update={"count": 4})},
    ],
)
def test_the_fingerprint_knows_everything_that_decides_pixels(updates):
    assert changed(**updates).fingerprint != PLAN.fingerprint


def test_all_complaints_come_at_once():
    with pytest.raises(BadPlan) as caught:
        changed(
            channels=(CHANNEL, CHANNEL.model_copy(update={"high": -1.0})), task="inpaint",
            grid=PLAN.grid.model_copy(update={"overlap": (0, 30, 30)}), samples=SamplesPlan(extent=(1, 96, 32)),
            source=PLAN.source.model_copy(update={"dtype": "nonsense"}),
        )  # fmt: skip
    said = str(caught.value)
    for words in ("1 entries, got 2", "high > low", "overlap must be at most half", "samples.extent", "'nonsense'",
                  "zs_n2n can denoise, got task inpaint"):  # fmt: skip
        assert words in said
    assert "\n" not in said


def test_every_wrong_field_is_named():
    content = PLAN.model_dump() | {"seed": -1, "scope": "nowhere", "surplus": 1}
    del content["target"]
    with pytest.raises(BadPlan, match=r"target: .*scope: .*seed: .*surplus: "):
        RestorationPlan.of(content)


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ({"method": "zs_n2m"}, "did you mean 'zs_n2n'"),
        ({"overrides": {"stop.stepz": 3}}, "stop.stepz must name a knob .* there are: steps"),
        ({"overrides": {"stop.steps": "many"}}, "must be int"),
        ({"method": "dip", "overrides": {}}, "tile_steps"),
        ({"method": "adapted", "overrides": {}}, "needs weights"),
        ({"weights": WeightsPlan(uri="w", path="/w", sha256="0")}, "leave them out"),
        ({"channels": (CHANNEL.model_dump() | {"low": float("nan")},)}, "channels.0.low"),
        ({"channels": (CHANNEL.model_dump() | {"read_std": -1},)}, "channels.0.read_std"),
    ],
)
def test_one_wrong_thing_is_said_in_one_sentence(updates, words):
    with pytest.raises(BadPlan, match=words):
        changed(**updates)


@pytest.mark.parametrize("text", ["{", "a: [1,", "just words", "", "- 1\n- 2", "source: 3", "\x00"])
def test_yaml_that_is_no_plan(text):
    with pytest.raises(BadPlan, match="`il plan` writes a good one"):
        RestorationPlan.from_yaml(text)


def test_files_that_are_no_plan(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(BadPlan, match="a plan must be"):
            read_plan(path)


def test_a_saved_plan_is_read_back(tmp_path):
    path = Path(tmp_path / "plan.yaml")
    path.write_text(PLAN.to_yaml())
    assert read_plan(path) == PLAN


def test_normalised_values_have_headroom():
    assert PLAN.value_range == pytest.approx((-0.6, 1.6))


def report(verdict="unknown", confidence=0.0):
    return ChannelReport(
        noise=Noise(gain=2.0, read_std=1.0, offset=5.0, correlation=verdict), lag_y=0.1, lag_x=0.2, lag_diag=0.0,
        verdict=verdict, saturated_share=0, empty_share=0, missing_share=0, level=3.0, confidence=confidence, notes=(),
    )  # fmt: skip


def frozen(array, missing=None, count=1):
    volume = from_array(array, missing=missing)
    samples = [volume.read(tuple((0, n) for n in volume.shape))[0]]
    return channel_plans(samples, Preflight(channels=(report(),) * count), volume)


def test_percentiles_become_nought_and_one():
    channel = frozen(np.linspace(0, 1000, 10_001).reshape(73, 137))[0]
    assert (channel.low, channel.high) == pytest.approx((1, 999))
    assert (channel.floor, channel.ceiling) == (0, 1000)


def test_beads_on_black_give_the_scale_themselves():
    image = np.zeros((100, 100), "u2")
    image[3, 4] = 60_000
    channel = frozen(image)[0]
    assert (channel.low, channel.high) == (0, 60_000)


@pytest.mark.parametrize("value", [0, 65535])
def test_half_of_it_empty_or_saturated(value):
    image = np.random.default_rng(0).integers(100, 200, (64, 64)).astype("u2")
    image[:, :32] = value
    channel = frozen(image)[0]
    assert channel.high > channel.low
    assert value in (channel.low, channel.high)


def test_a_dark_channel_is_flat_and_does_not_count():
    stack = np.stack([np.full((8, 8), np.nan), np.full((8, 8), 3.0), np.arange(64.0).reshape(8, 8)])[:, None]
    channels = frozen(stack, count=3)
    assert [channel.is_flat for channel in channels] == [True, True, False]
    assert (channels[0].low, channels[0].high) == (0, 1)
    found = Preflight(channels=(report(), report(), report("white", 0.8)))
    assert live_channels(found, channels).verdict == "white"


def test_confidence_is_that_of_the_least_certain_channel_that_counts():
    flat = CHANNEL.model_copy(update={"floor": 1.0, "ceiling": 1.0, "confidence": 0.0})
    unsure = CHANNEL.model_copy(update={"confidence": 0.3})
    source = PLAN.source.model_copy(update={"shape": (1, 3, 1, 64, 48)})
    assert changed(source=source, channels=(CHANNEL, flat, unsure)).confidence == 0.3
    assert changed(source=source, channels=(flat,) * 3).confidence == 0.0


@pytest.mark.parametrize(("measured", "verdict"), [("unknown", "white"), ("white", "white"), ("row", "row")])
def test_a_known_noise_level_is_certain_and_white_unless_correlation_was_measured(measured, verdict):
    found = believed(Preflight(channels=(report(measured),)), 4.0).channels[0]
    assert (found.verdict, found.confidence, found.level) == (verdict, 1.0, 4.0)
    assert found.noise == Noise(gain=0, read_std=4.0, offset=5.0, correlation=verdict)


def test_without_a_known_level_nothing_is_believed():
    found = Preflight(channels=(report("row", 0.4),))
    assert believed(found, None) is found


def test_estimates_are_rounded_so_that_last_bits_make_no_other_plan():
    volume = from_array(np.arange(64.0).reshape(8, 8))
    samples = [volume.read(tuple((0, n) for n in volume.shape))[0]]
    third = report()
    near = replace(third, level=third.level * (1 + 1e-13), lag_x=third.lag_x * (1 - 1e-13))
    assert near != third
    assert channel_plans(samples, Preflight(channels=(near,)), volume) == channel_plans(
        samples, Preflight(channels=(third,)), volume
    )
