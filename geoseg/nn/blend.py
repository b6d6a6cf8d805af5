"""Blending: where tiles overlap, the logits of one fade into those of the next.

    columns of a tile   0           V                    S           T     V overlap, S = T − V
                        |-fades in--|--------------------|-fades out-|
    final with the tile |oooooooooooooooooooooooooooooooo|                 the rest is kept for the tile to the right

Rows are blended after the columns in the same way. Only what a later tile shares is kept: V columns of the tile before,
V rows of the tile row above. That is K × V × (T + W) numbers, whatever the height.
"""

import torch
from torch import Tensor

from geoseg.grid.taper import taper
from geoseg.grid.tiling import Grid, Span


class Blend:
    """The logits of a scene's tiles, blended tile by tile in row-major order.

    A tile without any data may be left out: pixels that it shares with others are without data too, whatever they get.
    """

    def __init__(self, grid: Grid, channels: int, device: torch.device) -> None:
        """Nothing is kept yet: the rows that the first tile row added shares with one above it come out wrong."""
        self._grid = grid
        rows = min(grid.tile_size, grid.height)
        self._above = torch.zeros((channels, grid.overlap, grid.width), device=device)
        self._left = torch.zeros((channels, rows, grid.overlap), device=device)

    def add(self, logits: Tensor, row: Span, col: Span) -> Tensor:
        """The final logits of the pixels that a tile owns, float32 (K, owned rows, owned columns).

        Args:
            logits: (K, ≥ rows, ≥ columns) of the tile.
            row: the tile among the tile rows.
            col: the tile among the tile columns.

        """
        overlap = self._grid.overlap
        down, across = (
            torch.from_numpy(taper(axis, span.index)).to(logits.device)
            for axis, span in ((self._grid.rows, row), (self._grid.cols, col))
        )
        logits = logits[:, : row.size, : col.size]
        rows, cols = row.owned_stop - row.start, col.owned_stop - col.start
        # Networks give the classes of a pixel side by side; from here on there is a plane for each.
        tile = torch.empty((len(logits), row.size, cols), device=logits.device)
        tile.copy_(logits[..., :cols])

        left = self._left[:, : row.size]
        if col.index > 0:
            tile[..., :overlap].mul_(across[:overlap]).add_(left)
        if cols < col.size:
            torch.mul(logits[..., cols:], across[cols:], out=left)

        above, down = self._above[..., col.start : col.owned_stop], down[:, None]
        if row.index > 0:
            tile[:, :overlap].mul_(down[:overlap]).add_(above)
        if rows < row.size:
            torch.mul(tile[:, rows:], down[rows:], out=above)
        return tile[:, :rows]
