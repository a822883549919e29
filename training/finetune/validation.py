"""How good the estimator is after each epoch, on hands that it was not trained on."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from handsim.metrics.alignment import align_root, align_root_and_scale
from handsim.metrics.joint_errors import joint_errors_mm
from handsim.skeleton import JOINT_COUNT
from training.finetune.batch import HandBatch
from training.finetune.bone_length import bone_lengths_mm
from training.finetune.estimating import estimate_crops
from training.finetune.module import FinetuneModule
from training.finetune.reader import HandReader, in_order

METRICS = ("val_mpjpe_mm", "val_scale_aligned_mpjpe_mm")
"""Mean per-joint position errors (see `handsim.metrics.joint_errors`): wrists laid upon each other, hands as
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
    rooted = align_root(predicted_mm, true_mm, valid)
    scaled = align_root_and_scale(predicted_mm, true_mm, valid & scalable[:, None])
    return [joint_errors_mm(each.predicted_mm, true_mm, each.valid) for each in (rooted, scaled)]
