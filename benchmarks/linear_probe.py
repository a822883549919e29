"""What frozen features know of a hand's pose: ridge regression to its joints, on people they never met.

In 2D, in percent of the crop's width, and where the pool knows the joints in 3D, in mm there: pairs are mined
by what is seen in 2D, so that alone would ask features for what mining gave away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn import functional

from handsim.metrics.alignment import PoseComparison, align_procrustes, compare_poses
from handsim.metrics.pairs import has_measures
from handsim.metrics.pose import joint_errors_mm
from handsim.pool import Pool
from handsim.skeleton import WRIST
from training.models.encoder import Encoder

Floats = NDArray[np.float64]

ALPHAS: Final = tuple(10.0**power for power in range(-1, 7))
NEIGHBOURS: Final = 5
VALIDATION_SHARE: Final = 0.2
_PICTURES_AT_ONCE: Final = 128


@dataclass(frozen=True, eq=False)
class Hands:
    """N hands to probe with."""

    images: Tensor
    """uint8 [N, 3, V, V] whole crops, resized to the side of a view."""
    poses: Floats
    """[N, 40] joints but the wrist, less the wrist, x and y in crop widths."""
    videos: NDArray[np.str_]
    """[N] whose hand it is: every video shows another person."""
    joints_mm: Floats | None = None
    """[N, 63] joints in 3D, less the wrist; None where the pool does not know them of every hand."""

    @classmethod
    def of(cls, pool: Pool, size_px: int) -> "Hands":
        """All of a pool."""
        crops = torch.from_numpy(np.stack([pool.crop(hand_id) for hand_id in pool.hand_ids.tolist()]))
        pictures = crops.permute(0, 3, 1, 2)
        resized = [
            functional.interpolate(
                part.float(), (size_px, size_px), mode="bilinear", antialias=True, align_corners=False
            )
            .round()
            .clamp(0, 255)
            .to(torch.uint8)
            for part in torch.split(pictures, _PICTURES_AT_ONCE)
        ]
        videos = np.array([str(video) for video in pool.videos.values()])
        joints = pool.read_joints_mm().astype(np.float64)
        relative = (joints - joints[:, WRIST : WRIST + 1]).reshape(len(joints), -1)
        known = relative if has_measures(joints).all() else None
        return cls(torch.cat(resized), root_relative(pool.keypoints), videos, known)

    def __len__(self) -> int:
        return len(self.images)


def root_relative(keypoints: NDArray[np.float32]) -> Floats:
    """Poses [N, 40] of keypoints [N, 21, 2 or 3] in crop widths."""
    places = keypoints[:, :, :2].astype(np.float64)
    relative = np.delete(places - places[:, WRIST : WRIST + 1], WRIST, axis=1)
    return relative.reshape(len(places), -1)


def joint_error(poses: Floats, truth: Floats) -> float:
    """Mean distance of joints, in percent of the crop's width, of poses [N, 40]."""
    apart = (poses - truth).reshape(len(truth), -1, 2)
    return float(np.linalg.norm(apart, axis=-1).mean()) * 100


def probe(encoder: Encoder, train: Hands, test: Hands) -> dict[str, Any]:
    """How far joints of ``test`` are off, told from an encoder's features.

    In percent of the crop's width: ``error`` by ridge regression, ``neighbours_error`` by the mean of the
    nearest hands. In 3D, in mm: ``error_mm`` by ridge regression, ``nearest_mm`` (wrist on wrist) and
    ``nearest_pa_mm`` (Procrustes aligned) of the one hand whose features are nearest.

    Twice: with batch norm as training left it, and with its statistics taken anew from the whole crops of
    ``train``. Training saw views of other colours, and a network that was never trained has no statistics.
    """
    figures = _figures(encoder, train, test)
    _recalibrate(encoder, train.images)
    again = _figures(encoder, train, test)
    return figures | {f"{name}_recalibrated": figure for name, figure in again.items()}


def mean_pose_error(train: Hands, test: Hands) -> float:
    """The error of who knows nothing but the mean pose."""
    return joint_error(np.broadcast_to(train.poses.mean(axis=0), test.poses.shape), test.poses)


