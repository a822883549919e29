"""Pictures of hands for people: skeletons over crops and photographs, montages of neighbours."""

from handsim.drawing.hands import HandDrawing, draw_hands
from handsim.drawing.montage import MontageRow, Tile, montage
from handsim.drawing.skeleton import draw_skeleton

__all__ = ["HandDrawing", "MontageRow", "Tile", "draw_hands", "draw_skeleton", "montage"]
