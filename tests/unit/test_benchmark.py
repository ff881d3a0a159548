"""The benchmark: the same noise every time, honest rows for whatever happens, nothing measured twice."""

import os
import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from ilcore.benchmark import runs
from ilcore.benchmark.contenders import CHOOSE, NOISY, Contender, line_up
from ilcore.benchmark.images import BenchmarkImage, Law
from ilcore.benchmark.measuring import asked, measure_each, open_work
from ilcore.benchmark.page import BEGIN, END, write_between
from ilcore.benchmark.runs import Settings, measure
from ilcore.benchmark.score import Score, ScoreFile
from ilcore.benchmark.sets import CORRELATED, POISSON, WHITE, gather
from ilcore.benchmark.table import cells, costs, markdown, quality
from ilcore.grammar.errors import BadInput, UnknownMethod
from ilcore.methods.catalogue import METHODS
from tests.quick import DENOISERS
from tests.scenes import scene

QUICK = Settings(crop=32, steps=2)


def contender(text: str) -> Contender:
    return Contender.of(text)


def picture(name: str = "scenes") -> BenchmarkImage:
    return gather([name], limit=1)[0]


def images(folder: Path, count: int = 2) -> Path:
    folder.mkdir(parents=True)
    for n in range(count):
        imsave(folder / f"{n}.png", (scene("cells", (40, 48), n) * 255).astype(np.uint8), check_contrast=False)
    return folder


# sets


def test_noise_is_that_of_the_position_of_the_file(tmp_path):
    images(tmp_path / "natural/set12")
    for n, one in enumerate(gather(["set12"], data=tmp_path)):
        case = one.load()
        wanted = case.truth + np.random.default_rng(n).normal(0, 25 / 255, case.truth.shape)
        np.testing.assert_allclose(case.noisy, wanted, atol=1e-6)
        assert case.noise_std == 25 / 255
        assert case.noisy.min() < 0 or case.noisy.max() > 1  # neither clipped nor rounded


def test_correlated_noise_keeps_its_level_and_is_alike_in_neighbours():
    flat = np.full((256, 256), 0.5, np.float32)
    grain = CORRELATED.add(flat, 0) - flat
    assert grain.std() == pytest.approx(25 / 255, rel=1e-3)
    assert np.mean(grain[:, 1:] * grain[:, :-1]) / grain.var() > 0.6
    assert CORRELATED.known_std is None


def test_poisson_noise_grows_with_the_light():
    dark, bright = (float((POISSON.add(np.full((256, 256), x, np.float32), 0) - x).var()) for x in (0.1, 0.9))
    assert dark == pytest.approx(0.1 / 30 + (5 / 255) ** 2, rel=0.05)
    assert bright == pytest.approx(0.9 / 30 + (5 / 255) ** 2, rel=0.05)


def test_a_cut_is_a_part_of_the_whole_problem():
    whole, part = picture().load(), picture().load(crop=32)
    np.testing.assert_array_equal(part.noisy, whole.noisy[48:80, 48:80])
    assert picture("scenes_volume").load(crop=32).noisy.shape == (16, 32, 32)


def test_pairs_of_the_users_own_are_brought_to_the_peak_of_their_truth(tmp_path):
    for name, values in (("clean", np.array([[0, 4000], [2000, 1000]])), ("noisy", np.array([[100, 8000], [0, 0]]))):
        (tmp_path / "mine" / name).mkdir(parents=True)
        np.save(tmp_path / "mine" / name / "a.npy", values.astype(np.uint16))
    case = gather(images=tmp_path / "mine")[0].load()
    assert case.truth.tolist() == [[0, 1], [0.5, 0.25]]
    assert case.noisy.tolist() == pytest.approx(np.array([[0.025, 2], [0, 0]]))


