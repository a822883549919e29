"""Do joints, cameras and pictures belong together?"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.synthetic.camera import project
from training.datasets.check.finding import Finding
from training.datasets.record import HandLabel

Floats = NDArray[np.floating]

MEDIAN_PX: Final = 2.0
"""How far projections may lie from the annotated 2D joints in the median."""
FAR_PX: Final = 10.0
FAR_SHARE: Final = 0.05
"""Share of the joints that may be farther off than `FAR_PX`: some are annotated badly."""
OUTSIDE_SHARE: Final = 0.5
"""Share of the joints that may lie outside of their pictures."""
NEAREST_MM: Final = 50.0
FARTHEST_MM: Final = 5000.0
DEPTH_SHARE: Final = 0.02
"""Share of the joints that may be nearer or farther than that."""


def check_projection(labels: Sequence[HandLabel], annotated_px: Floats | None) -> Finding:
    """Whether 3D joints, projected by K, fall on the 2D joints [N, 21, 2] that the files hold.

    None: the files hold none, and there is nothing to compare with.
    """
    name = "projection"
    if annotated_px is None:
        return Finding(name, "skipped", "the files hold no 2D joints; the reader projects the 3D ones")
    projected = np.stack(
        [project(label.joints_3d_mm.astype(np.float64), label.intrinsics) for label in labels]
    )
    errors = np.linalg.norm(projected - annotated_px, axis=-1)
    errors = errors[np.isfinite(errors)]
    if not len(errors):
        return Finding(name, "skipped", "no joint is annotated in 3D and in 2D")
    median, most, far = float(np.median(errors)), float(errors.max()), float((errors > FAR_PX).mean())
    numbers = {"median_px": median, "max_px": most, "farther_than_10_px_share": far}
    detail = f"3D joints fall {median:.3g} px from the 2D ones in the median, {most:.3g} px at most"
    if median > MEDIAN_PX or far > FAR_SHARE:
        detail += "; joints or cameras are of other pictures, or in another frame"
        return Finding(name, "failed", detail, numbers)
    return Finding(name, "passed", detail, numbers)


def check_depth(labels: Sequence[HandLabel]) -> Finding:
    """Whether hands are before the camera, at a distance at which hands are filmed."""
    depth = np.concatenate([label.joints_3d_mm[label.valid, 2] for label in labels])
    median, wrong = float(np.median(depth)), float(((depth < NEAREST_MM) | (depth > FARTHEST_MM)).mean())
    numbers = {"median_depth_mm": median, "implausible_share": wrong}
    detail = f"hands are {median:.0f} mm from the camera in the median"
    if wrong > DEPTH_SHARE:
        bounds = f"{NEAREST_MM:.0f} to {FARTHEST_MM:.0f} mm"
        detail += f", and {wrong:.0%} of the joints not within {bounds}: they are not in the camera frame"
        return Finding("distance", "failed", detail, numbers)
    return Finding("distance", "passed", detail, numbers)


def check_inside(labels: Sequence[HandLabel]) -> Finding:
    """Whether the 2D joints lie in their pictures, but for some at the edge."""
    points = np.concatenate([label.keypoints_2d_px[label.valid] / label.size_px for label in labels])
    share = float(((points < 0) | (points > 1)).any(axis=1).mean())
    numbers = {"outside_share": share}
    detail = f"{share:.1%} of the joints lie outside of their pictures"
    if share > OUTSIDE_SHARE:
        return Finding(
            "in the picture", "failed", f"{detail}: pictures or cameras are of another size", numbers
        )
    return Finding("in the picture", "passed", detail, numbers)
