"""Runs are tested by small pre-trainings."""

from tests.training.pretrain.conftest import place, world

__all__ = ["place", "world"]
