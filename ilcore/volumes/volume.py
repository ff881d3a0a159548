"""A volume: five axes, read by region, whatever it is stored in."""

import gzip
import hashlib
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ilcore.grammar.errors import BadInput, BadVolume, CorruptData, ILError
from ilcore.grammar.plain_text import plain
from ilcore.grammar.region import Five, Region, blocks, five, inside, region_of, size, voxels, words
from ilcore.stores.places import trouble
from ilcore.volumes.axes import source_index, spread, to_five
from ilcore.volumes.marks import Mark
from ilcore.volumes.scan_metadata import NOTHING, About
from ilcore.volumes.units import full_unit
from ilcore.volumes.validity import Mask, Validity, data_in

Floats: TypeAlias = tuple[float, float, float, float, float]
#: Least and largest valid value; None for any.
Range: TypeAlias = tuple[Mark | None, Mark | None]
#: What voxels mean: measurements, numbers of objects, yes and no, places in a table of colours.
Kind: TypeAlias = Literal["image", "labels", "mask", "palette"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Units: TypeAlias = tuple[str | None, str | None, str | None, str | None, str | None]

#: More than this in one chunk cannot be read by tiles: a tile would cost the whole of it.
LARGEST_CHUNK_BYTES = 2 * 2**30
#: How much is read at a time where a whole volume is streamed.
STREAM_BYTES = 64 * 2**20
#: Larger volumes are known by a sample: planning and preparing would read for hours otherwise.
DIGEST_BYTES = 32 * 2**30
#: So many places of such a size are that sample.
SAMPLES, SAMPLE_BYTES = 1024, 4 * 2**20
GOLDEN = (math.sqrt(5) - 1) / 2


#: What a volume takes from its facts as it is.
KEPT = (
    "format", "missing", "also_missing", "valid_range", "mask", "display", "level", "levels", "about", "kind",
    "remarks",
)  # fmt: skip
#: What of a volume says where it lies or how it is held in memory, not what it is.
PLACE = ("uri", "image", "source", "mask", "dtype", "levels", "remarks")
#: What version 0.1 did not ask of a volume: where it is as usual, the digest is as it was.
SINCE_0_1 = {"also_missing": (), "valid_range": (None, None), "kind": "image"}


class Source(Protocol):
    """Where the voxels are: answers an index, in the order and byte order of the store. Picklable."""

    def read(self, index: tuple[slice, ...]) -> NDArray[Any]:
        """Return the voxels of an index, reading no more than it needs."""
        ...


class Reopened:
    """Pickles as its fields alone: what it has opened is opened again on the other side."""

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What an opener found out, in the order of the source's own axes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: str
    format: str
    chunks: tuple[int, ...]
    scale: tuple[float, ...] | None = None
    origin: tuple[float, ...] | None = None
    units: tuple[str | None, ...] | None = None
    channels: tuple[str, ...] = ()
    missing: Mark | None = None
    also_missing: tuple[Mark, ...] = ()
    valid_range: Range = (None, None)
    mask: Mask | None = None
    display: str | None = None
    level: int = 0
    levels: int = 1
    about: About = NOTHING
    kind: Kind = "image"
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume seen as t c z y x; axes that the source lacks have length 1.

    Args:
        uri: Path or URL it was opened from.
        shape: Size, t c z y x.
        dtype: Type of a voxel, in native byte order.
        axes: The axes really present, in the order of the source, for example `"zyx"`.
        scale: Size of a voxel along each axis, in `units`; 1 where unknown.
        units: Full unit names ("micrometer", "second"), the words of the source where nobody knows them, None where it
            says nothing.
        channels: A name for each channel.
        chunks: What is read at once, t c z y x: the inner chunk where the store is sharded.
        missing: The value that means "no data here", besides NaN and infinities.
        also_missing: Further values that do.
        valid_range: Least and largest valid value.
        mask: Where there are voxels, in the axes of the source; None where the values alone decide.
        format: "ome-zarr 0.5", "zarr v2", "tiff", "npy", "array" ...
        origin: Place of the first voxel, in `units`.
        display: Display settings of the source (`omero` of OME-Zarr) as JSON, copied to results.
        level: Level of the pyramid.
        levels: How many levels the source has.
        about: Georeference, meaning of the values and time.
        kind: What the voxels mean; only images can be restored.
        image: Name of the image, where the place holds several.
        remarks: What the source says and a result does not: one sentence each, shown as "not carried over".
    """

    uri: str
    shape: Five
    dtype: np.dtype[Any]
    axes: str
    scale: Floats
    units: Units
    channels: tuple[str, ...]
    chunks: Five
    missing: Mark | None
    format: str
    also_missing: tuple[Mark, ...] = ()
    valid_range: Range = (None, None)
    origin: Floats = (0.0, 0.0, 0.0, 0.0, 0.0)
    display: str | None = None
    level: int = 0
    levels: int = 1
    about: About = NOTHING
    kind: Kind = "image"
    image: str | None = None
    remarks: tuple[str, ...] = ()
    source: Source = field(repr=False, compare=False)
    mask: Mask | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Place and image, for messages."""
        return self.uri if self.image is None else f"{self.uri} [{self.image}]"

    @property
    def validity(self) -> Validity:
        """What values are data, going by them alone."""
        marks = () if self.missing is None else (self.missing, *self.also_missing)
        return Validity(marks, *self.valid_range)

    @property
    def nbytes(self) -> int:
        """Size of all voxels in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def read(self, region: Region) -> NDArray[Any]:
        """Read one region, and only what it needs.

        Args:
            region: Half-open spans of t, c, z, y, x inside the volume.

        Shape:
            [t, c, z, y, x], a fresh array in native byte order.

        Raises:
            BadInput: The region reaches out of the volume.
            CorruptData: Stored bytes fail their check or cannot be decoded; the message names the region.
        """
        if not inside(region, self.shape):
            raise BadInput(f"a region inside the volume {self.shape} (t c z y x) was wanted, got {words(region)}")
        if voxels(region) == 0:
            return np.empty(size(region), dtype=self.dtype)
        block = to_five(self._read(region), self.axes)
        return np.array(block, dtype=self.dtype, order="C")

    def shown(self, region: Region) -> NDArray[np.bool_]:
        """Return where the mask shows a voxel; everywhere where there is no mask.

        Shape:
            [t, c, z, y, x].
        """
        if self.mask is None or voxels(region) == 0:
            return np.ones(size(region), np.bool_)
        with self._understood(region):
            return np.array(to_five(self.mask.read(source_index(region, self.axes)), self.axes), np.bool_)

    def valid(self, region: Region, block: NDArray[Any]) -> NDArray[np.bool_]:
        """Return where a block that was read, or restored, from a region is data."""
        found = self.validity.holds(block)
        return found if self.mask is None else found & self.shown(region)

    def known(self, region: Region) -> NDArray[Any]:
        """Read one region with NaN where it is no data; whole numbers become floating ones only where needed."""
        block = self.read(region)
        return data_in(block, self.valid(region, block))

    def _read(self, region: Region) -> NDArray[Any]:
        index = source_index(region, self.axes)
        with self._understood(region):
            block = self.source.read(index)
        wanted = tuple(part.stop - part.start for part in index)
        if block.shape != wanted:
            raise self._corrupt(region, f"{block.shape} voxels instead of {wanted}")
        return block

    @contextmanager
    def _understood(self, region: Region) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if (told := self._told(region, error)) is None:
                raise
            raise told from error

    def _told(self, region: Region, error: Exception) -> ILError | None:
        """Return what to say of an error: a store that does not answer is no damage; None where it speaks for itself.

        Of those that are an OSError only gzip's is about damage.
        """
        if isinstance(error, ILError):
            return None
        if (told := trouble(error)) is not None:
            return told
        if isinstance(error, MemoryError | OSError) and not isinstance(error, gzip.BadGzipFile):
            return None
        return self._corrupt(region, f"{type(error).__name__}: {error}")

    def _corrupt(self, region: Region, reason: str) -> CorruptData:
        return CorruptData(
            f"sound voxels were wanted from {self.name} at {words(region)}; "
            f"the stored bytes are damaged ({reason}); restore this part of the source from a copy"
        )

    def stream(self) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Read the whole volume in blocks of whole chunks, with flat memory."""
        return self._ahead(blocks(self.shape, streaming_step(self.shape, self.chunks, self.dtype.itemsize)))

    def _ahead(self, regions: Iterable[Region]) -> Iterator[tuple[Region, NDArray[Any]]]:
        """Read regions one after the other, the next while the last is at work."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[tuple[Region, Future[NDArray[Any]]]] = deque()
            for region in regions:
                waiting.append((region, pool.submit(self.read, region)))
                if len(waiting) > 1:
                    first, read = waiting.popleft()
                    yield first, read.result()
            yield from ((region, read.result()) for region, read in waiting)

    def digest(self) -> str:
        """Return a SHA-256 of what the volume means and holds; the place it lies at does not count.

        Of a volume larger than `DIGEST_BYTES` only a sample is read, the same one each time: the answer says so.
        """
        facts = {key: value for key, value in self.__dict__.items() if key not in PLACE}
        told = {**facts, "about": asdict(self.about), "dtype": self.dtype.name}
        for name, usual in SINCE_0_1.items():
            if told[name] == usual:
                del told[name]
        if self.missing is not None and float(self.missing) == self.missing:
            told["missing"] = float(self.missing)
        total = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        is_whole = self.nbytes <= DIGEST_BYTES
        for region, block in self.stream() if is_whole else self._ahead(self._sample()):
            total.update(block.astype(self.dtype.newbyteorder("<"), copy=False).tobytes())
            if self.mask is not None:
                total.update(np.packbits(self.shown(region)).tobytes())
        return total.hexdigest() if is_whole else f"sampled-{total.hexdigest()}"

    def _sample(self) -> Iterator[Region]:
        """Go through places spread over the volume, its first and last voxels among them."""
        step = streaming_step(self.shape, self.chunks, self.dtype.itemsize, SAMPLE_BYTES)
        counts = [-(-length // by) for length, by in zip(self.shape, step, strict=True)]
        total = math.prod(counts)
        # A golden-ratio sequence is even, and never falls into step with the columns of the volume.
        for at in sorted({0, total - 1, *(int(number * GOLDEN % 1 * total) for number in range(SAMPLES))}):
            place = np.unravel_index(at, counts)
            spans = zip(place, step, self.shape, strict=True)
            yield region_of([(int(n) * by, min((int(n) + 1) * by, length)) for n, by, length in spans])


def make_volume(uri: str, source: Source, facts: Facts, image: str | None = None) -> Volume:
    """Give a source the face of a volume.

    Raises:
        BadVolume: The array is empty, of a type that is no number, or has a chunk too large to be read by tiles.
    """
    if facts.dtype == np.bool_:
        # Yes and no, one byte each; a copy of them is as good as they are.
        facts = replace(facts, dtype=np.dtype(np.uint8), kind="mask")
    _check(uri, facts)
    shape = five(spread(facts.shape, facts.axes, 1))
    chunks = five(spread([min(pair) for pair in zip(facts.chunks, facts.shape, strict=True)], facts.axes, 1))
    count = len(facts.axes)
    keep = {name: getattr(facts, name) for name in KEPT}
    return Volume(
        uri=uri,
        shape=shape,
        dtype=facts.dtype.newbyteorder("="),
        axes=facts.axes,
        scale=spread(facts.scale or (1.0,) * count, facts.axes, 1.0),
        units=spread(tuple(map(full_unit, facts.units or (None,) * count)), facts.axes, None),
        origin=spread(facts.origin or (0.0,) * count, facts.axes, 0.0),
        channels=_channels(facts.channels, shape[1]),
        chunks=chunks,
        source=source,
        image=image,
        **keep,
    )


def streaming_step(shape: Five, chunks: Five, itemsize: int, most: int | None = None) -> Five:
    """Return whole chunks, as many along x, then y, z, c, t as fit `most`, by default `STREAM_BYTES`, bytes."""
    step = list(chunks)
    for axis in reversed(range(5)):
        fitting = (most or STREAM_BYTES) // (itemsize * int(np.prod(step, dtype=np.int64)))
        wanted = -(-shape[axis] // step[axis])
        step[axis] *= max(1, min(fitting, wanted))
        if fitting < wanted:
            break
    return five(step)


def _check(uri: str, facts: Facts) -> None:
    if 0 in facts.shape:
        raise BadVolume(f"a volume with voxels was wanted, {uri} is empty (shape {facts.shape})")
    check_dtype(uri, facts.dtype)
    chunk = int(np.prod(facts.chunks, dtype=np.int64)) * facts.dtype.itemsize
    if chunk > LARGEST_CHUNK_BYTES:
        raise BadVolume(
            f"chunks of at most {LARGEST_CHUNK_BYTES / 2**30:.0f} GiB were wanted, {uri} has chunks of {facts.chunks} "
            f"= {chunk / 2**30:.1f} GiB; rewrite it with smaller chunks"
        )


def check_dtype(uri: str, dtype: np.dtype[Any]) -> None:
    """Refuse what is no real number.

    Raises:
        BadVolume: complex, object, text, dates or records.
    """
    if dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return
    advice = {
        "c": "store amplitude and phase, or real and imaginary part, as two channels",
        "f": "convert it to float64",
    }
    raise BadVolume(
        f"whole or floating numbers of at most 64 bits were wanted, {uri} holds {dtype}; "
        f"{advice.get(dtype.kind, 'convert it to numbers')}"
    )


def _channels(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(map(plain, names)) if len(names) == count else tuple(f"channel {number}" for number in range(count))
