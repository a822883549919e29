"""One fine-tuning run from its recipe to its last checkpoint.

Beside the loop of `training.runs` it measures the error on the validation split at the end of epochs, by
which the best checkpoint is chosen, and has numbers and pictures of labelled hands.
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

from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.metrics.alignment import align_root, align_root_and_scale, compare_poses
from handsim.metrics.pose import joint_errors_mm
from handsim.processes import StopRequest
from handsim.skeleton import JOINT_COUNT
from training.datasets.bad_list import BadList, read_bad_list, without_rows
from training.datasets.open_dataset import check_has_3d, open_dataset
from training.datasets.record import HandDataset
from training.finetune.config import FinetuneConfig
from training.finetune.data import (
    HandBatch,
    HandLoader,
    HandReader,
    bone_lengths_mm,
    in_order,
    labelled_share,
    mean_bone_length_mm,
    rows_in_pictures,
)
from training.finetune.module import FinetuneModule, estimate_crops, view_intrinsics
from training.finetune.pose_model import CropSettings
from training.finetune.predictor import KIND
from training.runs.checkpoints import Checkpoints
from training.runs.folder import RunFolder
from training.runs.monitor import Meter, TrainingFigures, draw_side_by_side, view_tile
from training.runs.recipes import as_mapping
from training.runs.settings import Schedule
from training.runs.trainer import RunOutcome, begin_run, fit, make_reporter, make_trainer, prepare_resume

VALIDATION_METRICS: Final = ("val_mpjpe_mm", "val_scale_aligned_mpjpe_mm")
"""Mean per-joint position errors (see `handsim.metrics.pose`) with wrists laid upon each other: of hands as
large as the mean hand in training, and of hands whose reference bone has the true length."""
_HANDS: Final = 12
"""Drawn in one figure."""
_MUST_MATCH: Final = ("kind", "architecture", "batches_an_epoch", "hands_a_step", "seed", "trained_on")
"""Metadata that a run and the checkpoint that it resumes from have in common."""


def finetune(
    config: FinetuneConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> RunOutcome:
    """Train, with ``resume`` from the folder's last checkpoint on, until the end of the run or a stop.

    Every process of a distributed run calls this; the first one writes. Raises HandsimError for settings,
    dataset, weights and checkpoint that do not fit together or are damaged, DivergedError when the loss is
    NaN or infinite.
    """
    data = config.data
    if data.root is None:
        raise HandsimError(f"data.root is not set; say where {data.dataset} lies, with --data.root FOLDER")
    check_has_3d(data.dataset)
    train_set, val_set = (
        open_dataset(data.dataset, Path(data.root), split) for split in (data.train_split, data.val_split)
    )
    return finetune_on(config, train_set, val_set, folder, resume=resume, say=say)


def finetune_on(
    config: FinetuneConfig,
    train_set: HandDataset,
    val_set: HandDataset,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> RunOutcome:
    """As `finetune`, with splits that are open already."""
    data, settings, log = config.data, config.trainer, config.log
    bad_list = None if data.skip_bad is None else read_bad_list(Path(data.skip_bad), train_set.name)
    rows, left_out = _rows_to_train_on(config, train_set, bad_list)
    if bad_list is not None and val_set.split in bad_list.splits:
        bad = bad_list.rows(val_set)
        val_set, left_out["val_bad"] = without_rows(val_set, bad), len(bad)
    mean_bone_mm = mean_bone_length_mm(train_set, rows)
    mean_bone_length_mm(val_set, np.arange(len(val_set)))  # raises before an epoch is trained for nothing
    stop = StopRequest()
    meter = Meter(log.metrics_every_steps, HandMetrics)
    report = make_reporter(meter, folder, say)
    val_crop = CropSettings(data.crop_factor, config.augmentation.size_px)
    with ExitStack() as stack:
        reader = stack.enter_context(
            closing(HandReader(val_set, val_crop, workers=settings.workers, keep=True))
        )
        validation = Validation(reader, len(val_set), config, mean_bone_mm, report, meter.exclude_time)
        callbacks: list[Callback] = [meter, validation]
        if log.figures_every_steps:
            callbacks.append(
                TrainingFigures(folder.figures, log.figures_every_steps, "hands", _draw_last_hands)
            )
        checkpoints = Checkpoints(folder, log.checkpoint_every_steps, stop, lambda: validation.error_mm)
        partly_frozen = settings.freeze_trunk not in ("never", "always", 0)
        trainer = make_trainer(
            settings, log, folder, [*callbacks, checkpoints], find_unused_parameters=partly_frozen
        )
        loader = HandLoader(
            train_set,
            rows,
            CropSettings(data.training_crop_factor, data.training_crop_px),
            batch_size=settings.batch_size,
            seed=config.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            workers=settings.workers,
        )
        stack.callback(loader.close)
        schedule = Schedule.of(settings, loader.batches_an_epoch, trainer.world_size)
        module = FinetuneModule(config, schedule, init=not resume)
        module.metadata = {
            **_metadata(module, loader),
            "hands": len(rows),
            "val_hands": len(val_set),
            "mean_bone_mm": mean_bone_mm,
            "left_out": left_out,
        }
        if resume:
            metadata = prepare_resume(module, trainer, folder, _MUST_MATCH, "handsim finetune", report)
            module.metadata["init"] = metadata["init"]
        else:
            report(
                f"{folder.path}: {pluralize(schedule.steps, 'step')} of "
                f"{pluralize(schedule.samples_a_step, 'hand')}, "
                f"{schedule.batches_an_epoch:,} batches an epoch of {pluralize(len(rows), 'hand')}, on "
                f"{trainer.world_size} x {trainer.strategy.root_device}, {config.encoder.architecture} from "
                f"{module.metadata['init']}; mean bone {mean_bone_mm:.1f} mm"
            )
            if any(left_out.values()):
                report(f"left out: {_describe_left_out(left_out, data.skip_bad)}")
        begin_run(module, trainer, folder, config)
        return fit(trainer, module, loader, checkpoints, resume=resume)


def _rows_to_train_on(
    config: FinetuneConfig, train_set: HandDataset, bad_list: BadList | None
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """The hands of the share of labels, and how many of it are left out, by reason.

    The share is drawn first: with and without a list of bad labels it is of the same hands.
    """
    data = config.data
    rows = labelled_share(train_set, data.label_fraction, config.seed, data.label_subset)
    share = len(rows)
    if bad_list is not None:
        rows = np.setdiff1d(rows, bad_list.rows(train_set))
        if not len(rows):
            raise HandsimError(
                f"{bad_list.path} names all {pluralize(share, 'hand')} of {train_set.split}; none is left"
            )
    inside = rows_in_pictures(train_set, rows, workers=config.trainer.workers)
    return inside, {"bad": share - len(rows), "outside": len(rows) - len(inside)}


def _describe_left_out(left_out: dict[str, int], skip_bad: str | None) -> str:
    reasons = {
        "bad": f"that {skip_bad} names",
        "outside": "outside of the picture",
        "val_bad": f"of validation that {skip_bad} names",
    }
    counts = {name: pluralize(count, "hand") for name, count in left_out.items() if count}
    return ", ".join(f"{count} {reasons[name]}" for name, count in counts.items())


def _metadata(module: FinetuneModule, loader: HandLoader) -> dict[str, Any]:
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


class Validation(Callback):
    """Measures the error on a split at the end of epochs, for the loggers and in a line."""

    def __init__(
        self,
        reader: HandReader,
        hands: int,
        config: FinetuneConfig,
        mean_bone_mm: float,
        report: Callable[[str], None],
        exclude_time: Callable[[float], None],
    ) -> None:
        """``reader`` cuts out the ``hands`` of the split; ``exclude_time`` gets the seconds that it took."""
        self._reader, self._hands, self._settings = reader, hands, config.trainer
        self._mean_bone_mm, self._report, self._exclude_time = mean_bone_mm, report, exclude_time
        self.error_mm = float("nan")
        """``val_mpjpe_mm`` of the epoch that has just ended, the same in all processes; NaN where it was not
        measured."""

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: HandBatch, batch_idx: int
    ) -> None:
        assert isinstance(module, FinetuneModule)
        done, schedule = batch_idx + 1, module.schedule
        self.error_mm = float("nan")
        every = self._settings.validate_every_epochs
        due = schedule.ends_epoch(done, every) or done == schedule.batches
        if not (schedule.ends_step(done) and due):
            return
        started = time.perf_counter()
        errors = self._measure(trainer, module)
        self.error_mm = errors[0]
        seconds = time.perf_counter() - started
        self._exclude_time(seconds)
        numbers = dict(zip(VALIDATION_METRICS, errors, strict=True))
        numbers["val_images_per_s"] = self._hands / seconds
        numbers["epoch"] = done / schedule.batches_an_epoch
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        self._report(
            f"epoch {numbers['epoch']:.4g}: {errors[0]:.2f} mm root-relative, "
            f"{errors[1]:.2f} mm with the scale aligned, over {pluralize(self._hands, 'hand')}"
        )

    def _measure(self, trainer: Trainer, module: FinetuneModule) -> list[float]:
        """The errors in the order of `VALIDATION_METRICS`, over the shares of all processes."""
        rows = np.arange(trainer.global_rank, self._hands, trainer.world_size)
        sums, counts = np.zeros((2, len(VALIDATION_METRICS), JOINT_COUNT))
        module.estimator.eval()
        with (
            torch.no_grad(),
            trainer.precision_plugin.val_step_context(),
            self._reader.prefetch(in_order(rows, self._settings.batch_size)) as batches,
        ):
            for batch in batches:
                crops = batch.crops.to(module.device, non_blocking=True)
                estimate = estimate_crops(module.estimator, crops, batch.squares_px, batch.intrinsics)
                predicted_mm = estimate.joints.double().cpu().numpy() * self._mean_bone_mm
                for row, errors in enumerate(_errors_mm(predicted_mm, batch)):
                    sums[row] += np.nansum(errors, axis=0)
                    counts[row] += (~np.isnan(errors)).sum(axis=0)
        module.estimator.train()
        shares = torch.from_numpy(np.stack([sums, counts])).to(module.device, torch.float32)
        sums, counts = trainer.strategy.reduce(shares, reduce_op="sum").double().cpu().numpy()
        each_joint = sums / np.where(counts > 0, counts, np.nan)
        return [float(np.nanmean(joints)) if np.isfinite(joints).any() else np.nan for joints in each_joint]


def _errors_mm(predicted_mm: NDArray[np.float64], batch: HandBatch) -> list[NDArray[np.float64]]:
    """Errors [B, 21] of root-relative predictions [B, 21, 3] for each of `VALIDATION_METRICS`.

    They are NaN for joints without truth. Hands whose reference bone has no length are not aligned by it.
    """
    true_mm, valid = batch.joints_mm.double().numpy(), batch.valid.numpy()
    _, scalable = bone_lengths_mm(true_mm, valid)
    poses = compare_poses(predicted_mm, true_mm, valid)
    scaled = align_root_and_scale(replace(poses, valid=valid & scalable[:, None]))
    return [joint_errors_mm(align_root(poses)), joint_errors_mm(scaled)]


class HandMetrics:
    """Numbers over batches of labelled hands, for `training.runs.monitor.Meter`.

    ``images_per_s`` counts hands that were trained on, in all processes. ``data_wait`` is the share of the
    time in which this process waited for a batch.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._parts: list[dict[str, Tensor]] = []
        self._hands = 0
        self._waited_s = 0.0

    def add(self, batch: HandBatch, module: FinetuneModule) -> None:
        self._losses.append(module.loss)
        self._parts.append(module.loss_parts)
        self._hands += len(batch)
        self._waited_s += batch.waited_s

    def compute(self, elapsed_s: float, processes: int) -> dict[str, float]:
        parts = {
            f"loss_{name}": float(torch.stack([part[name] for part in self._parts]).mean())
            for name in self._parts[0]
        }
        return {
            "loss": sum(self._losses) / len(self._losses),
            **parts,
            "images_per_s": processes * self._hands / elapsed_s,
            "data_wait": self._waited_s / elapsed_s,
        }

    @staticmethod
    def describe(numbers: dict[str, float]) -> str:
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%}"
        )


def _draw_last_hands(batch: HandBatch, module: FinetuneModule) -> Image.Image:
    """The first hands of the batch that ``module`` was just trained on: truth and estimate side by side."""
    assert module.last is not None
    views, prediction = module.last
    estimate = module.estimator.decode(prediction, view_intrinsics(batch, views))
    distances = (estimate.keypoints - views.keypoints).norm(dim=2).where(batch.valid, torch.nan)
    errors_px = (distances.nanmean(dim=1) * views.images.shape[-1]).tolist()
    tiles = []
    for row, sample_id in enumerate(batch.sample_ids[:_HANDS]):
        missing = int((~batch.valid[row]).sum())
        note = f"{missing} joints not annotated" if missing else ""
        image = views.images[row]
        tiles.append(
            (
                view_tile(image, views.keypoints[row], (sample_id, note)),
                view_tile(image, estimate.keypoints[row], ("estimate", f"{errors_px[row]:.1f} px apart")),
            )
        )
    return draw_side_by_side(tiles)
