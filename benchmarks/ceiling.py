"""What a training step costs on data that are in the device's memory already, and what its parts cost."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch
from torch import Tensor

from training.augmentation import AugmentedViews
from training.losses import nt_xent
from training.losses.equivariance import undo_motion
from training.pairs.decoding import PairBatch
from training.pretrain.config import PretrainConfig
from training.pretrain.module import PretrainModule, keypoints_for_weights
from training.runs.optimizer import make_optimizer
from training.runs.settings import Precision, Schedule


class _InMemory(PretrainModule):
    """A step on views that were made before: everything else is as ever."""

    kept: tuple[AugmentedViews, AugmentedViews] | None = None
    """Used as they are; None: made anew for every step."""

    def _augment(self, batch: PairBatch, rows: Tensor, view: int) -> AugmentedViews:
        return super()._augment(batch, rows, view) if self.kept is None else self.kept[view]


def ceiling(config: PretrainConfig, batch: PairBatch, steps: int, warm_up: int) -> dict[str, Any]:
    """Seconds of a step (median) with nothing to load and nothing to augment, and with augmentation.

    Forward, loss, backward and optimizer as in training, precision too, without Lightning's loop around
    them; ``batch`` lies on the device. Augmentation and loss are then timed alone, the loss with its backward
    to the projections, each as a share of the step that augments.
    """
    device = batch.crops.device
    module = _InMemory(config, Schedule(1, 1, 1, len(batch), 1)).to(device)
    optimizer = make_optimizer(module, config.optimizer, len(batch))

    def step() -> None:
        with autocast(config.trainer.precision, device):
            loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    augmented_s = seconds(step, steps, warm_up, device)
    module.kept = module.views
    bare_s = seconds(step, steps, warm_up, device)
    module.kept, views = None, module.views
    assert views is not None

    def augment() -> None:
        for view, rows in enumerate((batch.anchors, batch.positives)):
            module._augment(batch, rows, view)

    with torch.no_grad(), autocast(config.trainer.precision, device):
        projections = module._project(list(views))
    augment_s = seconds(augment, steps, warm_up, device)
    loss_s = seconds(lambda: _loss(config, views, projections), steps, warm_up, device)
    return {
        "images_per_s": round(2 * len(batch) / bare_s, 1),
        "step_s": round(bare_s, 5),
        "augmenting_step_s": round(augmented_s, 5),
        "augmentation_share": round(augment_s / augmented_s, 4),
        "loss_share": round(loss_s / augmented_s, 4),
    }


def seconds(work: Callable[[], None], repeats: int, warm_up: int, device: torch.device) -> float:
    """Median of how long it takes, by the GPU's own clock where it runs on one."""
    found: list[float] = []
    for _ in range(warm_up + repeats):
        if device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            first.record()
            work()
            last.record()
            torch.cuda.synchronize(device)
            found.append(first.elapsed_time(last) / 1e3)
        else:
            started = time.perf_counter()
            work()
            found.append(time.perf_counter() - started)
    return float(median(found[warm_up:]))


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """The recipe's precision; fp16's scaling of gradients is left out."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "32-true")


def _loss(
    config: PretrainConfig, views: tuple[AugmentedViews, AugmentedViews], projections: list[Tensor]
) -> None:
    leaves = [projection.detach().requires_grad_() for projection in projections]
    first, second = leaves
    if config.loss.equivariant:
        first, second = (
            undo_motion(leaf, view.translation, view.angle_deg)
            for leaf, view in zip(leaves, views, strict=True)
        )
    loss = nt_xent(
        first,
        second,
        temperature=config.loss.temperature,
        weighting=config.loss.weighting,
        keypoints1=keypoints_for_weights(views[0]),
        keypoints2=keypoints_for_weights(views[1]),
    )
    torch.autograd.backward(loss)
