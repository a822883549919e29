"""Embeddings: from a hand to a point in a Euclidean space where near means alike.

There are three kinds with one interface, `Embedding`: `PoseEmbedding` looks at the 21 keypoints of a hand,
`ImageEmbedding` at its crop, `BlendEmbedding` at both.
"""

from handsim.embedding.blend import BlendEmbedding
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.loading import embedding_from_facts, load_embedding
from handsim.embedding.normalise import NORMALISATIONS, Normalisation, normalise
from handsim.embedding.pose import PoseEmbedding
from handsim.embedding.protocol import Embedding, Kind, PosedHands

__all__ = [
    "NORMALISATIONS",
    "BlendEmbedding",
    "Embedding",
    "ImageEmbedding",
    "Kind",
    "Normalisation",
    "PoseEmbedding",
    "PosedHands",
    "embedding_from_facts",
    "load_embedding",
    "normalise",
]