def ridge_error(
    features: Floats, train: Hands, test_features: Floats, test_poses: Floats
) -> tuple[float, float]:
    """Error in percent of the crop's width, and alpha, which some of the training people chose."""
    ridge, alpha = _fit_ridge(features, train.poses, train.videos, joint_error)
    return joint_error(ridge.predict(test_features), test_poses), alpha


def _fit_ridge(
    features: Floats, targets: Floats, videos: NDArray[np.str_], error: Callable[[Floats, Floats], float]
) -> tuple[Ridge, float]:
    """The regression to targets [N, T], and its alpha, which some of the people choose."""
    people = np.unique(videos)
    validating = np.random.default_rng(0).permutation(people)[: max(1, int(len(people) * VALIDATION_SHARE))]
    held = np.isin(videos, validating)
    errors = {}
    for alpha in ALPHAS:
        ridge = Ridge(alpha=alpha).fit(features[~held], targets[~held])
        errors[alpha] = error(ridge.predict(features[held]), targets[held])
    alpha = min(errors, key=errors.__getitem__)
    return Ridge(alpha=alpha).fit(features, targets), alpha


def errors_3d(
    features: Floats, joints_mm: Floats, videos: NDArray[np.str_], test_features: Floats, test_mm: Floats
) -> dict[str, float]:
    """Errors in mm of joints [N, 63] in 3D, less the wrist; see `probe`."""
    ridge, _ = _fit_ridge(features, joints_mm, videos, mean_error_mm)
    nearest = joints_mm[(_unit(test_features) @ _unit(features).T).argmax(axis=1)]
    fitted = align_procrustes(_compare(nearest, test_mm), proper=True)
    return {
        "error_mm": mean_error_mm(ridge.predict(test_features), test_mm),
        "nearest_mm": mean_error_mm(nearest, test_mm),
        "nearest_pa_mm": float(joint_errors_mm(fitted).mean()),
    }


def mean_error_mm(joints_mm: Floats, truth_mm: Floats) -> float:
    """Mean distance of joints [N, 63], wrists on each other."""
    return float(joint_errors_mm(_compare(joints_mm, truth_mm)).mean())


def _compare(joints_mm: Floats, truth_mm: Floats) -> PoseComparison:
    shape = len(truth_mm), -1, 3
    joints, truth = joints_mm.reshape(shape), truth_mm.reshape(shape)
    return compare_poses(joints, truth, np.ones(truth.shape[:2], dtype=np.bool_))


def neighbours_error(features: Floats, poses: Floats, test_features: Floats, test_poses: Floats) -> float:
    """Error of the mean pose of the hands whose features point most alike (cosine)."""
    near = np.argsort(-_unit(test_features) @ _unit(features).T, axis=1)[:, :NEIGHBOURS]
    return joint_error(poses[near].mean(axis=1), test_poses)


def _figures(encoder: Encoder, train: Hands, test: Hands) -> dict[str, Any]:
    features, others = _features(encoder, train.images), _features(encoder, test.images)
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    features, others = (features - mean) / spread, (others - mean) / spread
    error, alpha = ridge_error(features, train, others, test.poses)
    nearest = neighbours_error(features, train.poses, others, test.poses)
    figures = {"error": round(error, 3), "alpha": alpha, "neighbours_error": round(nearest, 3)}
    if train.joints_mm is None or test.joints_mm is None:
        return figures
    in_3d = errors_3d(features, train.joints_mm, train.videos, others, test.joints_mm)
    return figures | {name: round(error_mm, 3) for name, error_mm in in_3d.items()}


@torch.no_grad()
def _features(encoder: Encoder, images: Tensor) -> Floats:
    encoder.eval()
    parts = [encoder(part.float() / 255) for part in torch.split(images, _PICTURES_AT_ONCE)]
    return torch.cat(parts).double().numpy()


@torch.no_grad()
def _recalibrate(encoder: Encoder, images: Tensor) -> None:
    """Means and variances of batch norm over all pictures, each batch counting the same."""
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    encoder.train()
    shuffled = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    for part in torch.split(shuffled, _PICTURES_AT_ONCE):
        encoder(part.float() / 255)
    encoder.eval()


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
