"""Every plan survives YAML, to the last bit of every number."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ilcore.planning.plan import ChannelPlan, GridPlan, RestorationPlan, SamplesPlan, SourcePlan

numbers = st.floats(-1e12, 1e12, allow_nan=False)
widths = st.floats(1e-9, 1e9, allow_nan=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KNOBS = [{}, {"stop.steps": 7}, {"descent.learning_rate": 1e-5}, {"network.residual": False}]
lags = st.tuples(*(st.floats(-1, 1),) * 3)


@st.composite
def channels(draw):
    low = draw(st.floats(-1e6, 1e6))
    return ChannelPlan(
        low=low, high=low + draw(st.floats(1e-3, 1e6)), floor=draw(numbers), ceiling=draw(numbers), gain=draw(widths),
        read_std=draw(widths), offset=draw(numbers), verdict=draw(st.sampled_from(["white", "row", "unknown"])),
        confidence=draw(st.floats(0, 1)), lags=draw(lags), level=draw(widths),
        notes=tuple(draw(st.lists(words, max_size=2))),
    )  # fmt: skip


@st.composite
def plans(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), *(draw(st.integers(1, 500)) for _ in "zyx"))
    core = tuple(draw(st.integers(1, 64)) for _ in "zyx")
    source = SourcePlan(
        uri=draw(words), digest=draw(words), axes="tczyx", shape=shape,
        dtype=draw(st.sampled_from(["uint8", "float64"])), missing=draw(st.none() | numbers | st.just(float("nan"))),
    )  # fmt: skip
    return RestorationPlan(
        source=source,
        target=draw(words),
        result_format=draw(st.sampled_from(["ome-zarr 0.5", "ome-zarr 0.4"])),
        method="zs_n2n",
        scope=draw(st.sampled_from(["tile", "volume"])),
        overrides=draw(st.sampled_from(KNOBS)),
        tile_steps=draw(st.integers(0, 99)),
        why=draw(words),
        seed=draw(st.integers(0, 2**63)),
        grid=GridPlan(core=core, overlap=tuple(n // 2 for n in core), halo=(0, 5, 5)),
        channels=tuple(draw(channels()) for _ in range(shape[1])),
        samples=SamplesPlan(count=draw(st.integers(1, 50)), extent=tuple(min(n, 96) for n in shape[2:])),
    )


@settings(max_examples=60, deadline=None)
@given(plans())
def test_there_and_back(plan):
    again = RestorationPlan.from_yaml(plan.to_yaml())
    assert again.to_yaml() == plan.to_yaml()
    assert again.fingerprint == plan.fingerprint
    assert again.model_dump(exclude={"source": {"missing"}}) == plan.model_dump(exclude={"source": {"missing"}})
    assert repr(again.source.missing) == repr(plan.source.missing)


@settings(max_examples=30, deadline=None)
@given(plans(), st.text("a\x85\u2028\u2029 \n\xe9", max_size=8))
def test_line_breaks_of_every_kind_come_back(plan, why):
    told = plan.model_copy(update={"why": why})
    assert RestorationPlan.from_yaml(told.to_yaml()).why == why


@settings(max_examples=30, deadline=None)
@given(plans(), words, words)
def test_where_things_lie_is_no_part_of_the_fingerprint(plan, target, place):
    source = plan.source.model_copy(update={"uri": place})
    assert plan.model_copy(update={"target": target, "source": source}).fingerprint == plan.fingerprint
