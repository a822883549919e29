"""The 21 joints drawn over a crop."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from handsim.skeleton import BONES, JOINT_COUNT, joint_colour

_OVERSAMPLING: Final = 3  # Pillow draws without anti-aliasing; drawn larger and shrunk, lines are smooth
_BONE_WIDTH: Final = 1 / 55
_JOINT_RADIUS: Final = 1 / 60
_OUTLINE: Final = (20, 20, 20, 200)


def draw_skeleton(image: Image.Image, keypoints: NDArray[np.floating]) -> Image.Image:
    """A copy of an RGB picture with a hand drawn over it: a colour a finger, dark rims to stand out anywhere.

    ``keypoints`` [21, 2 or 3] lie in the picture's unit square. Where z is given, nearer bones are drawn
    over farther ones.
    """
    size = (image.width * _OVERSAMPLING, image.height * _OVERSAMPLING)
    overlay = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(overlay)
    points = keypoints[:, :2] * np.array(size)
    depth = keypoints[:, 2] if keypoints.shape[1] == 3 else np.zeros(JOINT_COUNT)
    scale = min(size)
    width = max(2, round(scale * _BONE_WIDTH))
    for parent, child in sorted(BONES, key=lambda bone: -float(depth[bone[0]] + depth[bone[1]])):
        line = [tuple(points[parent]), tuple(points[child])]
        draw.line(line, fill=_OUTLINE, width=width + 2 * _OVERSAMPLING)
        draw.line(line, fill=(*joint_colour(child), 255), width=width)
    radius = scale * _JOINT_RADIUS
    for joint in np.argsort(-depth, kind="stable"):
        x, y = points[joint]
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=(*joint_colour(int(joint)), 255), outline=_OUTLINE, width=_OVERSAMPLING)
    drawn = image.convert("RGBA")
    drawn.alpha_composite(overlay.resize(image.size, Image.Resampling.BOX))
    return drawn.convert("RGB")
