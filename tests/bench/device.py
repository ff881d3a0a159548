"""Every method on a device: does it run, does it agree with the CPU, what does a step cost?

    python -m tests.bench.device [--device cuda] [--seconds-per-method 10] [--methods dip,n2v] [--small] [--no-cases]

The table: two steps at the tests' small settings and a small learning rate, here and on the CPU (the difference), then
steps of the catalogue's own networks on two tiles (the cost). After it every method goes, at the small settings,
through all the ways in which it can be carried out: strategies, holes, channels, noise laws, 3-D, stopping rules, one
model of all tiles.
The difference is the largest of all pixels, in units of the noise's standard deviation; TF32 is off unless `--tf32`.
Needs torch, numpy, scipy, scikit-image and safetensors; PyWavelets only for the method that uses it.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import ModuleType

import torch


class _Absent(ModuleType):
    """Stands in for a package that only some methods need, so that the others can be tried."""

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"needs {self.__name__}, which is not installed")


for _package in ("pywt",):
    if find_spec(_package) is None:
        sys.modules[_package] = _Absent(_package)

from ilcore.grammar.errors import BadInput  # noqa: E402
from ilcore.methods.catalogue import METHODS  # noqa: E402
from ilcore.methods.entry import Entry, configure, knobs  # noqa: E402
from tests.on_device import WHITE, cases, problem_of, restored, shape_for, stop_cases  # noqa: E402
from tests.quick import DENOISERS, quick  # noqa: E402

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """What one method did on the device."""

    method: str
    verdict: str
    difference: float = float("nan")
    ms_per_step: float = float("nan")
    peak_mb: float = float("nan")

    def __str__(self) -> str:
        numbers = f"{self.difference:9.2e} | {self.ms_per_step:8.1f} | {self.peak_mb:8.0f}"
        return f"{self.method:18} | {numbers} | {self.verdict}"


def gently(entry: Entry, steps: int) -> Entry:
    """Return a method with steps so small that roundings do not decide."""
    rates = {knob: 1e-4 for knob in knobs(entry) if knob.endswith("learning_rate")}
    return configure(entry, rates | ({"steps": steps} if entry.method.budget else {}))


def measured(name: str, options: argparse.Namespace) -> Row:
    """Return what one method did: the difference at the small settings, the cost at the catalogue's own."""
    device, problem = torch.device(options.device), problem_of(shape_for(name, 2, 1, options.side))
    small, whole = quick(name), quick(name) if options.small else METHODS[name]
    try:
        here, there = (restored(gently(small, 2), problem, "grouped", where).cpu() for where in (CPU, device))
        taken = options.steps if small.method.budget else 1
        _forget_peak(device)
        _timed(partial(restored, gently(whole, 1), problem, "grouped", device), device)
        short = _timed(partial(restored, gently(whole, 1), problem, "grouped", device), device)
        long = _timed(partial(restored, gently(whole, 1 + taken), problem, "grouped", device), device)
    except (BadInput, ImportError) as error:
        return Row(name, f"refused: {error}")
    except Exception as error:
        return Row(name, _sentence(error))
    difference = float((there - here).abs().max()) / WHITE.read_std
    cost = (long - short) / taken if small.method.budget else long
    return Row(name, "ok", difference, 1000 * cost, _peak(device))


def carried_out(name: str, device: torch.device, until: float) -> Iterator[tuple[str, str]]:
    """Yield every way in which a method is carried out, and ok, refused, late or the error."""
    ways = cases(name)
    if METHODS[name].method.budget:
        ways |= {f"stop {rule}": case for rule, case in stop_cases(name).items()}
    for way, case in ways.items():
        if time.monotonic() > until:
            yield way, "late"
            continue
        try:
            image = case(device)
            fine = image.device.type == device.type and image.isfinite()[:1].all()
            yield way, "ok" if fine else f"came out on {image.device}, or not finite"
        except (BadInput, ImportError):
            yield way, "refused"
        except Exception as error:
            yield way, _sentence(error)


def _timed(work: partial, device: torch.device) -> float:
    _settle(device)
    began = time.perf_counter()
    work()
    _settle(device)
    return time.perf_counter() - began


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else float("nan")


def _sentence(error: Exception) -> str:
    """Return an error in one line, and the last line of ours that it came through."""
    ours = [f for f in traceback.extract_tb(error.__traceback__) if "/ilcore/" in f.filename]
    where = f" [{ours[-1].filename.split('/ilcore/')[-1]}:{ours[-1].lineno}]" if ours else ""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}{where}"


def main() -> int:
    """Print a row for every method; the exit code is 1 where one failed on the device."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    wanted.add_argument("--methods", default=",".join(DENOISERS))
    wanted.add_argument("--side", type=int, default=64)
    wanted.add_argument("--steps", type=int, default=6)
    wanted.add_argument("--seconds-per-method", type=float, default=10)
    wanted.add_argument("--small", action="store_true")
    wanted.add_argument("--no-cases", action="store_true")
    wanted.add_argument("--tf32", action="store_true")
    options = wanted.parse_args()
    device, names, failed = torch.device(options.device), options.methods.split(","), 0
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.tf32
    torch.backends.cudnn.deterministic = True
    print(torch.__version__, device, torch.cuda.get_device_name(device) if device.type == "cuda" else "")
    print(f"{'method':18} | max diff. | ms/step  | peak MB  | verdict")
    for name in names:
        row = measured(name, options)
        failed += not row.verdict.startswith(("ok", "refused"))
        print(row, flush=True)
    for name in () if options.no_cases else names:
        found = dict(carried_out(name, device, time.monotonic() + options.seconds_per_method))
        bad = {way: verdict for way, verdict in found.items() if verdict not in ("ok", "refused", "late")}
        failed += len(bad)
        counts = {word: list(found.values()).count(word) for word in ("ok", "refused", "late")}
        print(f"{name:18}", ", ".join(f"{count} {word}" for word, count in counts.items() if count), flush=True)
        for way, verdict in bad.items():
            print(f"    {way}: {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
