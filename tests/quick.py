"""Every method of the catalogue, small: for tests that run all of them."""

from ilcore.methods.catalogue import METHODS
from ilcore.methods.entry import Entry, configure

_HOURGLASS = {"steps": 300, "network.width": 16, "network.scales": 3}
_BLIND = {"steps": 60, "network.width": 8, "descent.learning_rate": 5e-3}
_PAIRS = {"steps": 60, "network.width": 12, "network.depth": 5, "stop.every": 10, "descent.learning_rate": 3e-3}
#: Small enough for seconds, large enough to learn something.
QUICK = {
    "nlm": {},
    "tv": {},
    "wavelet": {},
    "bm3d": {},
    "nlm_j": {"levels": 5},
    "tv_j": {"levels": 5},
    "wavelet_j": {"levels": 5},
    "zs_n2n": {"steps": 120, "network.width": 16},
    "dip": {"steps": 150, "network.width": 16, "network.scales": 3},
    "adapted": {"steps": 10},
    "nl_ridge": {"window": 15, "stride": 3, "first": 12, "second": 30},
    "sure": {"steps": 120, "network.width": 16, "network.depth": 5},
    "pure": {"steps": 120, "network.width": 16, "network.depth": 5},
    "unsure": {"steps": 150, "network.width": 16, "network.depth": 5},
    "dip_sure": {"steps": 150, "network.width": 16, "network.scales": 3},
    "esure": {"steps": 400, "network.width": 16, "network.scales": 3},
    "n2v": _BLIND | {"views.percent": 6.0, "stop.every": 10},
    "n2v2": _BLIND | {"views.percent": 6.0, "stop.every": 10},
    "struct_n2v": _BLIND | {"views.percent": 6.0},
    "noise2self": _BLIND | {"stop.every": 10},
    "dip_tv": _HOURGLASS | {"steps": 120, "readout.weight": 0.95},
    "deep_red": _HOURGLASS | {"steps": 120, "loss.every": 30, "readout.weight": 0.95},
    "double_over": {"steps": 120, "network.inner.width": 16, "network.inner.scales": 3, "readout.weight": 0.95},
    "deep_decoder": {"steps": 250, "network.width": 24, "network.scales": 3, "views.halvings": 3},
    "dip_sgld": _HOURGLASS | {"steps": 200, "readout.burn_in": 100, "readout.every": 2, "descent.learning_rate": 1e-3},
    "laine": {"steps": 60, "network.width": 8, "network.depth": 3, "descent.learning_rate": 3e-3},
    "self2self": {"steps": 100, "network.width": 12, "network.depth": 2, "views.passes": 8}
    | {"descent.learning_rate": 5e-3},
    "noise2same": _BLIND | {"views.percent": 6.0, "stop.every": 10},
    "neighbor2neighbor": _BLIND | {"network.depth": 2},
    "r2r": _PAIRS | {"views.draws": 4},
    "gr2r": _PAIRS | {"views.draws": 4},
    "frame_pairs": {"steps": 40, "network.inner.width": 8, "descent.learning_rate": 3e-3},
    "zs_hpd": {"steps": 60, "network.width": 12, "network.depth": 5, "descent.learning_rate": 3e-3},
    "noise2fast": {"steps": 120, "network.inner.width": 12, "network.inner.depth": 5, "descent.learning_rate": 5e-3},
    "pixel2pixel": {"steps": 60, "network.width": 12, "views.window": 15, "descent.learning_rate": 3e-3},
    "noise2score": {"steps": 100, "network.width": 12, "network.depth": 5, "descent.learning_rate": 3e-3},
    "bicubic": {},
    "back_projection": {"iterations": 4},
}
#: Methods whose result lies on the grid of the observation.
DENOISERS = tuple(sorted(name for name, entry in METHODS.items() if "denoise" in entry.tasks))
#: Methods that learn from one plane to the next, and what they say of a tile that has only one.
STACKS = {"frame_pairs": "use 3-D tiles"}


def quick(name: str, **more: int | float) -> Entry:
    """Return a method at its quick settings, and some knobs of your own."""
    steps = {} if METHODS[name].method.budget else {"steps": None}
    return configure(METHODS[name], {k: v for k, v in (QUICK[name] | more).items() if k not in steps})
