"""A format as somebody would add it: grey maps, of which a file may hold several."""

import numpy as np

from ilcore.formats.in_memory import ArraySource, array_info
from ilcore.formats.protocol import FirstLook, Format, Opened, OpenOptions, chosen_image


class GreyMap:
    """A line `GREY width height`, then one byte a pixel; further maps follow."""

    name = "grey map"

    def recognises(self, look: FirstLook) -> bool:
        return look.mark.startswith(b"GREY ")

    def open(self, address: str, options: OpenOptions) -> Opened:
        held = _maps(address)
        grey = held[chosen_image(address, tuple(held), options.image)]
        return ArraySource(grey), array_info(grey, options.axes, self.name, address)

    def images(self, address: str, options: OpenOptions) -> tuple[str, ...]:
        names = tuple(_maps(address))
        return names if len(names) > 1 else ()


def _maps(path: str) -> dict[str, np.ndarray]:
    found = {}
    with open(path, "rb") as file:
        while header := file.readline().split():
            width, height = int(header[1]), int(header[2])
            found[str(len(found))] = np.frombuffer(file.read(width * height), np.uint8).reshape(height, width)
    return found


FORMAT: Format = GreyMap()
