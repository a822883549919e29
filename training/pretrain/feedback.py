"""Mining in what is learned: every so many epochs the index is built anew with the encoder as it is then.

Index versions made with the encoders of one run, and what is kept of them in its folder.

feedback/embedding.json          the newest version's embedding
feedback/encoder-*.safetensors   its encoder, and those of the other versions that are left
feedback/versions.json           which versions were made here, and with which of these
feedback/.round/                 all that a round keeps on disk meanwhile; a killed one's goes with the next
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from handsim.embedding import BlendEmbedding, Embedding, ImageEmbedding, PoseEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, check_fittable, fit_image_embedding
from handsim.embedding.trunk import TrunkWeights
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, VersionInfo
from training.models.encoder import write_torchvision
from training.pairs.decoding import PairBatch
from training.pretrain.config import FeedbackSettings
from training.pretrain.module import PretrainModule
from training.runs.checkpoints import StopRequest
from training.runs.folder import RunFolder

EMBEDDING_FILE: Final = "embedding.json"
VERSIONS_FILE: Final = "versions.json"
_ROUND: Final = ".round"

Progress = Callable[[int, int], None]
"""Called with hands done and all there are, of first the encoding and then the index; it may raise."""


@dataclass(frozen=True, eq=False)
class LearnedVersions:
    """Makes them, and removes those that are no longer needed; versions made by others are left alone."""

    settings: FeedbackSettings
    """How the picture is weighed, and how many versions are left."""
    home: Home
    """Where the pool lies."""
    catalog: Catalog
    """Where versions go."""
    folder: Path
    """The run's ``feedback/``."""
    pose: PoseEmbedding | None
    """What the pictures are blended with; None where the pose has no share."""
    index_settings: IndexSettings
    """How the versions are built and searched."""

    @classmethod
    def start(
        cls, settings: FeedbackSettings, home: Home, catalog: Catalog, folder: Path, pool: Pool
    ) -> "LearnedVersions":
        """Of the current version are taken its graph's settings and its pose embedding.

        If it has none, the home's is taken, and if that is none, one is fitted on the pool. Raises
        NotThereError where nothing was published, and what the catalog raises.
        """
        with catalog.current() as current:
            embedding, index_settings = current.embedding, current.info.settings
        pose = _pose_of(embedding, home, pool) if settings.pose_share else None
        return cls(settings, home, catalog, folder, pose, index_settings)

    def make(self, weights: TrunkWeights, options: ImageFitOptions, progress: Progress) -> VersionInfo:
        """Embed the pool with a trunk, build a version, publish it, and remove the oldest of those made here.

        Raises HandsimError or OSError where that cannot be done, and whatever ``progress`` raises; what was
        begun is removed then.
        """
        with self._round() as scratch:
            # Beside a pool are kept its features and vectors: those of this one go with the round.
            (scratch / "pool").symlink_to(self.home.pool.resolve(), target_is_directory=True)
            pool = Pool.open(scratch / "pool")
            encoder = scratch / f"{weights.encoder}.safetensors"
            write_torchvision(encoder, weights, source=str(self.folder.parent))
            image = fit_image_embedding(pool, str(encoder), scratch / EMBEDDING_FILE, options, progress)
            embedding = self._blend(image)
            info = self._build(pool, embedding, progress)
            pool.close()
            self._keep(info, embedding, image.record.encoder_file)
        # Its version is out: what is not removed this time is removed the next.
        with suppress(HandsimError, OSError):
            self._prune()
        return info

    @contextmanager
    def _round(self) -> Iterator[Path]:
        """A folder that is empty, and gone afterwards."""
        scratch = self.folder / _ROUND
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _blend(self, image: ImageEmbedding) -> Embedding:
        return image if self.pose is None else BlendEmbedding(self.pose, image, self.settings.pose_share)

    def _build(self, pool: Pool, embedding: Embedding, progress: Progress) -> VersionInfo:
        before = {info.name for info in self.catalog.versions()}
        try:
            return self.catalog.build(pool, embedding, self.index_settings, progress=progress)
        except HandsimError:
            # It may be there, but find too little to be published.
            with suppress(HandsimError):
                for info in self.catalog.versions():
                    if info.name not in before and info.embedding_fingerprint == embedding.fingerprint:
                        self.catalog.remove(info.name)
            raise

    def _keep(self, info: VersionInfo, embedding: Embedding, encoder_file: str) -> None:
        write_text_atomically(
            self.folder / VERSIONS_FILE,
            json.dumps({**self._made(), info.name: encoder_file}, indent=1) + "\n",
        )
        embedding.save(self.folder / EMBEDDING_FILE)

    def _made(self) -> dict[str, str]:
        """The encoder's file of each version that was made here, by the version's name."""
        path = self.folder / VERSIONS_FILE
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def _prune(self) -> None:
        made, current = self._made(), self.catalog.current_name()
        known = [info.name for info in self.catalog.versions() if info.name in made]
        left = set(known)
        for name in known[: -self.settings.keep_versions]:
            # One that somebody has open, and the current one if that was rolled back to, stays.
            if name != current and self.catalog.remove(name):
                left.remove(name)
        kept = {name: encoder_file for name, encoder_file in made.items() if name in left}
        write_text_atomically(self.folder / VERSIONS_FILE, json.dumps(kept, indent=1) + "\n")
        for path in self.folder.glob("encoder-*"):
            if path.name not in kept.values():
                path.unlink()


