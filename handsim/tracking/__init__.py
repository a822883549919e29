"""Hands linked over the frames of a video, and smoothed."""

from handsim.tracking.motion_filter import MotionFilter
from handsim.tracking.smoothing import OneEuroFilter
from handsim.tracking.tracker import MAX_GAP_S, Track, Tracker

__all__ = ["MAX_GAP_S", "MotionFilter", "OneEuroFilter", "Track", "Tracker"]
