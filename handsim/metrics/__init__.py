"""Metrics of 3D and 2D pose, and of retrieval: functions of arrays, whatever these come from."""
