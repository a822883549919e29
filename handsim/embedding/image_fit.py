"""Fitting an image embedding over a pool: encode its crops, find the components, store the vectors.

Memory is bounded however many hands there are. Features and vectors are cached beside the pool, a thousand
hands at a time, so a fit that was stopped goes on where it was when it is run again:

    <pool>/../features/<weights>-<size>/   dropped at the end, unless ``keep_features``
    <pool>/../vectors/<fingerprint>/       stays: the index is built from it
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.cluster import ClusterOptions
from handsim.embedding.image import (
    DEFAULT_BATCH,
    FEATURES,
    Architecture,
    Device,
    ImageEmbedding,
    ImageRecord,
    vectors_folder,
)
from handsim.embedding.image_encoder import Projection, extract_hand_features, write_encoder
from handsim.embedding.networks import check_size
from handsim.embedding.pca import PrincipalComponents
from handsim.embedding.ray_encoding import FeatureExtractor, extract_on_cluster
from handsim.embedding.trunk import Trunk, TrunkWeights, read_trunk
from handsim.errors import HandsimError
from handsim.pool import Pool
from handsim.pool.row_cache import FEATURES_FOLDER, RowCache

_MIN_IMAGE_SIZE_PX: Final = 32
_ENCODED_TOGETHER: Final = 1024
"""Hands whose features are cached at once: what a killed fit loses at most."""
_PROJECTED_TOGETHER: Final = 4096

Progress = Callable[[int, int], None]
"""Called with the number of hands encoded, and of all."""


@dataclass(frozen=True)
class ImageFitOptions:
    """How crops are encoded, and to how many numbers. Raises HandsimError for values out of bounds."""

    components: int = 64
    """D, the length of a vector."""
    image_size_px: int = 224
    """The side that crops are resized to for the encoder."""
    batch: int = DEFAULT_BATCH
    """Crops that go through it together; the vectors do not depend on it beyond rounding."""
    device: Device = "auto"
    """``cpu``, ``cuda``, or ``auto``: a GPU where there is one."""
    keep_features: bool = False
    """Leave the features on disk, so that fitting again with other components encodes nothing."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("components", self.components, 1),
            ("batch", self.batch, 1),
            ("image size", self.image_size_px, _MIN_IMAGE_SIZE_PX),
        ):
            if value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")


def fit_image_embedding(
    pool: Pool,
    encoder: str,
    path: str | Path,
    options: ImageFitOptions | None = None,
    progress: Progress | None = None,
    cluster: ClusterOptions | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ImageEmbedding:
    """Fit on every crop of a pool and write the embedding to ``path``, its weights file beside it.

    Hands of unknown side play no part. ``encoder`` is an architecture (ImageNet's weights) or a
    checkpoint's path, see `read_trunk`. A Ray ``cluster`` encodes if one is given (and ``say`` gets lines on
    it). Raises HandsimError for hands without crops, too few of them, or an encoder that cannot be used.
    """
    options = options or ImageFitOptions()
    weights = read_trunk(encoder)
    check_size(weights.architecture, options.image_size_px, "the image size")
    check_fittable(pool, weights.architecture, options)
    path = Path(path)
    folder = pool.path.parent / FEATURES_FOLDER / f"{weights.sha256[:16]}-{options.image_size_px}"
    features = RowCache(folder, FEATURES[weights.architecture], np.float16)
    fitted = pool.hand_ids[pool.has_side]
    _encode(pool, fitted, weights, options, features, progress, cluster, say)
    pca = PrincipalComponents.fit(
        (features.read(hand_ids) for hand_ids in _slices(fitted, _PROJECTED_TOGETHER)), options.components
    )
    projection = Projection(pca.mean, pca.components)
    record = ImageRecord(
        encoder=weights.encoder,
        architecture=weights.architecture,
        image_size_px=options.image_size_px,
        trunk_sha256=weights.sha256,
        pca_sha256=projection.sha256,
        dimension=options.components,
        fitted_hands=len(fitted),
        total_variance=pca.total_variance,
        explained_variance=tuple(pca.explained_variance.tolist()),
    )
    vectors = RowCache(vectors_folder(pool, record), record.dimension, np.float32)
    for hand_ids in _slices(fitted, _PROJECTED_TOGETHER):
        new = hand_ids[~vectors.contains(hand_ids)]
        vectors.add(new, projection.transform(features.read(new)))
    write_encoder(path.parent / record.encoder_file, weights, projection)
    embedding = ImageEmbedding(record, [path.parent])
    embedding.save(path)
    if not options.keep_features:
        shutil.rmtree(folder)
        with suppress(OSError):  # not empty: it holds the features of another encoder
            folder.parent.rmdir()
    return embedding


def check_fittable(pool: Pool, architecture: Architecture, options: ImageFitOptions) -> None:
    """Raise HandsimError for a pool with too few hands, or hands without crops, or too many components."""
    most = FEATURES[architecture]
    if options.components > most:
        raise HandsimError(f"components is {options.components}; a {architecture} has 1 to {most}")
    hands = int(pool.has_side.sum())
    if hands <= options.components:
        raise HandsimError(
            f"{hands} hands are too few to fit {options.components} components; "
            f"`handsim ingest` more, or ask for fewer components"
        )
    without_crop = int((pool.has_side & ~pool.has_crops).sum())
    if without_crop:
        raise HandsimError(
            f"{without_crop:,} of the {hands:,} hands have keypoints but no picture to encode; "
            f"ingest the pictures they come from into a pool of their own, or fit a pose embedding"
        )


def _encode(
    pool: Pool,
    hand_ids: NDArray[np.uint64],
    weights: TrunkWeights,
    options: ImageFitOptions,
    features: RowCache,
    progress: Progress | None,
    cluster: ClusterOptions | None,
    say: Callable[[str], None],
) -> None:
    """Add the features of all of the hands [N] that have none in the cache yet."""
    chunks = [chunk[~features.contains(chunk)] for chunk in _slices(hand_ids, _ENCODED_TOGETHER)]
    chunks = [chunk for chunk in chunks if len(chunk)]
    if not chunks:
        return
    done = len(hand_ids) - sum(map(len, chunks))
    encoded_chunks: Iterator[tuple[NDArray[np.uint64], NDArray[np.float16]]]
    if cluster is not None:
        path, size_px = pool.path.resolve(), options.image_size_px
        extractor = FeatureExtractor(path, weights, size_px, options.device, options.batch)
        encoded_chunks = extract_on_cluster(cluster, extractor, np.concatenate(chunks), say)
    else:
        trunk = Trunk(weights, options.image_size_px, options.device)
        extracted = extract_hand_features(pool, chunks, trunk, options.batch)
        encoded_chunks = zip(chunks, extracted, strict=True)
    for chunk, encoded in encoded_chunks:
        features.add(chunk, encoded)
        done += len(chunk)
        if progress is not None:
            progress(done, len(hand_ids))


def _slices(hand_ids: NDArray[np.uint64], size: int) -> Iterator[NDArray[np.uint64]]:
    for start in range(0, len(hand_ids), size):
        yield hand_ids[start : start + size]
