"""Mining in what is learned: every so many epochs the index is built anew with the encoder as it is then."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import distributed

from handsim.embedding.image import ImageFitOptions
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.embedding.image.fit import check_fittable
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, VersionInfo
from training.pairs import PairBatch
from training.pretrain.feedback_settings import FeedbackSettings
from training.pretrain.learned_versions import LearnedVersions
from training.pretrain.module import PretrainModule
from training.runs.interruption import StopRequest
from training.runs.run_folder import RunFolder

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
