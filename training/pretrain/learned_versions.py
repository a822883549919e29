"""Index versions made with the encoders of one run, and what is kept of them in its folder.

feedback/embedding.json          the newest version's embedding
feedback/encoder-*.safetensors   its encoder, and those of the other versions that are left
feedback/versions.json           which versions were made here, and with which of these
feedback/.round/                 all that a round keeps on disk meanwhile; a killed one's goes with the next
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handsim.atomic_file import write_text_atomically
from handsim.embedding import BlendEmbedding, Embedding, ImageEmbedding, PoseEmbedding, load_embedding
from handsim.embedding.image import ImageFitOptions, fit_image_embedding
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexSettings, VersionInfo
from training.models.torchvision_file import write_torchvision
from training.pretrain.feedback_settings import FeedbackSettings

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
