"""The words by which people ask; nothing heavy is imported here, so that a command line can list them."""

from typing import Literal

Task = Literal[
    "denoise",
    "inpaint",
    "superres",
    "copy",
]
Prefer = Literal["speed", "balance", "quality"]
