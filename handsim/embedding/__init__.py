"""Embeddings: from a hand to a point in a Euclidean space where near means alike.

There are three kinds with one interface, `Embedding`: `PoseEmbedding` looks at the 21 keypoints of a hand,
`ImageEmbedding` at its crop, `BlendEmbedding` at both.
"""

from handsim.embedding.base import Embedding, Kind, PosedHands
from handsim.embedding.blend import BlendEmbedding
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.load import embedding_from_facts, load_embedding
from handsim.embedding.pose import NORMALISATIONS, Normalisation, PoseEmbedding, normalise

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
