"""One fine-tuning run from its recipe to its last checkpoint.

What the batches of labelled hands tell while it trains.

Pictures of what is being trained on: views with their true skeletons, and with what the network says.

How good the estimator is after each epoch, on hands that it was not trained on.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from handsim.errors import HandsimError
from handsim.metrics.alignment import align_root, align_root_and_scale, compare_poses
from handsim.metrics.pose import joint_errors_mm
from handsim.skeleton import JOINT_COUNT
from training.datasets.open_dataset import open_dataset
from training.datasets.record import HandDataset
from training.finetune.config import FinetuneConfig
from training.finetune.data import (
    CropSettings,
    HandBatch,
    HandLoader,
    HandReader,
    bone_lengths_mm,
    in_order,
    labelled_share,
    mean_bone_length_mm,
)
from training.finetune.module import FinetuneModule, estimate_crops, view_intrinsics
from training.finetune.predictor import KIND
from training.runs.checkpoints import Checkpoints, StopRequest, check_resumable
from training.runs.folder import RunFolder
from training.runs.monitor import Meter, TrainingFigures, draw_side_by_side, view_tile
from training.runs.optimizer import Schedule
from training.runs.recipes import as_mapping
from training.runs.trainer import BatchStream, Outcome, events, fit, go_on_after, make_trainer


class HandWindow:
    """Sums over the batches since it was made, as `training.runs.monitor.Meter` asks for them.

    ``images_per_s`` counts hands that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._parts: list[dict[str, Tensor]] = []
        self._hands = 0
        self._waited_s = 0.0

    def add(self, batch: HandBatch, module: FinetuneModule) -> None:
        """Count a batch in, which the module was just trained on."""
        self._losses.append(module.loss)
        self._parts.append(module.parts)
        self._hands += len(batch)
        self._waited_s += batch.waited_s

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._started += seconds

    def numbers(self, processes: int) -> dict[str, float]:
        """Mean loss and its parts, rate, and the share of the time spent waiting."""
        elapsed = time.perf_counter() - self._started
        parts = {
            f"loss_{name}": float(torch.stack([part[name] for part in self._parts]).mean())
            for name in self._parts[0]
        }
        return {
            "loss": sum(self._losses) / len(self._losses),
            **parts,
            "images_per_s": processes * self._hands / elapsed,
            "data_wait": self._waited_s / elapsed,
        }

    @staticmethod
    def in_short(numbers: dict[str, float]) -> str:
        """Loss, rate and waiting."""
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%}"
        )


_HANDS: Final = 12


def draw_last_hands(batch: HandBatch, module: FinetuneModule) -> Image.Image:
    """The first hands of the batch that ``module`` was just trained on: truth and estimate side by side.

    Joints that are not annotated lie at the middle of the others.
    """
    assert module.last is not None
    views, said = module.last
    estimate = module.estimator.decode(said, view_intrinsics(batch, views))
    apart = (estimate.keypoints - views.keypoints).norm(dim=2).where(batch.valid, torch.nan)
    errors_px = (apart.nanmean(dim=1) * views.images.shape[-1]).tolist()
    pairs = []
    for row, sample_id in enumerate(batch.sample_ids[:_HANDS]):
        missing = int((~batch.valid[row]).sum())
        unsure = f"{missing} joints not annotated" if missing else ""
        image = views.images[row]
        pairs.append(
            (
                view_tile(image, views.keypoints[row], (sample_id, unsure)),
                view_tile(image, estimate.keypoints[row], ("estimate", f"{errors_px[row]:.1f} px apart")),
            )
        )
    return draw_side_by_side(pairs)


METRICS = ("val_mpjpe_mm", "val_scale_aligned_mpjpe_mm")
"""Mean per-joint position errors (see `handsim.metrics.pose`): wrists laid upon each other, hands as
large as the mean of those that were trained on; and with the reference bone as long as the true one."""


