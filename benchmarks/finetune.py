"""Evaluating and fine-tuning beside the same network on tensors that are in memory already, as JSON.

    python -m benchmarks.finetune
    python -m benchmarks.finetune --device cuda --dataset freihand --root FreiHAND_pub_v2/

Evaluating is `Inference.predict_dataset`, from files to millimetres, beside the estimator and its decoding on
views that lie in the device's memory. Training is `handsim finetune`'s own loop, beside its step (forward,
loss, backward, optimizer, precision) on views made before. Both take turns with what they are compared with.
Without --root a few hundred synthetic hands are filmed; they are read over and over.
"""

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.ceiling import autocast, seconds
from benchmarks.clock import say
from benchmarks.trainer import fill_in, machine, trainer_options
from handsim.home import Home
from handsim.processes import available_cores
from handsim.synthetic import SyntheticConfig
from training.augmentation import AugmentedViews
from training.datasets.open_dataset import open_dataset
from training.datasets.record import HandDataset, HandLabel, LabelledHand
from training.datasets.synthetic import write_synthetic
from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.data import HandBatch, HandLoader
from training.finetune.module import FinetuneModule, estimate_crops
from training.finetune.pose_model import CropSettings
from training.finetune.predictor import Inference
from training.finetune.train import finetune_on
from training.runs.folder import RunFolder
from training.runs.optimizer import make_optimizer
from training.runs.settings import Schedule

_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {"architecture": "resnet18", "batch": 32, "view": 128, "workers": 0, "precision": "32-true"},
    "cuda": {
        "architecture": "resnet50",
        "batch": 128,
        "view": 128,
        "workers": max(1, available_cores() - 2),
        "precision": "bf16-mixed",
    },
}
"""What a device is measured with, where nothing else is asked for."""


class Repeated:
    """A dataset's hands over and over, so that nothing ends while it is measured."""

    def __init__(self, dataset: HandDataset, hands: int) -> None:
        self.name, self.split = dataset.name, dataset.split
        self._dataset, self._hands = dataset, hands

    def __len__(self) -> int:
        return self._hands

    def label(self, index: int) -> HandLabel:
        return self._dataset.label(index % len(self._dataset))

    def __getitem__(self, index: int) -> LabelledHand:
        return self._dataset[index % len(self._dataset)]


class _InMemory(FinetuneModule):
    """A step on views that were made before: everything else is as ever."""

    kept: AugmentedViews | None = None

    def _augment(self, batch: HandBatch) -> AugmentedViews:
        if self.kept is None:
            self.kept = super()._augment(batch)
        return self.kept


def measure_evaluating(options: argparse.Namespace, config: FinetuneConfig, dataset: HandDataset) -> Any:
    """Images/s from files, and of the network alone."""
    device = torch.device(options.device)
    estimator = FinetuneModule(config, Schedule(1, 1, 1, 1, 1)).estimator.eval().to(device)
    inference = Inference(estimator, config, 80.0, {}, device)
    read, bare = [], []
    for _ in range(options.rounds):
        read.append(_reading_rate(options, inference, dataset))
        bare.append(_network_rate(options, inference))
        say(f"evaluating {read[-1]:.1f} images/s, the network alone {bare[-1]:.1f}")
    return _beside(read, bare, "network_images_per_s")


def _reading_rate(options: argparse.Namespace, inference: Inference, dataset: HandDataset) -> float:
    hands = options.batch * (options.warm_up + options.steps)
    repeated = Repeated(dataset, hands)
    started, count = 0.0, 0
    told = inference.predict_dataset(repeated, batch_size=options.batch, workers=options.workers)
    for number, (batch, _) in enumerate(told, start=1):
        count += len(batch)
        if number == options.warm_up:
            started, count = time.perf_counter(), 0
    return count / (time.perf_counter() - started)


def _network_rate(options: argparse.Namespace, inference: Inference) -> float:
    size = inference.crop.size_px
    crops = torch.randint(0, 256, (options.batch, size, size, 3), dtype=torch.uint8).to(inference.device)
    squares = torch.tensor([[0.0, 0.0, size, size]], dtype=torch.float64).repeat(options.batch, 1)
    cameras = torch.eye(3, dtype=torch.float64).repeat(options.batch, 1, 1)

    def estimate() -> None:
        with torch.inference_mode():
            estimate_crops(inference.estimator, crops, squares, cameras)

    return float(options.batch / seconds(estimate, options.steps, options.warm_up, inference.device))


