"""Hands linked over the frames of a video."""

from handsim.tracking.tracker import MAX_GAP_S, Track, Tracker

__all__ = ["MAX_GAP_S", "Track", "Tracker"]