class Validation(Callback):
    """At the end of epochs estimates a split, writes the errors to the loggers and tells them in a line."""

    def __init__(
        self,
        reader: HandReader,
        hands: int,
        batch_size: int,
        mean_bone_mm: float,
        note: Callable[[str], None],
        leave_out: Callable[[float], None],
        every_epochs: int = 1,
    ) -> None:
        """``reader`` cuts the ``hands`` of the split as they are judged; ``leave_out`` gets the seconds.

        It is done every ``every_epochs``, and at the end of the run.
        """
        self._reader, self._hands, self._batch_size = reader, hands, batch_size
        self._mean_bone_mm, self._note, self._leave_out = mean_bone_mm, note, leave_out
        self._every_epochs = every_epochs
        self.error_mm = float("nan")
        """The last epoch's ``val_mpjpe_mm``, the same in all processes."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: HandBatch, batch_idx: int
    ) -> None:
        """Judge it where an epoch is over."""
        assert isinstance(module, FinetuneModule)
        done, schedule = batch_idx + 1, module.schedule
        due = schedule.ends_epoch(done, self._every_epochs) or done == schedule.batches
        if not (schedule.ends_step(done) and due):
            return
        started = time.perf_counter()
        errors = self._measure(trainer, module)
        self.error_mm = errors[0]
        took_s = time.perf_counter() - started
        self._leave_out(took_s)
        numbers = {**dict(zip(METRICS, errors, strict=True)), "val_images_per_s": self._hands / took_s}
        numbers["epoch"] = done / module.schedule.batches_an_epoch
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        self._note(
            f"epoch {numbers['epoch']:.4g}: {errors[0]:.2f} mm root-relative, "
            f"{errors[1]:.2f} mm with the scale aligned, over {self._hands:,} hands"
        )

    def _measure(self, trainer: Trainer, module: FinetuneModule) -> list[float]:
        """The errors in the order of `METRICS`, over the shares of all processes."""
        share = np.arange(trainer.global_rank, self._hands, trainer.world_size)
        sums, counts = np.zeros((2, len(METRICS), JOINT_COUNT))
        module.estimator.eval()
        with (
            torch.no_grad(),
            trainer.precision_plugin.val_step_context(),
            self._reader.ahead(in_order(share, self._batch_size)) as batches,
        ):
            for batch in batches:
                crops = batch.crops.to(module.device, non_blocking=True)
                said = estimate_crops(module.estimator, crops, batch.squares_px, batch.intrinsics)
                predicted_mm = said.joints.double().cpu().numpy() * self._mean_bone_mm
                for row, errors in enumerate(errors_mm(predicted_mm, batch)):
                    sums[row] += np.nansum(errors, axis=0)
                    counts[row] += (~np.isnan(errors)).sum(axis=0)
        module.estimator.train()
        together = torch.from_numpy(np.stack([sums, counts])).to(module.device, torch.float32)
        sums, counts = trainer.strategy.reduce(together, reduce_op="sum").double().cpu().numpy()
        each_joint = sums / np.where(counts > 0, counts, np.nan)
        return [float(np.nanmean(joints)) if np.isfinite(joints).any() else np.nan for joints in each_joint]


def errors_mm(predicted_mm: NDArray[np.float64], batch: HandBatch) -> list[NDArray[np.float64]]:
    """Errors [B, 21] of root-relative predictions [B, 21, 3], NaN where they are not to be measured.

    Once as in `METRICS` each. Hands whose reference bone has no length are not aligned by it.
    """
    true_mm, valid = batch.joints_mm.double().numpy(), batch.valid.numpy()
    _, scalable = bone_lengths_mm(true_mm, valid)
    poses = compare_poses(predicted_mm, true_mm, valid)
    scaled = align_root_and_scale(replace(poses, valid=valid & scalable[:, None]))
    return [joint_errors_mm(align_root(poses)), joint_errors_mm(scaled)]


def finetune(
    config: FinetuneConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run it, or with ``resume`` go on from the folder's last checkpoint, until it is done or is stopped.

    Every process of a distributed run calls this; the first one writes. Raises HandsimError for settings,
    dataset, weights and checkpoint that do not go together or are damaged, DivergedError when the loss is no
    number (the last checkpoint stays, the batch is written down).
    """
    trained_on, judged_by = (
        _open(config, split) for split in (config.data.train_split, config.data.val_split)
    )
    return finetune_on(config, trained_on, judged_by, folder, resume=resume, say=say)


