"""Embeddings: hands as points in a Euclidean space, where near means similar.

There are three kinds with one interface, `Embedding`: `PoseEmbedding` looks at the 21 keypoints of a hand,
`ImageEmbedding` at its crop, `BlendEmbedding` at both. What needs torch (`trunk`, `image_encoder`,
`image_fit`) is imported by its module's name.
"""

from handsim.embedding.base import (
    LEAST_LABELLED,
    Embedding,
    Kind,
    PosedHands,
    Unlabelled,
    can_embed,
    can_embed_hands,
    lacks_depth,
)
from handsim.embedding.blend import BlendEmbedding
from handsim.embedding.image import ImageEmbedding
from handsim.embedding.load import embedding_from_json, load_embedding
from handsim.embedding.pose import (
    NORMALISATIONS,
    UNLABELLED,
    Normalisation,
    PoseEmbedding,
    normalise,
    turn_upright,
    upright_turns_deg,
)

__all__ = [
    "LEAST_LABELLED",
    "NORMALISATIONS",
    "UNLABELLED",
    "BlendEmbedding",
    "Embedding",
    "ImageEmbedding",
    "Kind",
    "Normalisation",
    "PoseEmbedding",
    "PosedHands",
    "Unlabelled",
    "can_embed",
    "can_embed_hands",
    "embedding_from_json",
    "lacks_depth",
    "load_embedding",
    "normalise",
    "turn_upright",
    "upright_turns_deg",
]
