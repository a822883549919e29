"""What cameras film of hands, for the layouts of other datasets."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from handsim.hand import Side
from handsim.synthetic import SyntheticConfig, synthesise_labelled

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Footage:
    """F frames of one hand by one camera, as it saw them: never mirrored."""

    images: NDArray[np.uint8]
    """[F, H, W, 3] RGB."""
    joints_mm: NDArray[np.float64]
    """[F, 21, 3] in the camera frame."""
    intrinsics: NDArray[np.float64]
    """[3, 3] K of all frames."""


def film_hands(
    config: SyntheticConfig, videos: Iterable[int], side: Side, focal_px: float
) -> Iterator[Footage]:
    """Film videos of a world, by number, all with hands of one side and a camera of one focal length."""
    world = replace(
        config,
        motion=replace(config.motion, left_share=float(side == "left")),
        view=replace(config.view, focal_px=(focal_px, focal_px)),
    )
    for _, pictures in groupby(synthesise_labelled(world, videos=videos), key=lambda picture: picture.video):
        frames = list(pictures)
        yield Footage(
            images=np.stack([frame.image for frame in frames]),
            joints_mm=np.stack([frame.joints_3d_mm for frame in frames]).astype(np.float64),
            intrinsics=frames[0].intrinsics,
        )


def focal_of_camera(config: SyntheticConfig, camera: int, cameras: int) -> float:
    """The focal length of one of several cameras, in pixels; they share the world's range evenly."""
    low, high = config.view.focal_px
    return low + (high - low) * camera / (cameras - 1)
