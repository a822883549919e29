"""Which index version the pairs come from, kept in what a checkpoint and the run's folder say of the run."""

from contextlib import suppress
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from handsim.errors import HandsimError
from index import Catalog
from training.pairs import PairBatch
from training.pretrain.module import PretrainModule
from training.runs.run_folder import RunFolder


class Provenance(Callback):
    """Notes another version as soon as a batch comes from it."""

    def __init__(self, catalog: Catalog, folder: RunFolder) -> None:
        """The catalog is asked for the version's embedding once, when it changes."""
        self._catalog, self._folder = catalog, folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Look at where the batch's pairs come from."""
        assert isinstance(module, PretrainModule)
        if batch.version is None or batch.version == module.facts["index"]:
            return
        fingerprint = None
        # It may be gone again, or the server away: its name is known all the same.
        with suppress(HandsimError):
            known = {info.name: info.embedding_fingerprint for info in self._catalog.versions()}
            fingerprint = known.get(batch.version)
        module.facts |= {"index": batch.version, "embedding_fingerprint": fingerprint}
        if trainer.is_global_zero:
            self._folder.write_facts(module.facts)
