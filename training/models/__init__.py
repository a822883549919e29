"""The networks that are trained: an encoder with its projection head, and estimators of hand poses."""

from training.models.encoder import Encoder, EncoderSettings, ProjectionHead, build_encoder
from training.models.estimator import EstimatorSettings, PoseEstimator, build_estimator
from training.models.head import HandTargets, PoseEstimate

__all__ = [
    "Encoder",
    "EncoderSettings",
    "EstimatorSettings",
    "HandTargets",
    "PoseEstimate",
    "PoseEstimator",
    "ProjectionHead",
    "build_encoder",
    "build_estimator",
]
