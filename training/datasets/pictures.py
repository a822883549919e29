"""The picture that belongs to a label, read and checked."""

from pathlib import Path

import numpy as np

from handsim.errors import HandsimError, NotThereError
from handsim.media.images import decode_image, read_file
from handsim.media.unusable import UnusableError
from training.datasets.record import HandLabel, LabelledHand


def with_picture(label: HandLabel, path: Path, remedy: str) -> LabelledHand:
    """The label with its picture from ``path``, mirrored if the hand is a left one.

    Raises HandsimError, ending in ``remedy`` (what mends a damaged download), for a picture that is missing,
    damaged or not of the label's size.
    """
    if not path.exists():
        raise NotThereError(f"the picture {path} is missing; {remedy}")
    try:
        image = decode_image(read_file(path))
    except UnusableError as error:
        raise HandsimError(f"the picture {path} cannot be read ({error}); {remedy}") from error
    height, width = image.shape[:2]
    if (width, height) != label.size_px:
        expected = "x".join(map(str, label.size_px))
        raise HandsimError(f"the picture {path} is {width}x{height} pixels and not {expected}; {remedy}")
    if label.side == "left":
        image = image.take(np.arange(width)[::-1], axis=1)  # twice as fast as copying image[:, ::-1]
    return LabelledHand(**vars(label), image=image)
