"""Encoding a pool's crops on a Ray cluster: nodes read the crops and send features back to the one writer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.cluster import TRIES, ClusterOptions, ClusterWorkers, Lost
from handsim.embedding.image import DEFAULT_BATCH, Device, ImageEmbedding, vectors_folder
from handsim.embedding.image_encoder import read_encoder
from handsim.embedding.trunk import Trunk, TrunkWeights
from handsim.errors import HandsimError
from handsim.pool import Pool
from handsim.pool.crops import CropFiles, decode_central
from handsim.pool.row_cache import RowCache

_BATCHES_PER_TASK = 4
_HANDS_PER_FILE = 1024
"""Rows that are cached at once: what a killed run loses at most."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FeatureExtractor:
    """What a worker does with hands: reads their crops, and runs the trunk over them. It is picklable."""

    pool: Path
    weights: TrunkWeights
    image_size_px: int
    device: Device = "auto"
    batch: int = DEFAULT_BATCH
    """Crops at a time."""

    def __call__(self) -> "_FeatureWorker":
        return _FeatureWorker(self)


class _FeatureWorker:
    """In a process of the cluster."""

    def __init__(self, extractor: FeatureExtractor) -> None:
        self._crops, self._batch = CropFiles(extractor.pool), extractor.batch
        self._trunk = Trunk(extractor.weights, extractor.image_size_px, extractor.device)

    def process(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.float16]:
        """Features [n, F] of hands [n]."""
        parts = []
        for start in range(0, len(hand_ids), self._batch):
            batch = hand_ids[start : start + self._batch]
            jpegs = zip(self._crops.jpegs(batch), batch.tolist(), strict=True)
            crops = [decode_central(*jpeg, self._crops.enlargement) for jpeg in jpegs]
            parts.append(self._trunk.extract_features(crops))
        return np.concatenate(parts)

    def is_hung(self) -> bool:
        """Nothing of it is known to hang."""
        return False


def extract_on_cluster(
    cluster: ClusterOptions,
    extractor: FeatureExtractor,
    hand_ids: NDArray[np.uint64],
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float16]]]:
    """Hands [n] and their features [n, F], about a thousand at a time, until all hands [N] are done.

    Raises as `ClusterWorkers` and `handsim.embedding.image_encoder.extract_hand_features`.
    """
    size = _BATCHES_PER_TASK * extractor.batch
    chunks = (hand_ids[start : start + size] for start in range(0, len(hand_ids), size))
    workers: ClusterWorkers[NDArray[np.uint64], NDArray[np.float16]] = ClusterWorkers(
        cluster, extractor, paths=[extractor.pool], say=say
    )
    done: list[tuple[NDArray[np.uint64], NDArray[np.float16]]] = []
    with workers:
        for chunk, features in workers.run(chunks, in_order=True):
            if isinstance(features, Lost):
                raise HandsimError(
                    f"{TRIES} workers died while they encoded the hands {chunk[0]:016x} to {chunk[-1]:016x}; "
                    f"they may need more memory than their nodes have: ask for a smaller --batch"
                )
            done.append((chunk, features))
            if sum(len(chunk) for chunk, _ in done) >= _HANDS_PER_FILE:
                yield _concatenate(done)
                done.clear()
    if done:
        yield _concatenate(done)


def encode_on_cluster(
    cluster: ClusterOptions,
    embedding: ImageEmbedding,
    pool: Pool,
    hand_ids: NDArray[np.uint64],
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Put the vectors of hands [n] into the cache beside their pool, where `embed_hands` finds them.

    Raises as `extract_on_cluster`, and NotThereError without the embedding's weights.
    """
    record = embedding.record
    vectors = RowCache(vectors_folder(pool, record), record.dimension, np.float32)
    new = hand_ids[~vectors.contains(hand_ids)]
    if not len(new):
        return
    weights, projection = read_encoder(embedding.weights_file(), record)
    extractor = FeatureExtractor(pool.path.resolve(), weights, record.image_size_px)
    done = 0
    for chunk, features in extract_on_cluster(cluster, extractor, new, say):
        vectors.add(chunk, projection.transform(features))
        done += len(chunk)
        progress(done, len(new))


def _concatenate(
    parts: Sequence[tuple[NDArray[np.uint64], NDArray[np.float16]]],
) -> tuple[NDArray[np.uint64], NDArray[np.float16]]:
    hand_ids, features = zip(*parts, strict=True)
    return np.concatenate(hand_ids), np.concatenate(features)
