"""Damage done to sound volumes, decided by a generator of random numbers."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

HUGE = 10**18
#: What takes the place of a value in JSON.
SWAPS: tuple[Any, ...] = (
    None, True, 0, -1, 1, 3.5, 1e308, float("nan"), float("inf"), HUGE, -HUGE, 2**31, "", "x", "../../../etc", "/etc",
    "\x1b[31m", "\x00", "9" * 5000, [], [[]], {}, [None], [1, 2], {"a": 1}, "zstd", "float64", "|O", "<U1000000",
)  # fmt: skip
WORDS = (b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0\0\0", b"\0\0\1\0", b"\xff" * 8)


def mutate(folder: Path, draw: random.Random) -> str:
    """Damage a volume in a folder; return in words how."""
    told = [_once(folder, draw) for _ in range(1 if draw.random() < 0.7 else 2)]
    return "; ".join(told)


def _once(folder: Path, draw: random.Random) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return "nothing is left"
    said = [
        path for path in files if path.name.startswith(".z") or path.suffix in (".json", ".geojson", ".xml", ".tfw")
    ]
    path = draw.choice(said) if said and draw.random() < 0.6 else draw.choice(files)
    kind = draw.choice(_fitting(path) if draw.random() < 0.9 else OTHERS)
    return f"{path.relative_to(folder)}: {kind.__name__.strip('_')} {kind(path, draw)}"


def _fitting(path: Path) -> tuple[Callable[[Path, random.Random], Any], ...]:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return BINARY
    return (*[_swap_value] * 8, _swap_document, _nest, _drop_key, _flip)


def _flip(path: Path, draw: random.Random) -> str:
    held = bytearray(path.read_bytes())
    places = [_place(held, draw) for _ in range(draw.choice((1, 1, 3, 8)))] if held else []
    for place in places:
        held[place] = draw.randrange(256)
    path.write_bytes(held)
    return f"{places}"


def _write_word(path: Path, draw: random.Random) -> str:
    held, word = bytearray(path.read_bytes()), draw.choice(WORDS)
    place = _place(held, draw) // 2 * 2
    held[place : place + len(word)] = word
    path.write_bytes(held)
    return f"{word!r} at {place}"


def _truncate(path: Path, draw: random.Random) -> str:
    length = draw.randrange(path.stat().st_size + 1)
    os.truncate(path, length)
    return f"to {length}"


def _insert(path: Path, draw: random.Random) -> str:
    held = path.read_bytes()
    place, more = _place(held, draw), draw.randbytes(draw.choice((1, 4, 100)))
    path.write_bytes(held[:place] + more + held[place:])
    return f"{len(more)} at {place}"


def _cut_out(path: Path, draw: random.Random) -> str:
    held = path.read_bytes()
    place, count = _place(held, draw), draw.choice((1, 4, 100))
    path.write_bytes(held[:place] + held[place + count :])
    return f"{count} at {place}"


def _write_nines(path: Path, draw: random.Random) -> str:
    """Make a number that stands there in digits as large as its place allows."""
    held = bytearray(path.read_bytes())
    numbers = list(re.finditer(rb"\d+", bytes(held)))
    if not numbers:
        return "nowhere"
    one = draw.choice(numbers)
    held[one.start() : one.end()] = draw.choice((b"9", b"0", b"-", b"\x1b")) * len(one.group())
    path.write_bytes(held)
    return f"at {one.start()}"


def _swap_value(path: Path, draw: random.Random) -> str:
    held = json.loads(path.read_bytes())
    places = list(_places(held))
    if not places:
        return "nowhere"
    inside, key = draw.choice(places)
    inside[key] = draw.choice(SWAPS)
    path.write_text(json.dumps(held))
    return f"{key} = {str(inside[key])[:40]!r}"


def _drop_key(path: Path, draw: random.Random) -> str:
    held = json.loads(path.read_bytes())
    places = list(_places(held))
    if not places:
        return "nowhere"
    inside, key = draw.choice(places)
    del inside[key]
    path.write_text(json.dumps(held))
    return str(key)


def _swap_document(path: Path, draw: random.Random) -> str:
    path.write_text(json.dumps(draw.choice(SWAPS)))
    return path.read_text()[:40]


def _nest(path: Path, draw: random.Random) -> str:
    depth = draw.choice((100, 5000, 200_000))
    path.write_text('{"a":' * depth + "1" + "}" * depth if draw.random() < 0.5 else "[" * depth + "]" * depth)
    return f"{depth} deep"


def _empty(path: Path, _: random.Random) -> str:
    path.write_bytes(b"")
    return ""


def _remove(path: Path, _: random.Random) -> str:
    path.unlink()
    return ""


def _make_pipe(path: Path, _: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return ""


def _make_folder(path: Path, _: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return ""


def _link(path: Path, draw: random.Random) -> str:
    path.unlink()
    path.symlink_to(draw.choice(("/etc/passwd", path.name, "..", "/dev/zero", "nowhere")))
    return os.readlink(path)


def _copy_over(path: Path, draw: random.Random) -> str:
    others = sorted(each for each in path.parents[0].rglob("*") if each.is_file())
    one = draw.choice(others)
    if one != path:
        shutil.copyfile(one, path)
    return one.name


def _places(held: Any) -> Any:
    """Find all places in a JSON document that hold a value."""
    for key, value in list(
        held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
    ):
        yield held, key
        yield from _places(value)


def _place(held: bytes | bytearray, draw: random.Random) -> int:
    """Choose a place: heads of files are where meaning is dense, and ends for some formats."""
    if not held:
        return 0
    count = len(held)
    return draw.choice(
        (draw.randrange(count), draw.randrange(min(count, 400)), max(0, count - 1 - draw.randrange(300)))
    )


BINARY = (_flip, _flip, _write_word, _write_word, _truncate, _insert, _cut_out, _write_nines)
OTHERS = (_empty, _remove, _make_pipe, _make_folder, _link, _copy_over)
