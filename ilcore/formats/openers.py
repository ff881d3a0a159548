"""The formats there are, one line each."""

from importlib import import_module

from ilcore.formats.protocol import FirstLook, Format

#: Modules, each with a `FORMAT`, in the order in which they are asked.
FORMATS = [
    "ilcore.formats.eopatch",
    "ilcore.formats.microscope",
    "ilcore.formats.tiff",
    "ilcore.formats.npy",
    "ilcore.formats.npz",
]
#: These take whatever is left: every folder and every URL, every file.
REST = ("ilcore.formats.stored_zarr", "ilcore.formats.raster")


def format_of(address: str) -> Format:
    """Return the first format that recognises a place.

    Raises:
        BadVolume: There is nothing.
    """
    look = FirstLook.at(address)
    return next(each for each in map(_loaded, (*FORMATS, *REST)) if each.recognises(look))


def _loaded(module: str) -> Format:
    found: Format = import_module(module).FORMAT
    return found
