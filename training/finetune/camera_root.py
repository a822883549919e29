"""Where in the camera's frame a hand is that is known but for its place."""

import numpy as np
from numpy.typing import NDArray


def camera_root_mm(
    joints_mm: NDArray[np.floating],
    keypoints_px: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The translation [N, 3] under which joints [N, 21, 3] are seen at ``keypoints_px`` [N, 21, 2].

    Joints are in the camera's axes (x right, y down, z into the picture) and in mm, relative to any point;
    ``intrinsics`` [N, 3, 3] are K of the pictures; ``weights`` [N, 21], not all 0, say how sure each keypoint
    is. With (u, v, 1) = K^-1 (x, y, 1) each joint gives two equations that are linear in the translation t,
    t_x - u t_z = u Z - X and t_y - v t_z = v Z - Y, which are solved by weighted least squares.

    Keypoints that fit no hand before the camera can have a solution behind it. Where a joint would come to
    lie there, the distance is that of weak perspective instead: spread of the joints over that of the
    keypoints, and the middles of both lie on one ray.
    """
    joints = joints_mm.astype(np.float64)
    homogeneous = np.concatenate([keypoints_px, np.ones_like(keypoints_px[..., :1])], -1, dtype=np.float64)
    rays = homogeneous @ np.linalg.inv(intrinsics.astype(np.float64)).swapaxes(-1, -2)
    seen = rays[..., :2] / rays[..., 2:]
    shares = weights.astype(np.float64)[..., None]
    shares = shares / shares.sum(axis=1, keepdims=True)

    # The normal equations of t_x, t_y and t_z; u and v stand for `seen`, the right sides for `wanted`.
    wanted = seen * joints[..., 2:] - joints[..., :2]
    mean_seen, mean_wanted = (shares * seen).sum(axis=1), (shares * wanted).sum(axis=1)
    spread = (shares * (seen - mean_seen[:, None]) ** 2).sum(axis=(1, 2))
    along = (shares * (seen - mean_seen[:, None]) * (wanted - mean_wanted[:, None])).sum(axis=(1, 2))
    depth = np.divide(-along, spread, out=np.zeros_like(along), where=spread > 0)
    behind = (joints[..., 2] + depth[:, None]).min(axis=1) <= 0

    middle = (shares * joints).sum(axis=1)
    extent = (shares * (joints - middle[:, None])[..., :2] ** 2).sum(axis=(1, 2))
    weak = np.sqrt(np.divide(extent, spread, out=np.ones_like(extent), where=spread > 0)) - middle[:, 2]
    depth = np.where(behind, weak, depth)
    across = np.where(
        behind[:, None],
        mean_seen * (depth + middle[:, 2])[:, None] - middle[:, :2],
        mean_wanted + mean_seen * depth[:, None],
    )
    return np.concatenate([across, depth[:, None]], axis=1)
