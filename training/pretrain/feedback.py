"""Mining with the encoder that is being trained: every so many epochs it makes a new index version.

feedback/embedding.json          the newest version's embedding
feedback/encoder-*.safetensors   its encoder, and those of the other versions that are left
feedback/versions.json           the versions that this run made, and the encoder's file of each
feedback/.round/                 what a round needs on disk; that of a killed one goes with the next
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from handsim.embedding import BlendEmbedding, Embedding, PoseEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, check_fittable, fit_image_embedding
from handsim.embedding.trunk import TrunkWeights
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import StopRequest
from index import Catalog, VersionInfo
from training.models.encoder import write_torchvision
from training.pairs.decoding import PairBatch
from training.pretrain.config import FeedbackSettings
from training.pretrain.module import PretrainModule
from training.runs.folder import RunFolder

EMBEDDING_FILE: Final = "embedding.json"
VERSIONS_FILE: Final = "versions.json"
_ROUND: Final = ".round"

Progress = Callable[[int, int], None]
"""Called with hands done and hands in all, first while they are encoded, then for the index; it may raise."""


class LearnedVersions:
    """Makes index versions with a run's encoders and removes the oldest of them; those of others stay."""

    pose: PoseEmbedding | None = None
    """The pose's part of a vector; None where it has no share."""

    def __init__(
        self, settings: FeedbackSettings, home: Home, catalog: Catalog, folder: Path, pool: Pool
    ) -> None:
        """Take the settings of the graph and the pose embedding from the current version.

        Where that has no pose embedding it is the home's, else one is fitted on the pool. ``folder`` is the
        run's ``feedback/``. Raises NotThereError where nothing was published, and what the catalog raises.
        """
        self._settings, self._home, self._catalog, self._folder = settings, home, catalog, folder
        with catalog.current() as current:
            embedding, self._index_settings = current.embedding, current.info.settings
        if settings.pose_share:
            self.pose = _pose_of(embedding)
            if self.pose is None and home.embedding.exists():
                self.pose = _pose_of(load_embedding(home.embedding))
            self.pose = self.pose or PoseEmbedding.fit(pool)

    def make(self, weights: TrunkWeights, options: ImageFitOptions, progress: Progress) -> VersionInfo:
        """Embed the pool with a trunk, build and publish a version, and remove the oldest of this run's.

        Raises HandsimError or OSError where that cannot be done, and whatever ``progress`` raises; what was
        begun is removed then.
        """
        with self._scratch_folder() as scratch:
            # Features and vectors are stored beside a pool: through this link they go with the round.
            (scratch / "pool").symlink_to(self._home.pool.resolve(), target_is_directory=True)
            pool = Pool.open(scratch / "pool")
            encoder = scratch / f"{weights.encoder}.safetensors"
            write_torchvision(encoder, weights, source=str(self._folder.parent))
            image = fit_image_embedding(pool, str(encoder), scratch / EMBEDDING_FILE, options, progress)
            embedding: Embedding = image
            if self.pose is not None:
                embedding = BlendEmbedding(self.pose, image, self._settings.pose_share)
            info = self._build(pool, embedding, progress)
            pool.close()
            self._write_versions({**self._read_versions(), info.name: image.record.encoder_file})
            embedding.save(self._folder / EMBEDDING_FILE)
        # The version is published: what cannot be removed now is removed the next time.
        with suppress(HandsimError, OSError):
            self._prune()
        return info

    @contextmanager
    def _scratch_folder(self) -> Iterator[Path]:
        """An empty folder that is removed afterwards."""
        scratch = self._folder / _ROUND
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _build(self, pool: Pool, embedding: Embedding, progress: Progress) -> VersionInfo:
        before = {info.name for info in self._catalog.versions()}
        try:
            return self._catalog.build(pool, embedding, self._index_settings, progress=progress)
        except HandsimError:
            # It may have been written, but not be good enough to be published.
            with suppress(HandsimError):
                for info in self._catalog.versions():
                    if info.name not in before and info.embedding_fingerprint == embedding.fingerprint:
                        self._catalog.remove(info.name)
            raise

    def _read_versions(self) -> dict[str, str]:
        """The encoder's file of each version that this run made, by the version's name."""
        path = self._folder / VERSIONS_FILE
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _write_versions(self, encoder_files: dict[str, str]) -> None:
        write_text_atomically(self._folder / VERSIONS_FILE, json.dumps(encoder_files, indent=1) + "\n")

    def _prune(self) -> None:
        encoder_files, current = self._read_versions(), self._catalog.current_name()
        names = [info.name for info in self._catalog.versions() if info.name in encoder_files]
        left = set(names)
        for name in names[: -self._settings.keep_versions]:
            # One that somebody has open stays, and so does the current one, which may be an old one again.
            if name != current and self._catalog.remove(name):
                left.remove(name)
        encoder_files = {name: file for name, file in encoder_files.items() if name in left}
        self._write_versions(encoder_files)
        for path in self._folder.glob("encoder-*"):
            if path.name not in encoder_files.values():
                path.unlink()


