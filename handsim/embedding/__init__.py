"""Pose embeddings: from 21 keypoints to a point in a Euclidean space where near means alike."""

from handsim.embedding.normalise import NORMALISATIONS, Normalisation, normalise
from handsim.embedding.pose import PoseEmbedding

__all__ = ["NORMALISATIONS", "Normalisation", "PoseEmbedding", "normalise"]
