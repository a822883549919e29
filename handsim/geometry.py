"""Boxes, square crops and the affine maps between a picture and its crop.

Pixel coordinates are continuous: pixel i covers [i, i + 1), its centre is i + 0.5, and a picture of
width W spans [0, W]. Mirroring is therefore x -> W - x, and a unit square is x / W. A box is
[x0, y0, x1, y1] in pixels. An affine is float64 [2, 3], applied as A[:, :2] p + A[:, 2].
"""

from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from handsim.errors import HandsimError

Float = TypeVar("Float", bound=np.floating)

PIXEL_CENTRE = 0.5
"""Added to coordinates by which pixel i is centred at i, as those of the official datasets are."""
CROP_SIZE_PX = 224
CROP_ENLARGEMENT = 1.3
"""SiMHand's crop: a square around the hand's box, 1.3 times as long as the box's longer side."""
POOL_ENLARGEMENT = 2.6
"""The same of the pictures in a new pool. Views that pre-training makes reach beyond SiMHand's crop: 37 % of
their area would repeat its edge, of these pictures 0.6 %."""


MAX_ENLARGEMENT = 10.0
"""Beyond it a hand is a tenth of its picture."""


def box_around(points_px: ArrayLike) -> NDArray[np.float64]:
    """Tight box [4] around points [N, 2 or more] (only x and y are read)."""
    points = np.asarray(points_px, dtype=np.float64)[..., :2]
    if points.ndim != 2 or len(points) == 0 or not np.isfinite(points).all():
        raise HandsimError(f"a box needs finite points of shape [N, 2]; got shape {points.shape}")
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def square_around(box_px: ArrayLike, enlargement: float = CROP_ENLARGEMENT) -> NDArray[np.float64]:
    """Square box [4] with the box's centre and ``enlargement`` times its longer side.

    It may reach outside the picture: `cut_crop` pads there. Raises HandsimError for a box without extent.
    """
    box = np.asarray(box_px, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise HandsimError(
            f"box {np.round(box, 1).tolist()} is not [x0, y0, x1, y1] with x1 > x0 and y1 > y0"
        )
    centre = (box[:2] + box[2:]) / 2
    half = float((box[2:] - box[:2]).max()) * enlargement / 2
    return np.concatenate([centre - half, centre + half])


def crop_affine(
    square_px: ArrayLike, size: float = CROP_SIZE_PX, *, mirrored: bool = False
) -> NDArray[np.float64]:
    """Affine [2, 3] from picture pixels to crop coordinates spanning [0, size] (``size=1``: the unit square).

    With ``mirrored`` the crop is flipped left to right, as crops of left hands are.
    """
    x0, y0, x1, y1 = np.asarray(square_px, dtype=np.float64)
    scale_x, scale_y = size / (x1 - x0), size / (y1 - y0)
    if mirrored:
        return np.array([[-scale_x, 0.0, x1 * scale_x], [0.0, scale_y, -y0 * scale_y]])
    return np.array([[scale_x, 0.0, -x0 * scale_x], [0.0, scale_y, -y0 * scale_y]])


def invert_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """The affine [2, 3] that undoes ``affine`` [2, 3]; raises HandsimError when it cannot be undone."""
    matrix = np.asarray(affine, dtype=np.float64)
    if abs(np.linalg.det(matrix[:, :2])) < 1e-12:
        raise HandsimError("the affine flattens the plane and cannot be inverted")
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def apply_affine(affine: ArrayLike, points: NDArray[Float]) -> NDArray[Float]:
    """Map x and y of points [..., 2 or more]; further columns pass unchanged. Same shape and dtype."""
    matrix = np.asarray(affine, dtype=np.float64)
    mapped = points.copy()
    mapped[..., :2] = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def mirror_points(points: NDArray[Float], width: float) -> NDArray[Float]:
    """Points [..., 2 or more] of a picture ``width`` wide (1 for a unit square), flipped left to right."""
    mirrored = points.copy()
    mirrored[..., 0] = width - points[..., 0]
    return mirrored


def rescale_keypoints(keypoints: NDArray[Float], enlargement: float, new: float) -> NDArray[Float]:
    """Keypoints [..., 2 or 3] in the unit square of a hand's crop of one ``enlargement``, in that of another.

    The two squares have one centre; z is in sides of the crop.
    """
    if enlargement == new:
        return keypoints
    factor = enlargement / new
    rescaled = keypoints * np.asarray(factor, keypoints.dtype)
    rescaled[..., :2] += np.asarray((1 - factor) / 2, keypoints.dtype)
    return rescaled


def central_square(size_px: float, enlargement: float) -> NDArray[np.float64]:
    """SiMHand's crop [4] in a crop of ``size_px`` and another ``enlargement``."""
    low = (1 - CROP_ENLARGEMENT / enlargement) / 2 * size_px
    return np.array([low, low, size_px - low, size_px - low])


def turn_points(points: NDArray[np.floating], angles_deg: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points [N, J, 2 or more] turned in x and y by ``angles_deg`` [N], each set about its mean.

    Positive angles are counter-clockwise as displayed, as in OpenCV's getRotationMatrix2D.
    """
    angles = np.radians(angles_deg)[:, None]
    cosine, sine = np.cos(angles), np.sin(angles)
    turned = points.astype(np.float64)
    centre = turned[..., :2].mean(axis=1, keepdims=True)
    x, y = np.moveaxis(turned[..., :2] - centre, -1, 0)
    turned[..., :2] = centre + np.stack([cosine * x + sine * y, cosine * y - sine * x], axis=-1)
    return turned


def cut_crop(
    image: NDArray[np.uint8], square_px: ArrayLike, size_px: int = CROP_SIZE_PX
) -> NDArray[np.uint8]:
    """Cut a square out of a picture [H, W, 3] and resample it (anti-aliased) to [size_px, size_px, 3].

    What lies outside the picture repeats its edge pixels: crops at the border are padded, never stretched.
    """
    square = np.asarray(square_px, dtype=np.float64)
    height, width = image.shape[:2]
    low = np.floor(square[:2]).astype(int)
    high = np.ceil(square[2:]).astype(int)
    if (low >= 0).all() and (high <= (width, height)).all():
        patch = image[low[1] : high[1], low[0] : high[0]]
    else:
        # Taking with clipped indices pads and cuts in one step, and touches only the crop's own pixels. One
        # axis after the other, because both at once take numpy five times as long.
        rows = np.clip(np.arange(low[1], high[1]), 0, height - 1)
        columns = np.clip(np.arange(low[0], high[0]), 0, width - 1)
        patch = image.take(rows, axis=0).take(columns, axis=1)
    inner = (*(square[:2] - low), *(square[2:] - low))
    resized = Image.fromarray(patch).resize((size_px, size_px), Image.Resampling.BILINEAR, box=inner)
    return np.asarray(resized)
