"""The recipes of fine-tuning: YAML files that fill a `FinetuneConfig`."""

from typing import Final

from training.finetune.config import FinetuneConfig
from training.runs.recipes import SHIPPED, Recipes

RECIPES: Final = Recipes(FinetuneConfig, SHIPPED / "finetune", "handsim finetune")
"""Those that come with handsim, and how any is read."""
