"""Heads of the pose estimator: from feature maps to joints."""