def finetune_on(
    config: FinetuneConfig,
    trained_on: HandDataset,
    judged_by: HandDataset,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """As `finetune`, with splits that are open already."""
    data, settings = config.data, config.trainer
    rows = labelled_share(trained_on, data.label_fraction, config.seed)
    mean_bone_mm = mean_bone_length_mm(trained_on, rows)
    mean_bone_length_mm(judged_by, np.arange(len(judged_by)))  # else an epoch would be for nothing
    meter, stop = Meter(config.log.metrics_every_steps, HandWindow), StopRequest()
    event = events(meter, folder, say)
    judged_as = CropSettings(data.crop_factor, config.augmentation.size_px)
    with ExitStack() as opened:
        reader = opened.enter_context(closing(HandReader(judged_by, judged_as, workers=settings.workers)))
        validation = Validation(
            reader,
            len(judged_by),
            settings.batch_size,
            mean_bone_mm,
            event,
            meter.leave_out,
            settings.validate_every_epochs,
        )
        callbacks = [meter, validation, *_callbacks(config, folder, stop, validation)]
        some_unused = settings.freeze_trunk not in ("never", "always", 0)
        trainer = make_trainer(settings, config.log, folder, callbacks, some_unused=some_unused)
        loader = opened.enter_context(
            HandLoader(
                trained_on,
                rows,
                CropSettings(data.training_crop_factor, data.training_crop_px),
                batch_size=settings.batch_size,
                seed=config.seed,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                workers=settings.workers,
            )
        )
        schedule = Schedule.of(settings, loader.batches_an_epoch, trainer.world_size)
        module = FinetuneModule(config, schedule, init=not resume)
        module.facts = {
            **_facts(module, loader),
            "hands": len(rows),
            "val_hands": len(judged_by),
            "mean_bone_mm": mean_bone_mm,
        }
        _begin(module, trainer, folder, resume, event)
        if resume and module.batches_done >= schedule.batches:
            return Outcome(schedule.steps, finished=True)
        return fit(trainer, module, BatchStream(loader, module), folder, stop, resume=resume)


def _open(config: FinetuneConfig, split: str) -> HandDataset:
    if config.data.root is None:
        raise HandsimError(
            f"data.root is not set; say where {config.data.dataset} lies, with --data.root FOLDER"
        )
    return open_dataset(config.data.dataset, Path(config.data.root), split)


def _callbacks(
    config: FinetuneConfig, folder: RunFolder, stop: StopRequest, validation: Validation
) -> list[Callback]:
    figures = config.log.figures_every_steps
    drawing = [TrainingFigures(folder.figures, figures, "hands", draw_last_hands)] if figures else []
    every = config.log.checkpoint_every_steps
    return [*drawing, Checkpoints(folder.checkpoints, every, stop, lambda: validation.error_mm)]


def _facts(module: FinetuneModule, loader: HandLoader) -> dict[str, Any]:
    """What a checkpoint and the run's folder say of it."""
    config, schedule = module.config, module.schedule
    return {
        "kind": KIND,
        "architecture": config.encoder.architecture,
        "init": module.estimator.encoder.origin,
        "seed": config.seed,
        "batches_an_epoch": schedule.batches_an_epoch,
        "hands_a_step": schedule.samples_a_step,
        "trained_on": loader.fingerprint,
        "dataset": config.data.dataset,
        "root": str(Path(config.data.root or "").resolve()),
        "label_fraction": config.data.label_fraction,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "config": as_mapping(config),
    }


def _begin(
    module: FinetuneModule, trainer: Trainer, folder: RunFolder, resume: bool, event: Callable[[str], None]
) -> None:
    """Write down what is trained, or see to it that the old run can go on."""
    schedule = module.schedule
    if resume:
        names = ("kind", "architecture", "batches_an_epoch", "hands_a_step", "seed", "trained_on")
        same = {name: module.facts[name] for name in names}
        told = check_resumable(folder.last, module, same, KIND)
        module.facts["init"] = told["init"]
        step = go_on_after(module, trainer, int(told["batches_done"]))
        event(f"resuming {folder.path} after step {step:,} of {schedule.steps:,}")
    else:
        event(
            f"{folder.path}: {schedule.steps:,} steps of {schedule.samples_a_step:,} hands, "
            f"{schedule.batches_an_epoch:,} batches an epoch of {module.facts['hands']:,} hands, on "
            f"{trainer.world_size} x {trainer.strategy.root_device}, {module.facts['architecture']} from "
            f"{module.facts['init']}; mean bone {module.facts['mean_bone_mm']:.1f} mm"
        )
    if trainer.is_global_zero:
        folder.write_config(module.config)
        folder.write_facts(module.facts)
