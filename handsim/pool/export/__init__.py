"""Hands of a pool in the formats of other tools."""

from handsim.pool.export.hands import ExportedHands

__all__ = ["ExportedHands"]
