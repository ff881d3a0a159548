"""The report: what the page says, and what its pictures show, pixel by pixel."""

import base64
import io
import re
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from ilcore.grammar.errors import BadInput
from ilcore.qa.drawing import ABOVE, BELOW, MISSING
from ilcore.qa.pictures import (
    NO_TILE,
    Plane,
    before_after_picture,
    curve_picture,
    map_picture,
)
from ilcore.qa.report import ReportInput, WorstTile, render_report
from ilcore.qa.verdict import Finding
from tests.scenes import noisy, scene

#: Where the panels of a picture begin, and what lies between them.
TOP, GAP = 42, 14


def pixels(png):
    return np.round(imread(io.BytesIO(png))[..., :3] * 255).astype(int)


def panels(png, width, height):
    """Return before, after and the residual as drawn."""
    image, column = pixels(png), max(width, 270)
    return [image[TOP : TOP + height, n * (column + GAP) :][:, :width] for n in range(3)]


def share(image, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((image == rgb).all(-1).mean())


def plane(before, after=None, **more):
    return Plane(name="z 0", before=before, after=before if after is None else after, **more)


def example(**changes):
    image = noisy(scene("cells", (40, 50)), std=0.1)
    given = ReportInput(
        title="embryo",
        verdict="warn",
        findings=[
            Finding("residual level", "pass", 0.98, "0.6 to 1.35", "1 is right"),
            Finding("seams", "warn", 2.125, "at most 1.5", "gradient across"),
        ],
        why="The noise is white.",
        plan_yaml="method: adapted\n",
        planes=[plane(image, noise_std=0.1)],
        maps={"residual_level": np.ones((2, 3, 4))},
    )
    return replace(given, **changes)


class Page(HTMLParser):
    """The tags of a page and its text; raises nothing, so closing is checked by `open`."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(("verdict", "word"), [("pass", "PASS"), ("warn", "WARN"), ("fail", "FAIL")])
def test_banner_says_the_verdict_by_word_and_colour(verdict, word):
    page = Page(render_report(example(verdict=verdict)))
    assert ("div", {"class": f"banner {verdict}", "role": "status"}) in page.tags
    assert [other for other in ("PASS", "WARN", "FAIL") if f" {other}\n" in page.text] == [word]


def test_findings_stand_with_number_and_limit_worst_first():
    text = " ".join(Page(render_report(example())).text.split())
    assert "Marked: seams." in text
    assert "! warn seams2.125at most 1.5gradient across" in text
    assert text.index("! warn") < text.index("✓ pass")


def test_page_is_well_formed_and_loads_nothing():
    page = Page(render_report(example()))
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    sources = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
    assert len(sources) == 2
    for source in sources:
        assert source.startswith("data:image/png;base64,")
        assert pixels(base64.b64decode(source.partition(",")[2])).size


def test_whatever_comes_from_files_is_escaped():
    evil = '<script>alert("1")</script>'
    image = np.zeros((5, 7))
    bad = Plane(name=evil, before=image, after=image)
    page = render_report(
        example(
            title=evil,
            why=evil,
            plan_yaml=evil,
            findings=[Finding(evil, "fail", 1.0, evil, evil)],
            preflight_rows=[{evil: evil, "notes": (evil,)}],
            planes=[bad],
            maps={evil: np.zeros((2, 2))},
            worst=[WorstTile(index=(0, 0), reason=evil, row={evil: evil}, plane=bad)],
            curves=[(evil, [(0, 1)])],
            numbers={evil: evil},
            versions={evil: evil},
        )
    )
    assert evil not in page
    assert page.count("&lt;script&gt;") >= 14


def test_sparse_input_makes_a_page_without_empty_sections():
    text = Page(render_report(example(findings=[], planes=[], maps={}))).text
    assert "No check was made." in text
    assert re.findall(r"Tiles to look at|Learning|Where in the volume|what was taken away", text) == []


def test_everything_is_told():
    crop = plane(noisy(scene("coast", (20, 30)), std=0.1))
    given = example(
        crops=[crop],
        worst=[WorstTile(index=(0, 1, 2, 3), reason="fell back", row={"risk": np.nan, "steps": 100}, plane=crop)],
        curves=[("tile 0", [(0, 1.0), (10, 0.5)])],
        numbers={"estimated gain": "8.4 dB"},
        versions={"torch": "2.9"},
        preflight_rows=[{"name": "DAPI", "gain": 0.0123456, "lags": (0.25, -0.5), "notes": ()}, {"read_std": 3.0}],
        maps={"status": np.array([[[1, 1, 2]]]), "odd_name": np.array([[np.nan, 2.0]])},
        words={"status": ("open", "restored", "fell back")},
    )  # fmt: skip
    text = " ".join(Page(render_report(given)).text.split())
    for told in ("8.4 dB", "tile 0, 1, 2, 3: fell back", "risk – · steps 100", "torch2.9", "restored 2, fell back 1",
                 "odd name", "median 2, from 2 to 2; 1 without", "name gain lags notes read std".replace(" ", ""),
                 "DAPI0.012350.25, -0.5––", "method: adapted", "The noise is white."):  # fmt: skip
        assert told in text.replace("read std", "readstd") if "readstd" in told else told in text


@pytest.mark.medium
def test_heavy_pages_stay_below_five_megabytes():
    rng = np.random.default_rng(0)
    noise = [plane(rng.normal(size=(420, 420)), rng.normal(size=(420, 420)), noise_std=1.0) for _ in range(9)]
    page = render_report(
        example(planes=noise, crops=noise, worst=[WorstTile(index=(0,), reason="", row={}, plane=p) for p in noise])
    )
    assert 1_000_000 < len(page.encode()) < 5_000_000
    assert "3 more planes are not drawn here" in page
    assert "1 more tiles are not drawn here" in page


def test_before_and_after_share_the_contrast_of_before():
    ramp = np.linspace(0, 100, 100).repeat(4).reshape(20, 20)
    before, after, _ = panels(before_after_picture(plane(ramp, ramp / 2), panel=20), 60, 24)
    assert before.max() == 255
    assert before.min() == 0
    assert 120 <= after.max() <= 135


def test_residual_is_grey_within_four_sigma_red_above_blue_below():
    before = np.zeros((20, 20))
    before[:5], before[5:10] = 4.5, -4.5
    before[10:15] = 2
    residual = panels(before_after_picture(plane(before, np.zeros((20, 20)), noise_std=1.0), panel=100), 100, 100)[2]
    assert share(residual, ABOVE) == pytest.approx(0.25, abs=0.02)
    assert share(residual, BELOW) == pytest.approx(0.25, abs=0.02)
    assert residual[62, 50].tolist() == pytest.approx([191] * 3, abs=2)
    assert residual[90, 50].tolist() == pytest.approx([128] * 3, abs=1)


def test_missing_values_have_their_own_colour_and_filled_ones_do_not():
    before = scene("cells", (50, 50)).copy()
    before[:10], before[10:20] = np.nan, np.inf
    filled = np.where(np.isfinite(before), before, 0.3)
    drawn = panels(before_after_picture(plane(before, filled), panel=100), 100, 100)
    assert [share(panel, MISSING) for panel in drawn] == pytest.approx([0.4, 0, 0.4], abs=0.03)


@pytest.mark.medium
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((30, 30)),
        np.full((5, 7), 65535, np.uint16),
        np.full((8, 8), np.nan),
        np.full((8, 8), -np.inf),
        np.ones((1, 1)),
        np.arange(300, dtype=">i2").reshape(1, 300),
        np.arange(3000.0).reshape(3000, 1),
        np.array([[0, 1e30], [-1e30, np.nan]]),
    ],
    ids=["zeros", "constant 5x7", "all missing", "infinite", "one pixel", "one row", "one column", "huge"],
)
@pytest.mark.parametrize("noise_std", [None, 0.0, float("nan"), 0.1])
def test_odd_planes_are_drawn(image, noise_std):
    png = before_after_picture(plane(image, noise_std=noise_std), (0.5, 0.25, "micrometer"), panel=120)
    height, width = pixels(png).shape[:2]
    assert 90 <= height <= 66 + 120
    assert width == 3 * 270 + 2 * GAP


@pytest.mark.parametrize("after", [np.zeros((4, 5)), np.zeros((1, 4, 4))])
def test_planes_that_do_not_match_are_refused(after):
    with pytest.raises(BadInput, match=r"before and after must be planes \[y, x\] of one shape, got \(4, 4\)"):
        before_after_picture(plane(np.zeros((4, 4)), after))


@pytest.mark.medium
def test_large_planes_are_reduced_by_block_means_in_flat_memory():
    # Noise that alternates between pixels averages out; what is left is the step, and one missing corner.
    image = np.indices((4096, 4096), np.int32).sum(0) % 2 * np.float32(8) - 4
    image[:, 2048:] += 1
    image[:1000, :1000] = np.nan
    tracemalloc.start()
    png = before_after_picture(plane(image, image, noise_std=4.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6, f"{peak / 1e6:.0f} MB on top of a plane of {image.nbytes / 1e6:.0f} MB"
    # 4096 pixels in blocks of five.
    assert pixels(png).shape[1] == 3 * 820 + 2 * GAP
    before = panels(png, 820, 820)[0]
    assert share(before, MISSING) == pytest.approx((1000 / 4096) ** 2, abs=0.005)
    # The odd pixel of 25 leaves 4 / 25 of the 8 of the noise; the last block is a single row.
    assert np.ptp(before[300:-1, :405]) < 90
    assert before[300:-1, 415:-1].mean() - before[300:-1, :405].mean() > 150


def test_scale_bar_has_the_length_it_says():
    image = np.zeros((200, 200))
    image[0] = 1e-3
    with_bar = panels(before_after_picture(plane(image), (0.5, 0.5, "micrometer"), panel=200), 200, 200)[0]
    without = panels(before_after_picture(plane(image), panel=200), 200, 200)[0]
    # A third of 100 µm at most: 20 µm, 40 pixels.
    lengths = (with_bar[100:, :, 0] == 255).sum(1)
    assert lengths.max() == pytest.approx(40, abs=1)
    assert share(without[100:], "#ffffff") == 0


def test_voxels_that_are_taller_than_wide_are_drawn_so():
    wide = pixels(before_after_picture(plane(np.zeros((40, 40))), (2.0, 1.0, "nm"), panel=160))
    assert wide.shape[0] == 160 + 66
    drawn = pixels(before_after_picture(plane(np.zeros((40, 40))), (1.0, float("nan"), "nm"), panel=160))
    assert drawn.shape[0] == 160 + 66


@pytest.mark.medium
def test_names_with_dollars_are_not_formulas():
    odd = Plane(name=r"cost $\frac$ _{", before=np.zeros((4, 4)), after=np.zeros((4, 4)))
    assert pixels(before_after_picture(odd, (1, 1, "$"), panel=60)).size
    assert pixels(curve_picture([(r"$\bad", [(0, 1), (1, 2)])])).size


def test_maps_show_missing_tiles_and_bad_ones():
    level = np.ones((4, 6))
    level[0], level[1] = np.nan, 5.0
    image = pixels(map_picture("residual_level", level))
    good = image[4 : 4 + 192, :288]
    assert share(good, NO_TILE) == pytest.approx(0.25, abs=0.02)
    assert share(good, "#67001f") == pytest.approx(0.25, abs=0.02)
    assert (good[150] >= 240).all()


@pytest.mark.medium
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (40, 1, 1), (3, 2, 4, 5), (2, 1200), (1200, 2), (5, 1000, 1000)])
@pytest.mark.parametrize("value", [0.0, np.nan, 7.0])
def test_maps_of_any_shape_are_drawn(shape, value):
    drawn = pixels(map_picture("steps", np.full(shape, value)))
    assert drawn.shape[1] == 400
    assert drawn.shape[0] <= 700


def test_maps_of_words_colour_by_word():
    words = ("open", "restored", "fell back", "empty", "failed")
    image = pixels(map_picture("status", np.array([[1, 4]]), words=words))
    assert share(image[:, :300], "#6dbf8b") == pytest.approx(share(image[:, :300], "#d7191c"), rel=0.1)
    assert share(image[:, :300], "#d7191c") > 0


def test_curves_leave_out_what_is_not_finite():
    points = [(step, 1.0 + step) for step in range(50)]
    plain = curve_picture([("a", points)])
    assert curve_picture([("a", [*points, (60, float("nan"))]), ("b", [(0, float("inf"))])]) == plain
    assert curve_picture([("a", points[:-1])]) != plain


@pytest.mark.parametrize("curves", [[], [("a", [])], [("a", [(0, 0.0), (1, -1.0)])], [("a", [(3, 2.0)])]])
def test_odd_curves_are_drawn(curves):
    assert np.ptp(pixels(curve_picture(curves))) == 255


@pytest.mark.medium
def test_pictures_need_no_pyplot_and_its_global_state():
    code = (
        "import sys, numpy as np;"
        "from ilcore.qa.pictures import *;"
        "before_after_picture(Plane(name='', before=np.eye(9), after=np.eye(9))); map_picture('a', np.eye(3));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