def test_real_fields_bring_their_other_exposures(tmp_path):
    for place in ("gt/F.png", "raw/F_1.png", "raw/F_2.png", "raw/F_3.png"):
        path = tmp_path / "microscopy/fmd" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        imsave(path, np.full((16, 16), int(path.stem[-1]) if "_" in path.stem else 9, np.uint8), check_contrast=False)
    case = gather(["fmd"], data=tmp_path)[0].load()
    assert case.noisy[0, 0] == np.float32(1 / 255)
    assert [float(one[0, 0] * 255) for one in case.companions] == pytest.approx([2, 3])


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"names": ["set13"]}, "set12"),
        ({"names": ["set12"]}, "--data"),
        ({"data": Path("/nowhere")}, "known set"),
        ({"images": Path("/nowhere")}, "--noise 25"),
        ({"images": Path("/nowhere"), "noise": 25.0}, "files ending"),
    ],
)
def test_what_is_not_there_is_said_with_the_way_out(wish, told):
    with pytest.raises(BadInput, match=told):
        gather(**wish)


def test_without_folders_scenes_are_generated():
    assert {one.set for one in gather()} == {"scenes", "scenes_correlated", "scenes_poisson", "scenes_volume"}


# contenders


def test_a_contender_is_read_with_scope_and_knobs():
    read = contender("zs_n2n@volume:steps=5,network.width=8")
    assert (read.method, read.scope, dict(read.overrides)) == ("zs_n2n", "volume", {"steps": 5, "network.width": 8})


@pytest.mark.parametrize("text", ["nlm@volume", "dip:steps", "dip@nowhere"])
def test_contenders_that_cannot_be_are_refused(text):
    with pytest.raises(BadInput):
        contender(text)
    with pytest.raises(UnknownMethod):
        contender("nonsense")


def test_all_means_the_input_every_method_and_the_choice():
    names = [one.name for one in line_up(scope="both")]
    assert names[0] == NOISY
    assert names[-1] == CHOOSE
    assert {name for name in DENOISERS if "tile" in METHODS[name].scopes} <= set(names)
    assert "zs_n2n@volume" in names


# one run


@pytest.mark.medium
@pytest.mark.parametrize("text", ["noisy", "nlm", "zs_n2n", "zs_n2n@volume", "adapted@volume"])
def test_a_run_measures_everything(text):
    score = measure(contender(text), picture(), QUICK)
    assert score.refused is None
    assert 5 < score.psnr < 60
    assert -1 <= score.ssim <= 1
    assert score.seconds_per_megapixel > 0
    assert score.peak_memory_mb > 50
    assert score.stop_reason


def test_psnr_is_that_of_the_clipped_result_and_the_error_that_of_the_unclipped():
    case = picture().load(32)
    score = measure(contender("noisy"), picture(), QUICK)
    clipped = np.mean((np.clip(case.noisy, 0, 1) - case.truth) ** 2)
    assert score.psnr == pytest.approx(-10 * np.log10(clipped), abs=1e-3)
    assert score.mse == pytest.approx(np.mean((case.noisy - case.truth) ** 2), rel=1e-4)
    assert score.mse > clipped


def test_an_estimated_risk_is_told_in_the_units_of_the_truth():
    score = measure(contender("adapted"), picture(), Settings(crop=96, steps=1))
    assert 0.4 < score.risk / score.mse < 2.5


def test_a_refusal_is_a_row_with_its_reason():
    score = measure(contender("zs_n2n:network.width=0"), picture(), QUICK)
    assert score.psnr is None
    assert score.refused
    blind = measure(contender("dip:no_such_knob=1"), picture(), QUICK)
    assert "no_such_knob" in blind.refused
    assert blind.is_final


def test_an_accident_is_a_row_that_is_tried_again(monkeypatch):
    monkeypatch.setattr("ilcore.benchmark.runs.restore", lambda *_, **__: 1 / 0)
    score = measure(contender("nlm"), picture(), QUICK)
    assert score.refused.startswith("ZeroDivisionError")
    assert not score.is_final


