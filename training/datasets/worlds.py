"""The worlds that synthetic hands are filmed in: YAML files that fill a `SyntheticConfig`."""

from typing import Final

from handsim.synthetic import SyntheticConfig
from training.runs.recipes import SHIPPED, Recipes

WORLDS: Final = Recipes(SyntheticConfig, SHIPPED / "worlds", "handsim synth", "world")
"""Those that come with handsim, and how any is read."""
