"""One pre-training run from its recipe to its last checkpoint.

It adds to the loop of `training.runs`: metrics and figures of pairs, and the index version that they come
from, in every checkpoint and in the run's folder.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from handsim.checkpoints import read_checkpoint
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, POOL_ENLARGEMENT, rescale_keypoints
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.lists import HandLists
from handsim.pool import Pool
from handsim.processes import StopRequest
from index import Catalog
from training.augmentation import AugmentationSettings, measure_framing
from training.losses import positive_weights
from training.pairs.decoding import PairBatch
from training.pairs.loader import PairLoader
from training.pairs.open_pairs import BegunRun, open_pairs
from training.pretrain.config import PretrainConfig
from training.pretrain.module import PretrainModule, points_for_weights
from training.runs.checkpoints import Checkpoints
from training.runs.folder import RunFolder
from training.runs.module import RunModule
from training.runs.monitor import Meter, TrainingFigures, draw_side_by_side, view_tile
from training.runs.recipes import as_mapping
from training.runs.settings import Schedule
from training.runs.trainer import RunOutcome, begin_run, fit, make_reporter, make_trainer, prepare_resume

_FRAMED_HANDS: Final = 1000
"""Hands by which it is told how much of the views lies outside their pictures."""
_MUCH_OUTSIDE: Final = 0.05
_PAIRS: Final = 12
"""Pairs in one figure."""
_MUST_MATCH: Final = ("architecture", "batches_an_epoch", "pairs_a_step", "seed", "anchors")
"""Metadata that must be equal in a run and in the checkpoint it resumes from."""


def pretrain(
    config: PretrainConfig,
    home: Home,
    catalog: Catalog | None,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> RunOutcome:
    """Train, with ``resume`` from the folder's last checkpoint on, until the end of the run or a stop.

    Every process of a distributed run calls this; the first one writes. ``catalog`` is only needed where the
    recipe's pairs come from a live index. Raises HandsimError for settings, pool, index and checkpoint that
    do not fit together, UnavailableError once the index was away for too long (a checkpoint is written
    before), DivergedError when the loss is NaN or infinite.
    """
    pool = Pool.open(home.pool)
    stop = StopRequest()
    meter = Meter(config.log.metrics_every_steps, PairMetrics)
    report = make_reporter(meter, folder, say)
    callbacks: list[Callback] = [meter]
    if config.log.figures_every_steps:
        figures = TrainingFigures(folder.figures, config.log.figures_every_steps, "pairs", draw_pairs)
        callbacks.append(figures)
    if catalog is not None:
        callbacks.append(_VersionNote(catalog, folder))
    begun = _read_begun(config, folder) if resume else None
    checkpoints = Checkpoints(folder, config.log.checkpoint_every_steps, stop)
    trainer = make_trainer(config.trainer, config.log, folder, [*callbacks, checkpoints])
    with open_pairs(
        config.pairs,
        pool,
        catalog,
        batch_size=config.trainer.batch_size,
        seed=config.seed,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        workers=config.trainer.workers,
        begun=begun,
        with_vectors=config.loss.needs_vectors,
        lists=HandLists(home.lists),
        on_event=report,
    ) as loader:
        schedule = Schedule.of(config.trainer, loader.anchors.batches_an_epoch, trainer.world_size)
        module = PretrainModule(config, schedule, init=not resume)
        module.metadata = _metadata(config, pool, loader, schedule, begun)
        if resume:
            prepare_resume(module, trainer, folder, _MUST_MATCH, "handsim pretrain", report)
        else:
            report(
                f"{folder.path}: {pluralize(schedule.steps, 'step')} of "
                f"{pluralize(schedule.samples_a_step, 'pair')}, "
                f"{schedule.batches_an_epoch:,} batches an epoch, on {trainer.world_size} x "
                f"{trainer.strategy.root_device}, {module.encoder.architecture} from {module.encoder.origin}"
            )
            if line := describe_narrow_crops(pool, config.augmentation):
                report(line)
        begin_run(module, trainer, folder, config)
        stop.on_signal = loader.stop_waiting
        return fit(trainer, module, loader, checkpoints, resume=resume)


def _read_begun(config: PretrainConfig, folder: RunFolder) -> BegunRun | None:
    """What the run to be resumed says of its anchors; None where it says nothing, and cannot be resumed."""
    metadata = read_checkpoint(folder.last).get("handsim")
    if not isinstance(metadata, dict) or "anchors" not in metadata:
        return None
    versions = (metadata.get("index"), metadata.get("first_index"))
    return BegunRun(
        anchors=metadata["anchors"],
        hands=int(metadata["hands"]),
        versions=tuple(dict.fromkeys(name for name in versions if name is not None)),
    )


def _metadata(
    config: PretrainConfig, pool: Pool, loader: PairLoader, schedule: Schedule, begun: BegunRun | None
) -> dict[str, Any]:
    """What a checkpoint and the run's folder say of it."""
    version = None if loader.version is None else loader.version.name
    return {
        "architecture": config.encoder.architecture,
        "seed": config.seed,
        "batches_an_epoch": schedule.batches_an_epoch,
        "pairs_a_step": schedule.samples_a_step,
        "anchors": loader.anchors.fingerprint,
        "pool": str(pool.path.resolve()),
        "hands": len(pool) if begun is None else begun.hands,
        "index": version,
        "first_index": begun.versions[-1] if begun is not None and begun.versions else version,
        "embedding_fingerprint": None if loader.version is None else loader.version.embedding_fingerprint,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "config": as_mapping(config),
    }


