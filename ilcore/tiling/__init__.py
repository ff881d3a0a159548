"""How a volume is cut into tiles and put together again."""

from ilcore.tiling.assemble import blend, blocks, cast
from ilcore.tiling.grid import Along, Tile, TileGrid, Unit, balanced_core
from ilcore.tiling.windows import window

__all__ = ["Along", "Tile", "TileGrid", "Unit", "balanced_core", "blend", "blocks", "cast", "window"]
