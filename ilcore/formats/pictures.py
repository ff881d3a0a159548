"""What strips and tiles that are pictures themselves say of their size, before a decoder believes it.

Decoders of plain bytes (deflate, LZW, Zstandard ...) are told by tifffile how much may come out, and stop there. Those
of pictures (JPEG, JPEG 2000, PNG, WebP, JPEG XL, JPEG XR, LERC) make room for whatever the head of a tile announces.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from ilcore.grammar.errors import BadVolume

#: Takes a tile, returns the bytes that its decoder needs at most; None where the tile does not say.
Announced: TypeAlias = Callable[[bytes], int | None]

#: How much more than its voxels a decoder may need for a tile: wider numbers inside, more rows than the last strip has.
SLACK, SLACK_BYTES = 16, 2**24
#: Bytes of the widest number.
_WIDEST: Final = 8


def bounded_decoder(decode: Callable[..., Any], compression: int, most: int) -> Callable[..., Any]:
    """Return the decoder of a page that refuses tiles which announce much more than a tile holds.

    Args:
        decode: tifffile's.
        compression: Its number in TIFF.
        most: Bytes of a tile.
    """
    announced = ANNOUNCED.get(int(compression))
    if announced is None:
        return decode
    limit = most * SLACK + SLACK_BYTES

    def bounded(data: bytes | None, *args: Any, **kwargs: Any) -> Any:
        size = None if data is None else announced(bytes(data))
        if data is not None and (size is None or size > limit):
            raise BadVolume(
                f"a tile of at most {limit / 2**20:,.0f} MiB was wanted, it announces "
                + ("no size that can be read" if size is None else f"{size / 2**20:,.0f} MiB")
                + "; it is damaged, or a trap: replace it"
            )
        return decode(data, *args, **kwargs)

    return bounded


def _jpeg(data: bytes) -> int | None:
    """Return height x width x components of the largest frame (ITU T.81, B.2.2)."""
    return max((_frame(data, place) for place in _frames(data)), default=None)


def _frames(data: bytes) -> Iterator[int]:
    """Find the headers of frames, from one segment to the next."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            return
        kind = data[place + 1]
        if kind in (0xFF, 0x01) or 0xD0 <= kind <= 0xD8:
            place += 1 if kind == 0xFF else 2
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            yield place
        if kind == 0xDA:
            return
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def _frame(data: bytes, place: int) -> int:
    height, width = (int.from_bytes(data[place + at : place + at + 2], "big") for at in (5, 7))
    return height * width * (data[place + 9] if place + 9 < len(data) else 4) * 2


def _jpeg_2000(data: bytes) -> int | None:
    """Return what the SIZ segment says (ITU T.800, A.5.1); decoders keep 32 bits of each sample."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        return None
    width, height, left, top = (int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
    return max(0, width - left) * max(0, height - top) * int.from_bytes(data[start + 40 : start + 42], "big") * 4


def _png(data: bytes) -> int | None:
    if data[12:16] != b"IHDR":
        return None
    return int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big") * 4 * 2


def _webp(data: bytes) -> int | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        sides = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        sides = (each for each in ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    elif kind == b"VP8 " and len(data) >= 30:
        sides = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        return None
    width, height = sides
    return width * height * 4


class _Bits:
    """Bits of a number, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self._held = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        found = self._held & ((1 << count) - 1)
        self._held >>= count
        return found


def _jpeg_xl(data: bytes) -> int | None:
    """Return what the SizeHeader says (ISO/IEC 18181-1, D.2); four channels of 32 bits at most are decoded."""
    start = data.find(b"\xff\x0a")
    if start < 0:
        return None
    bits = _Bits(data[start + 2 : start + 16])
    is_small = bits.take(1)
    height = _side(bits, is_small)
    ratio = bits.take(3)
    # The widest of the fixed ratios is 2.
    width = _side(bits, is_small) if ratio == 0 else 2 * height
    return width * height * 16


def _side(bits: _Bits, is_small: int) -> int:
    return 8 * (bits.take(5) + 1) if is_small else 1 + bits.take((9, 13, 18, 30)[bits.take(2)])


def _jpeg_xr(data: bytes) -> int | None:
    """Return what the container says (ITU T.832, A.7): it is made like TIFF."""
    if data[:3] != b"II\xbc" or len(data) < 10:
        return None
    start = int.from_bytes(data[4:8], "little")
    sides = {0xBC80: 0, 0xBC81: 0}
    for at in range(int.from_bytes(data[start : start + 2], "little")):
        entry = data[start + 2 + 12 * at : start + 14 + 12 * at]
        tag, kind = int.from_bytes(entry[:2], "little"), int.from_bytes(entry[2:4], "little")
        if tag in sides:
            sides[tag] = int.from_bytes(entry[8 : 10 if kind == 3 else 12], "little")
    return sides[0xBC80] * sides[0xBC81] * 16 or None


def _lerc(data: bytes) -> int | None:
    """Return what the head of each band says (Esri, LERC2)."""
    size = place = 0
    while data[place : place + 6] == b"Lerc2 ":
        version = int.from_bytes(data[place + 6 : place + 10], "little")
        held = place + (14 if version >= 3 else 10)
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(held, held + 28, 4)]
        depth = words.pop(2) if version >= 4 else 1
        size += words[0] * words[1] * max(1, depth) * _WIDEST
        if words[4] < 14:
            return None
        place += words[4]
    return size or None


#: By the number of a compression in TIFF.
ANNOUNCED: Final[Mapping[int, Announced]] = {
    **dict.fromkeys((6, 7, 34892, 33007), _jpeg),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg_2000),
    34933: _png,
    50001: _webp,
    **dict.fromkeys((50002, 52546), _jpeg_xl),
    **dict.fromkeys((22610, 34934), _jpeg_xr),
    34887: _lerc,
}
