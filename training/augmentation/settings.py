"""Which augmentation makes a view of a hand's crop, and how strong it is; the defaults are PeCLR's."""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from handsim.errors import HandsimError

_LEAST_SIZE_PX: Final = 8

Range = tuple[float, float]
Extent = Literal["radius", "box"]


@dataclass(frozen=True)
class AugmentationSettings:
    """PeCLR's augmentation; every step can be switched off.

    A range (low, high) is drawn from uniformly, for each view anew. Raises HandsimError for a range with
    high below low or out of its bounds, for a probability outside 0..1 and for a view of fewer than 8 pixels.
    """

    size_px: int = 128
    """Side of the view."""
    rotation_deg: float = 45.0
    """The view is turned by up to this angle, either way; 0: never."""
    margin: Range | None = (0.9, 1.5)
    """The view is a square around the mean of the (rotated) keypoints, this many times as long as the hand's
    ``extent``. ``null``: the whole crop, whatever the keypoints."""
    extent: Extent = "radius"
    """How large a hand is. ``radius``: twice the distance from the mean of its keypoints to the farthest one,
    as in PeCLR's and SiMHand's code; ``box``: the longer side of the box of its rotated keypoints, as in
    DetNet's crops. A radius is 1.35 times as long on average."""
    jitter_px: Range = (0.0, 15.0)
    """How far the hand is then moved to the right, and how far down (below 0: left and up), in pixels. The
    paper's goes one way, (-15, 15) both ways; (0, 0): never. With ``radius`` they are pixels of SiMHand's
    crop, which is 224 wide and 1.3 times as long as the hand's box, however much the pool's crops show; with
    ``box`` and without margin, those of the crop as if it were 224 wide."""
    hue: Range = (0.01, 1.0)
    """What the hue (a circle counted from red to red, as OpenCV does) is multiplied by. (1, 1): unchanged."""
    saturation: Range = (0.01, 1.0)
    """What the saturation (HSV) is multiplied by, clipped to full saturation. (1, 1): unchanged."""
    value: Range = (0.5, 1.0)
    """What the value (HSV: the largest of red, green and blue) is multiplied by. (1, 1): unchanged."""
    brightness: Range = (5.0, 20.0)
    """What is then added to the value, where white is 255; below 0 it darkens. (0, 0): nothing."""
    grey_probability: float = 0.0
    """How often a view is turned to grey. PeCLR: never."""
    blur_probability: float = 0.0
    """How often a view is blurred by a Gaussian. PeCLR: never; SimCLR: 0.5."""
    blur_sigma_px: Range = (0.1, 2.0)
    """Standard deviation of the blur in pixels of the view; SimCLR's."""
    cut_out_probability: float = 0.0
    """How often a square of a view is painted over (DeVries and Taylor, arXiv 1708.04552). PeCLR: never."""
    cut_out_side: Range = (0.1, 0.4)
    """Side of the square, in sides of the view; its centre lies anywhere in the view."""

    def __post_init__(self) -> None:
        if self.size_px < _LEAST_SIZE_PX:
            raise HandsimError(
                f"size_px is {self.size_px}; a view needs at least {_LEAST_SIZE_PX} pixels a side"
            )
        if not 0 <= self.rotation_deg <= 180:
            raise HandsimError(f"rotation_deg is {self.rotation_deg}; it goes from 0 (no rotation) to 180")
        if self.extent not in get_args(Extent):
            raise HandsimError(f"extent is {self.extent!r}; it is one of {', '.join(get_args(Extent))}")
        if self.margin is not None:
            _check_range("margin", self.margin, 0.1, 10)
        _check_range("jitter_px", self.jitter_px, -224, 224)
        _check_range("hue", self.hue, 0, 1)
        _check_range("saturation", self.saturation, 0, 10)
        _check_range("value", self.value, 0, 10)
        _check_range("brightness", self.brightness, -255, 255)
        _check_range("blur_sigma_px", self.blur_sigma_px, 0.05, self.size_px / 4)
        _check_range("cut_out_side", self.cut_out_side, 0, 1)
        for name in ("grey_probability", "blur_probability", "cut_out_probability"):
            probability = getattr(self, name)
            if not 0 <= probability <= 1:
                raise HandsimError(f"{name} is {probability}; a probability lies between 0 and 1")

    @property
    def changes_colour(self) -> bool:
        """Whether hue, saturation or value can change at all."""
        factors = (self.hue, self.saturation, self.value)
        return factors != ((1, 1),) * 3 or self.brightness != (0, 0)


def _check_range(name: str, bounds: Range, least: float, most: float) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and least <= low <= high <= most):
        raise HandsimError(
            f"{name} is ({low}, {high}); it goes from a number to one not below it, "
            f"both within {least} to {most:g}"
        )