def test_methods_are_told_the_level_or_not(monkeypatch):
    told = []
    real = runs.restore

    def listening(noisy, method, noise_std, *rest, **more):
        told.append(noise_std)
        return real(noisy, method, noise_std, *rest, **more)

    monkeypatch.setattr("ilcore.benchmark.runs.restore", listening)
    for is_told in (True, False):
        measure(contender("tv"), picture(), replace(QUICK, is_told=is_told))
    assert told == [25 / 255, None]


@pytest.mark.medium
def test_a_result_on_another_scale_is_fitted_where_the_set_says_so():
    squeezed = f"{sys.executable} -c \"import numpy as np; np.save('{{restored}}', 0.5 * np.load('{{noisy}}') + 3)\""
    program = Contender.program(f"squeezed={squeezed}")
    fitted = replace(picture(), law=Law(std=0.01), is_fitted=True)
    assert measure(program, fitted, QUICK).psnr > 38
    assert measure(program, replace(fitted, is_fitted=False), QUICK).psnr < 10


# programs of others


def test_a_program_reads_and_writes_npy_and_hears_the_level(tmp_path):
    script = tmp_path / "theirs.py"
    script.write_text(
        "import sys, numpy as np\n"
        "y = np.load(sys.argv[1]); assert abs(float(sys.argv[3]) - 25 / 255) < 1e-6\n"
        "np.save(sys.argv[2], np.full_like(y, y.mean()))\n"
    )
    score = measure(Contender.program(f"mean={sys.executable} {script} {{noisy}} {{restored}} {{noise_std}}"),
                    picture(), QUICK)  # fmt: skip
    assert score.refused is None
    assert score.psnr > 5
    # Linux counts what the parent held when it started the program.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    assert 5 < score.peak_memory_mb < own + 500


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (f"{sys.executable} -c \"import sys; sys.exit('out of luck')\" {{noisy}} {{restored}}", "out of luck"),
        ("/no/such/program {noisy} {restored}", "/no/such/program"),
        ("true {noisy} {restored}", "must write"),
    ],
)
def test_a_program_that_fails_is_a_row_with_its_last_words(command, told):
    score = measure(Contender.program(f"bad={command}"), picture(), QUICK)
    assert score.psnr is None
    assert told in score.refused


def test_a_program_without_its_files_is_refused():
    with pytest.raises(BadInput, match="restored"):
        Contender.program("x=denoise {noisy}")


# the file


def test_nothing_is_measured_twice(tmp_path):
    file = ScoreFile(tmp_path / "scores.jsonl")
    two, pictures = [contender("noisy"), contender("tv")], gather(["scenes"], limit=2)
    first = list(measure_each(two[:1], pictures, QUICK, file, is_apart=False))
    assert len(first) == 2
    second = list(measure_each(two, pictures, QUICK, file, is_apart=False))
    assert {score.method for score in second} == {"tv"}
    assert list(measure_each(two, pictures, QUICK, file, is_apart=False)) == []
    assert len(open_work(two, pictures, replace(QUICK, seed=1), file)) == 2
    assert [score.method for score in asked(two, pictures, QUICK, file)] == ["noisy"] * 2 + ["tv"] * 2


def test_a_line_cut_by_a_kill_costs_one_image_only(tmp_path):
    file, score = ScoreFile(tmp_path / "s.jsonl"), Score(key="a", method="m", set="s", image="i", psnr=1.0)
    file.add(score)
    with file.path.open("a") as raw:
        raw.write('{"key": "b", "meth')
    file.add(replace(score, key="c"))
    assert set(file.scores()) == {"a", "c"}


def test_what_failed_by_accident_is_tried_again(tmp_path):
    file, score = ScoreFile(tmp_path / "s.jsonl"), Score(key="a", method="m", set="s", image="i")
    file.add(replace(score, refused="MemoryError: ", is_final=False))
    assert file.done() == set()
    file.add(replace(score, psnr=30.0))
    assert file.done() == {"a"}
    assert file.scores()["a"].psnr == 30.0