def _pose_of(embedding: Embedding, home: Home, pool: Pool) -> PoseEmbedding:
    found = _pose_in(embedding)
    if found is None and home.embedding.exists():
        found = _pose_in(load_embedding(home.embedding))
    return found or PoseEmbedding.fit(pool)


def _pose_in(embedding: Embedding) -> PoseEmbedding | None:
    if isinstance(embedding, BlendEmbedding):  # this run's own, when it is resumed
        return embedding.pose
    return embedding if isinstance(embedding, PoseEmbedding) else None


_LONGEST_ROUND: Final = timedelta(days=2)
"""How long the other processes wait. For millions of hands the first one may take longer than the ten minutes
that NCCL, and `Strategy.barrier` with it, would wait."""


class Feedback(Callback):
    """After every so many epochs embeds the pool with the encoder, builds an index version and publishes it.

    Pairs come from it as soon as those that were drawn ahead are used up. The first process works, the others
    wait. Where a version cannot be built (a full disk, a server that is away), that is said in a line, and
    training goes on with the version that is there. Nothing that training depends on is touched: neither
    weights, running statistics, gradients nor random numbers.
    """

    def __init__(
        self,
        settings: FeedbackSettings,
        home: Home,
        catalog: Catalog,
        folder: RunFolder,
        note: Callable[[str], None] | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        """``note`` is told in a line what happens; None: the run's log.

        A ``stop`` that is asked for ends a round where it is; it is made up for when the run is resumed.
        """
        self._settings, self._home, self._catalog, self._folder = settings, home, catalog, folder
        self._note = note or folder.add_to_log
        self._stop = stop or StopRequest()
        self._versions: LearnedVersions | None = None
        self._waiting_room: distributed.ProcessGroup | None = None
        self._owed = False

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """See that it can be done, before hours have passed.

        Raises HandsimError for a pool whose pictures cannot be embedded, in every process, and what the
        catalog raises.
        """
        assert isinstance(module, PretrainModule)
        pool = Pool.open(self._home.pool)
        check_fittable(pool, module.config.encoder.architecture, self._options(module))
        if trainer.is_global_zero:
            folder = self._folder.path / "feedback"
            self._versions = LearnedVersions.start(self._settings, self._home, self._catalog, folder, pool)
        pool.close()
        if trainer.world_size > 1:
            group = distributed.new_group(backend="gloo", timeout=_LONGEST_ROUND)
            assert isinstance(group, distributed.ProcessGroup)
            self._waiting_room = group

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Make up for a round that was broken off by the end of the session before."""
        assert isinstance(module, PretrainModule)
        if self._owed:
            self._take_turn(trainer, module)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Do it where it is due: between two steps, and never after the last one."""
        assert isinstance(module, PretrainModule)
        schedule, done = module.schedule, batch_idx + 1
        if done % schedule.accumulate or done >= schedule.batches:
            return
        if schedule.ends_epoch(done, self._settings.every_epochs):
            self._take_turn(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Whether a round was broken off."""
        return {"owed": self._owed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with that."""
        self._owed = state_dict["owed"]

    def _take_turn(self, trainer: Trainer, module: PretrainModule) -> None:
        self._owed = False
        if trainer.is_global_zero:
            self._run_round(module)
            if module.device.type == "cuda":
                torch.cuda.empty_cache()
        if self._waiting_room is not None:
            distributed.barrier(self._waiting_room)

    def _run_round(self, module: PretrainModule) -> None:
        epoch = module.batches_done // module.schedule.batches_an_epoch
        self._note(f"building an index version with the encoder of epoch {epoch:,}")
        started = time.perf_counter()
        try:
            info = self._make_version(module, epoch)
        except _BrokenOff:
            self._owed = True
            self._note("broken off, because the run is to stop; it is made up for when it is resumed")
        except (HandsimError, OSError) as error:
            # Training is worth more than the feedback.
            why = " ".join(str(error).split())
            self._note(f"no index version with the encoder of epoch {epoch:,}; training goes on: {why}")
        else:
            recall = "" if info.recall_at_1 is None else f", recall@1 {info.recall_at_1:.4f}"
            self._note(
                f"index version {info.name} is published: {info.points:,} hands ({info.embedding_kind}-"
                f"{info.dimension}) in {time.perf_counter() - started:,.1f} s{recall}"
            )

    def _make_version(self, module: PretrainModule, epoch: int) -> VersionInfo:
        assert self._versions is not None
        name = f"{self._folder.path.name}-epoch-{epoch}"
        return self._versions.make(trunk_weights(module, name), self._options(module), self._heed_stop)

    def _options(self, module: PretrainModule) -> ImageFitOptions:
        return ImageFitOptions(
            components=self._settings.components,
            image_size_px=module.config.augmentation.size_px,
            device="cuda" if module.device.type == "cuda" else "cpu",
        )

    def _heed_stop(self, done: int, total: int) -> None:
        if self._stop.asked:
            raise _BrokenOff


class _BrokenOff(Exception):
    """The run is to stop, and the round with it."""


def trunk_weights(module: PretrainModule, name: str) -> TrunkWeights:
    """A copy of the trunk's weights as they are now."""
    tensors = {
        key: tensor.detach().to("cpu", torch.float32).numpy().copy()
        for key, tensor in module.encoder.trunk.state_dict().items()
        if not key.endswith("num_batches_tracked")  # they have no say
    }
    return TrunkWeights(name, module.config.encoder.architecture, tensors)
