"""One fine-tuning run from its recipe to its last checkpoint."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from handsim.errors import HandsimError
from training.datasets.opening import open_dataset
from training.datasets.record import HandDataset
from training.finetune.bone_length import mean_bone_length_mm
from training.finetune.checkpoint_file import KIND
from training.finetune.config import FinetuneConfig
from training.finetune.cropping import CropSettings
from training.finetune.hand_figures import draw_last_hands
from training.finetune.label_fraction import labelled_share
from training.finetune.loader import HandLoader
from training.finetune.meter import HandWindow
from training.finetune.module import FinetuneModule
from training.finetune.reader import HandReader
from training.finetune.validation import Validation
from training.runs.checkpoints import Checkpoints
from training.runs.figures import TrainingFigures
from training.runs.interruption import StopRequest
from training.runs.loop import Outcome, events, fit, go_on_after, make_trainer
from training.runs.meter import Meter
from training.runs.recipes import as_mapping
from training.runs.resuming import check_resumable
from training.runs.run_folder import RunFolder
from training.runs.schedule import Schedule
from training.runs.stream import BatchStream


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
