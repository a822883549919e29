"""The recipes of pre-training: YAML files that fill a `PretrainConfig`."""

from typing import Final

from training.pretrain.config import PretrainConfig
from training.runs.recipes import SHIPPED, Recipes

RECIPES: Final = Recipes(PretrainConfig, SHIPPED, "handsim pretrain")
"""Those that come with handsim, and how any is read."""
