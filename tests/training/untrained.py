"""Estimators that learned nothing, as a fine-tuning run keeps them: quick to make, and real."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.predictor import KIND
from training.models.estimator import build_estimator
from training.runs.recipes import as_mapping

SIZE_PX = 64
MEAN_BONE_MM = 90.0


def small_config(dataset: str = "synthetic", root: Path | None = None, **data: Any) -> FinetuneConfig:
    config = RECIPES.read("synthetic", [f"--augmentation.size_px={SIZE_PX}", "--trainer.batch_size=4"])
    folder = None if root is None else str(root)
    return replace(config, data=replace(config.data, dataset=dataset, root=folder, **data))


def untrained_checkpoint(path: Path, config: FinetuneConfig, seed: int = 0) -> Path:
    """A checkpoint of a ResNet-18 with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimator = build_estimator(config.encoder, config.estimator)
    state = {f"estimator.{name}": tensor for name, tensor in estimator.state_dict().items()}
    metadata = {
        "kind": KIND,
        "config": as_mapping(config),
        "mean_bone_mm": MEAN_BONE_MM,
        "dataset": config.data.dataset,
        "init": "random weights",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"handsim": metadata, "state_dict": state}, path)
    return path
