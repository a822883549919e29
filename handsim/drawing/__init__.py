"""Pictures of hands for people: skeletons over crops, montages of neighbours."""

from handsim.drawing.montage import MontageRow, Tile, montage
from handsim.drawing.skeleton import draw_skeleton

__all__ = ["MontageRow", "Tile", "draw_skeleton", "montage"]