def measure_training(
    options: argparse.Namespace, config: FinetuneConfig, dataset: HandDataset, home: Home
) -> Any:
    """Images/s of the loop, and of its step on views in memory."""
    hands = options.batch * (options.warm_up + options.steps + 1)  # no epoch ends while it is measured
    repeated, few = Repeated(dataset, hands), Repeated(dataset, options.batch)
    loop, bare = [], []
    for _ in range(options.rounds):
        folder = RunFolder.new(home, "loop")
        finetune_on(config, repeated, few, folder, say=say)
        lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        rates = [line["images_per_s"] for line in lines if "loss" in line][options.warm_up :]
        loop.append(len(rates) / sum(1 / rate for rate in rates))
        folder.last.unlink()
        bare.append(_step_rate(options, config, repeated))
        say(f"training {loop[-1]:.1f} images/s, the step alone {bare[-1]:.1f}")
    return _beside(loop, bare, "step_images_per_s")


def _step_rate(options: argparse.Namespace, config: FinetuneConfig, dataset: HandDataset) -> float:
    device = torch.device(options.device)
    data = config.data
    crop = CropSettings(data.training_crop_factor, data.training_crop_px)
    loader = HandLoader(dataset, np.arange(len(dataset)), crop, batch_size=options.batch, seed=1)
    with closing(loader):
        batch = next(loader.epoch(0)).to(device)
    module = _InMemory(config, Schedule(1, 1, 1, options.batch, 1)).to(device)
    module.train()
    optimizer = make_optimizer(module, config.optimizer, options.batch)

    def step() -> None:
        with autocast(config.trainer.precision, device):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    return float(options.batch / seconds(step, options.steps, options.warm_up, device))


def _beside(rates: list[float], bare: list[float], name: str) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(rates, bare, strict=True)]
    return {
        "images_per_s": round(median(rates), 1),
        name: round(median(bare), 1),
        "ratio": round(median(ratios), 4),
        "ratio_by_turns": [round(ratio, 4) for ratio in ratios],
    }


def config_of(options: argparse.Namespace) -> FinetuneConfig:
    """The recipe of fine-tuning, with the settings of this measurement."""
    given = {
        "encoder.architecture": options.architecture,
        "estimator.head": options.head,
        "augmentation.size_px": options.view,
        "data.training_crop_px": round(1.75 * options.view),
    }
    words = trainer_options(options, given, batch=options.batch, steps=options.warm_up + options.steps)
    return RECIPES.fill({}, words, "benchmark")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, with those of the device filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=list(_DEFAULTS), default="cpu")
    parser.add_argument("--dataset", default="synthetic")
    parser.add_argument("--root", type=Path, help="where it lies (default: synthetic hands, filmed for this)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--head", default="detnet")
    parser.add_argument("--architecture")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--view", type=int, help="side of a view, px")
    parser.add_argument("--workers", type=int, help="processes that read")
    parser.add_argument("--precision", help="of training; evaluating is float32")
    parser.add_argument("--steps", type=int, default=20, help="that are measured")
    parser.add_argument("--warm-up", type=int, default=4, help="steps before them")
    parser.add_argument("--rounds", type=int, default=3, help="how often they take turns")
    options = parser.parse_args(arguments)
    fill_in(options, _DEFAULTS)
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    config = config_of(options)
    with tempfile.TemporaryDirectory() as made:
        root = options.root
        if root is None:
            root = Path(made) / "synthetic"
            say("filming synthetic hands")
            write_synthetic(root, SyntheticConfig(videos=40, hands_per_video=8, size_px=224))
        dataset = open_dataset(options.dataset, root, options.split)
        evaluating = measure_evaluating(options, config, dataset)
        training = measure_training(options, config, dataset, Home(Path(made) / "home"))
    report = {
        **machine(options.device),
        "settings": {name: str(value) for name, value in vars(options).items() if name != "root"},
        "evaluating": evaluating,
        "training": training,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