def _pose_of(embedding: Embedding) -> PoseEmbedding | None:
    if isinstance(embedding, BlendEmbedding):  # this run's own, when it is resumed
        return embedding.pose
    return embedding if isinstance(embedding, PoseEmbedding) else None


_LONGEST_ROUND: Final = timedelta(days=2)
"""How long the other processes wait. With millions of hands the first one may need more than the ten minutes
that NCCL, and so `Strategy.barrier`, would wait."""


class Feedback(Callback):
    """After every so many epochs embeds the pool with the encoder, builds an index version and publishes it.

    Pairs come from it as soon as those that were prepared before are used up. The first process works, the
    others wait. Where a version cannot be built (a full disk, a server that is away), a line says so, and
    training continues with the version that is there. Nothing that training depends on is changed: neither
    weights, running statistics, gradients nor random numbers.
    """

    def __init__(
        self,
        settings: FeedbackSettings,
        home: Home,
        catalog: Catalog,
        folder: RunFolder,
        report: Callable[[str], None],
        stop: StopRequest,
    ) -> None:
        """``report`` gets a line for what happens.

        A ``stop`` interrupts a round; the run makes up for it when it is resumed.
        """
        self._settings, self._home, self._catalog, self._folder = settings, home, catalog, folder
        self._report, self._stop = report, stop
        self._versions: LearnedVersions | None = None
        self._barrier_group: distributed.ProcessGroup | None = None
        self._is_due_on_resume = False

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Check that it can be done, before hours have passed.

        Raises HandsimError for a pool whose pictures cannot be embedded, in every process, and what the
        catalog raises.
        """
        assert isinstance(module, PretrainModule)
        pool = Pool.open(self._home.pool)
        check_fittable(pool, module.config.encoder.architecture, self._options(module))
        if trainer.is_global_zero:
            folder = self._folder.path / "feedback"
            self._versions = LearnedVersions(self._settings, self._home, self._catalog, folder, pool)
        pool.close()
        if trainer.world_size > 1:
            group = distributed.new_group(backend="gloo", timeout=_LONGEST_ROUND)
            assert isinstance(group, distributed.ProcessGroup)
            self._barrier_group = group

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Make up for a round that the end of the last session interrupted."""
        assert isinstance(module, PretrainModule)
        if self._is_due_on_resume:
            self._run_in_turn(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Run a round where it is due: between two steps, and never after the last one."""
        assert isinstance(module, PretrainModule)
        schedule, done = module.schedule, batch_idx + 1
        if done % schedule.accumulate or done >= schedule.batches:
            return
        if schedule.ends_epoch(done, self._settings.every_epochs):
            self._run_in_turn(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Whether a round was interrupted."""
        return {"owed": self._is_due_on_resume}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with that."""
        self._is_due_on_resume = state_dict["owed"]

    def _run_in_turn(self, trainer: Trainer, module: PretrainModule) -> None:
        self._is_due_on_resume = False
        if trainer.is_global_zero:
            self._run_round(module)
            if module.device.type == "cuda":
                torch.cuda.empty_cache()
        if self._barrier_group is not None:
            distributed.barrier(self._barrier_group)

    def _run_round(self, module: PretrainModule) -> None:
        epoch = module.batches_done // module.schedule.batches_an_epoch
        self._report(f"building an index version with the encoder of epoch {epoch:,}")
        started = time.perf_counter()
        weights = trunk_weights(module, f"{self._folder.path.name}-epoch-{epoch}")
        assert self._versions is not None
        try:
            info = self._versions.make(weights, self._options(module), self._check_stop)
        except _Interrupted:
            self._is_due_on_resume = True
            self._report("interrupted, because the run is to stop; the resumed run makes up for it")
        except (HandsimError, OSError) as error:
            # Training matters more than the feedback.
            why = " ".join(str(error).split())
            self._report(f"no index version with the encoder of epoch {epoch:,}; training goes on: {why}")
        else:
            recall = "" if info.recall_at_1 is None else f", recall@1 {info.recall_at_1:.4f}"
            self._report(
                f"index version {info.name} is published: {info.points:,} hands ({info.embedding_kind}-"
                f"{info.dimension}) in {time.perf_counter() - started:,.1f} s{recall}"
            )

    def _options(self, module: PretrainModule) -> ImageFitOptions:
        return ImageFitOptions(
            components=self._settings.components,
            image_size_px=module.config.augmentation.size_px,
            device="cuda" if module.device.type == "cuda" else "cpu",
        )

    def _check_stop(self, done: int, total: int) -> None:
        if self._stop.requested:
            raise _Interrupted


class _Interrupted(Exception):
    """The run is to stop, and the round with it."""


def trunk_weights(module: PretrainModule, name: str) -> TrunkWeights:
    """A copy of the trunk's weights as they are now."""
    tensors = {
        key: tensor.detach().to("cpu", torch.float32).numpy().copy()
        for key, tensor in module.encoder.trunk.state_dict().items()
        if not key.endswith("num_batches_tracked")  # these change nothing
    }
    return TrunkWeights(name, module.config.encoder.architecture, tensors)
