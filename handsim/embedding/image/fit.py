"""Fitting an image embedding over a pool: encode its crops, find the components, keep the vectors."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding.image.architectures import FEATURES, Architecture, Device
from handsim.embedding.image.embedding import DEFAULT_BATCH, ImageEmbedding, vectors_folder
from handsim.embedding.image.encoder_file import Projection, TrunkWeights, write_encoder
from handsim.embedding.image.encoding import encode_hands
from handsim.embedding.image.kept_rows import KeptRows
from handsim.embedding.image.record import ImageRecord
from handsim.embedding.pca import PrincipalComponents
from handsim.errors import HandsimError
from handsim.pool import Pool

DEFAULT_COMPONENTS: Final = 64
DEFAULT_IMAGE_SIZE_PX: Final = 224
MIN_IMAGE_SIZE_PX: Final = 32
_ENCODED_TOGETHER: Final = 1024
"""Hands whose features are kept at once: what a killed fit loses at most."""
_PROJECTED_TOGETHER: Final = 4096

Progress = Callable[[int, int], None]
"""Called with the hands encoded and all there are to encode."""


@dataclass(frozen=True)
class ImageFitOptions:
    """How crops are encoded and how much of it is kept. Raises HandsimError for what cannot be."""

    components: int = DEFAULT_COMPONENTS
    """D, the length of a vector."""
    image_size_px: int = DEFAULT_IMAGE_SIZE_PX
    """The side crops are resized to before the ResNet looks at them."""
    batch: int = DEFAULT_BATCH
    """Crops it looks at together; the vectors do not depend on it beyond rounding."""
    device: Device = "auto"
    """``cpu``, ``cuda``, or ``auto``: a GPU where there is one."""
    keep_features: bool = False
    """Leave the features on disk, so that fitting again with other components encodes nothing."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("components", self.components, 1),
            ("batch", self.batch, 1),
            ("image size", self.image_size_px, MIN_IMAGE_SIZE_PX),
        ):
            if value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")


def fit_image_embedding(
    pool: Pool,
    encoder: str,
    path: str | Path,
    options: ImageFitOptions | None = None,
    progress: Progress | None = None,
) -> ImageEmbedding:
    """Fit on every crop of a pool and write the embedding to ``path``, its weights file beside it.

    ``encoder`` is resnet18 to resnet152 (ImageNet's weights) or a checkpoint's path, see
    `handsim.embedding.image.weights.read_trunk`. Memory is bounded however many hands there are. A fit that
    was stopped goes on where it was when it is run again: features are kept beside the pool until the end.

    Raises HandsimError for hands without crops, too few of them, or an encoder that cannot be used.
    """
    from handsim.embedding.image.weights import read_trunk

    options = options or ImageFitOptions()
    weights = read_trunk(encoder)
    check_fittable(pool, weights.architecture, options)
    path = Path(path)
    folder = pool.path.parent / "features" / f"{weights.sha256[:16]}-{options.image_size_px}"
    features = KeptRows(folder, FEATURES[weights.architecture], np.float16)
    _encode(pool, weights, options, features, progress)
    found = PrincipalComponents.fit(
        (features.read(hand_ids) for hand_ids in _slices(pool, _PROJECTED_TOGETHER)), options.components
    )
    projection = Projection(found.mean, found.components)
    record = ImageRecord(
        encoder=weights.encoder,
        architecture=weights.architecture,
        image_size_px=options.image_size_px,
        trunk_sha256=weights.sha256,
        pca_sha256=projection.sha256,
        dimension=options.components,
        fitted_hands=len(pool),
        total_variance=found.total_variance,
        explained_variance=tuple(found.explained_variance.tolist()),
    )
    vectors = KeptRows(vectors_folder(pool, record), record.dimension, np.float32)
    for hand_ids in _slices(pool, _PROJECTED_TOGETHER):
        new = hand_ids[~vectors.has(hand_ids)]
        vectors.keep(new, projection.apply(features.read(new)))
    write_encoder(path.parent / record.encoder_file, weights, projection)
    embedding = ImageEmbedding(record, [path.parent])
    embedding.save(path)
    if not options.keep_features:
        shutil.rmtree(folder)
        with suppress(OSError):  # where those of another encoder are kept
            folder.parent.rmdir()
    return embedding


def check_fittable(pool: Pool, architecture: Architecture, options: ImageFitOptions) -> None:
    """Raise HandsimError for a pool with too few hands, or hands without crops, or too many components."""
    most = FEATURES[architecture]
    if options.components > most:
        raise HandsimError(f"components is {options.components}; a {architecture} has 1 to {most}")
    if len(pool) <= options.components:
        raise HandsimError(
            f"{len(pool)} hands are too few to fit {options.components} components; "
            f"`handsim ingest` more, or ask for fewer components"
        )
    lacking = len(pool) - int(pool.has_crops.sum())
    if lacking:
        raise HandsimError(
            f"{lacking:,} of the {len(pool):,} hands have keypoints but no picture to encode; "
            f"ingest the pictures they come from into a pool of their own, or fit a pose embedding"
        )


def _encode(
    pool: Pool, weights: TrunkWeights, options: ImageFitOptions, features: KeptRows, progress: Progress | None
) -> None:
    """Keep the features of all hands that have none yet."""
    from handsim.embedding.image.trunk import Trunk

    chunks = [hand_ids[~features.has(hand_ids)] for hand_ids in _slices(pool, _ENCODED_TOGETHER)]
    chunks = [chunk for chunk in chunks if len(chunk)]
    if not chunks:
        return
    done = len(pool) - sum(map(len, chunks))
    trunk = Trunk(weights, options.image_size_px, options.device)
    for chunk, encoded in zip(chunks, encode_hands(pool, chunks, trunk, options.batch), strict=True):
        features.keep(chunk, encoded)
        done += len(chunk)
        if progress is not None:
            progress(done, len(pool))


def _slices(pool: Pool, size: int) -> Iterator[NDArray[np.uint64]]:
    for start in range(0, len(pool), size):
        yield pool.hand_ids[start : start + size]