def describe_narrow_crops(pool: Pool, settings: AugmentationSettings) -> str:
    """A line for people, where much of the views lies outside the pictures that a pool has; else none."""
    usable = np.flatnonzero(pool.is_usable & pool.has_crops)
    if not len(usable):
        return ""
    rows = usable[:: -(-len(usable) // _FRAMED_HANDS)]
    keypoints = rescale_keypoints(pool.keypoints[rows][:, :, :2], CROP_ENLARGEMENT, pool.crop_enlargement)
    outside = measure_framing(torch.from_numpy(keypoints), settings).area_outside
    if outside < _MUCH_OUTSIDE:
        return ""
    wider = pool.crop_enlargement < POOL_ENLARGEMENT
    remedy = f"; an ingest into a new home makes pictures of {POOL_ENLARGEMENT:g} times" if wider else ""
    return (
        f"{outside:.0%} of the area of views lies outside the pool's pictures, which are "
        f"{pool.crop_enlargement:g} times as long as the hand's box, and repeats their edge{remedy}"
    )


class _VersionNote(Callback):
    """Records the index version when batches begin to come from another one."""

    def __init__(self, catalog: Catalog, folder: RunFolder) -> None:
        self._catalog, self._folder = catalog, folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Compare the batch's version with the last one."""
        assert isinstance(module, PretrainModule)
        if batch.version is None or batch.version == module.metadata["index"]:
            return
        fingerprint = None
        # It may be gone again, or the server away: its name is known all the same.
        with suppress(HandsimError):
            known = {info.name: info.embedding_fingerprint for info in self._catalog.versions()}
            fingerprint = known.get(batch.version)
        module.metadata |= {"index": batch.version, "embedding_fingerprint": fingerprint}
        if trainer.is_global_zero:
            self._folder.write_metadata(module.metadata)


class PairMetrics:
    """Numbers over batches of pairs, for `training.runs.monitor.Meter`.

    ``images_per_s`` counts views that were trained on, in all processes. ``data_wait`` is the share of the
    time in which this process waited for a batch, ``index_wait`` that in which it waited for the index.
    ``near_negatives`` are those that a row's denominator left out or discounted.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._distances: list[float] = []
        self._near: list[float] = []
        self._views = self._pairs = self._without_positive = self._left_out = 0
        self._data_wait_s = self._index_wait_s = 0.0

    def add(self, batch: PairBatch, module: RunModule) -> None:
        """Include a batch on which the module was just trained."""
        assert isinstance(module, PretrainModule)
        pairs = len(batch.anchors)
        self._losses.append(module.loss)
        self._pairs += pairs
        self._views += 2 * pairs + len(batch.negatives)
        self._without_positive += batch.without_positive
        self._left_out += batch.left_out
        distance = float(batch.distances.nanmean())
        if np.isfinite(distance):
            self._distances.append(distance)
        if np.isfinite(module.near_negatives):
            self._near.append(module.near_negatives)
        self._data_wait_s += batch.data_wait_s
        self._index_wait_s += batch.index_wait_s

    def compute(self, elapsed_s: float, processes: int) -> dict[str, float]:
        """Mean loss, rate, shares of the time spent waiting, and how pairs were found."""
        numbers = {
            "loss": sum(self._losses) / len(self._losses),
            "images_per_s": processes * self._views / elapsed_s,
            "data_wait": self._data_wait_s / elapsed_s,
            "index_wait": self._index_wait_s / elapsed_s,
            "without_positive": self._without_positive / self._pairs,
            "left_out": self._left_out / self._pairs,
        }
        if self._distances:
            numbers["positive_distance"] = sum(self._distances) / len(self._distances)
        if self._near:
            numbers["near_negatives"] = sum(self._near) / len(self._near)
        return numbers

    @staticmethod
    def describe(numbers: dict[str, float]) -> str:
        """Loss, rate and waiting; and where most anchors have no positive, that."""
        alone = numbers["without_positive"]
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%} (index {numbers['index_wait']:.0%})"
            + (f"; {alone:.0%} OF THE ANCHORS HAVE NO POSITIVE" if alone > 0.5 else "")
        )


def draw_pairs(batch: PairBatch, module: PretrainModule) -> Image.Image:
    """The first pairs of the last batch as views: anchor and positive, with their distance and weight."""
    assert module.views is not None
    weighting = module.config.loss.weighting
    weights = None
    if weighting.weights_positives:
        rows = torch.cat([batch.anchors, batch.positives])
        points = points_for_weights(weighting, batch, rows, module.views, batch.vectors[rows])
        first, second = points.chunk(2)
        weights = positive_weights(first, second, weighting).tolist()
    tiles = []
    for row in range(min(_PAIRS, len(batch.anchors))):
        anchor, positive = (int(batch.hand_ids[int(rows[row])]) for rows in (batch.anchors, batch.positives))
        distance = float(batch.distances[row])
        if anchor == positive:
            origin = "its own second view"
        elif np.isfinite(distance):
            origin = f"distance {distance:.3f}"
        else:
            origin = format_hand_id(positive)
        weight = "" if weights is None else f"weight {weights[row]:.2f}"
        left, right = (
            view_tile(view.images[row], view.keypoints[row], caption)
            for view, caption in zip(module.views, ((format_hand_id(anchor),), (origin, weight)), strict=True)
        )
        tiles.append((left, right))
    return draw_side_by_side(tiles)