def test_a_changed_recipe_is_measured_anew(monkeypatch, tmp_path):
    file, one = ScoreFile(tmp_path / "s.jsonl"), [contender("tv")]
    list(measure_each(one, [picture()], QUICK, file, is_apart=False))
    assert not open_work(one, [picture()], QUICK, file)
    changed = replace(METHODS["tv"], method=replace(METHODS["tv"].method, strength=0.9))
    monkeypatch.setitem(METHODS, "tv", changed)
    assert open_work(one, [picture()], QUICK, file)


@pytest.mark.medium
def test_the_death_of_a_process_is_a_row_and_the_next_image_is_measured(tmp_path):
    file = ScoreFile(tmp_path / "s.jsonl")
    # A program that kills its parent: the process in which the contender is measured.
    deadly = Contender.program(f'deadly=sh -c "kill -9 $PPID" {{noisy}} {{restored}}')  # noqa: F541
    scores = list(measure_each([deadly, contender("noisy")], [picture()], QUICK, file))
    assert [score.method for score in scores] == ["deadly", "noisy"]
    assert "exit code -9" in scores[0].refused
    assert scores[1].psnr > 10
    assert os.getpid()


# the table

SCORES = [
    Score(key="1", method="noisy", set="A", image="x", psnr=20.0, ssim=0.4, mse=0.01, seconds_per_megapixel=0.1,
          peak_memory_mb=100.0, steps=0, stop_reason="untouched"),
    Score(key="2", method="good", set="A", image="x", psnr=30.0, ssim=0.9, mse=0.001, risk=0.0012,
          seconds_per_megapixel=2.0, peak_memory_mb=300.0, steps=7, stop_reason="budget of 7 steps"),
    Score(key="3", method="good", set="A", image="y", psnr=32.0, ssim=0.9, mse=0.001, stop_reason="budget of 9 steps"),
    Score(key="4", method="noisy", set="A", image="y", psnr=22.0, ssim=0.4, mse=0.01),
    Score(key="5", method="bad", set="A", image="x", psnr=19.0, ssim=0.1, mse=0.02),
    Score(key="6", method="bad", set="A", image="y", refused="wants | this; got that"),
    Score(key="7", method="choose", set="A", image="x", psnr=29.5, ssim=0.8),
]  # fmt: skip


def test_means_and_the_best_of_complete_rows():
    assert cells(SCORES)[("good", "A")].psnr == 31.0
    lines = quality(SCORES).splitlines()
    assert lines[0] == "| method | A |"
    assert "| good | **31.00 / 0.900** |" in lines
    assert "| bad | 19.00 / 0.100 (1/2) |" in lines


def test_costs_tell_honesty_and_harm():
    rows = {line.split("|")[1].strip(): line for line in costs(SCORES).splitlines()[2:]}
    assert "| 1.20 | 2 | 300 | 0/2 | budget of n steps (2) |" in rows["good"]
    assert "| 1/1 |" in rows["bad"]


def test_the_table_says_where_it_comes_from():
    told = markdown(SCORES, Settings(steps=3, crop=64), "il bench --quick")
    for words in ("torch", "il bench --quick", "3 at most", "64 pixels", "wants / this", "0.50 | 0.50", "ssim"):
        assert words in told


def test_what_stands_outside_the_markers_stays(tmp_path):
    page = tmp_path / "docs" / "b.md"
    write_between(page, "one")
    page.write_text("mine before\n" + page.read_text() + "mine after\n")
    write_between(page, "two")
    text = page.read_text()
    assert text.startswith("mine before\n")
    assert text.endswith("mine after\n")
    assert f"{BEGIN}\ntwo\n{END}" in text
    assert "one" not in text


def test_markers_are_added_to_a_page_that_has_none(tmp_path):
    page = tmp_path / "b.md"
    page.write_text("words")
    write_between(page, "table")
    assert page.read_text() == f"words\n\n{BEGIN}\ntable\n{END}\n"


def test_white_noise_alone_has_a_level_to_tell():
    assert WHITE.known_std == 25 / 255
    assert POISSON.known_std is None
