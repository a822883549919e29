"""What a hand detector returns, and how a detection becomes a hand in its own square crop.

A `Detection` lies in the picture as it is: in pixels, nothing mirrored, the side the subject's own. A
`DetectedHand` lies in the unit square of its crop, and as a right hand: crop and keypoints of a left one are
mirrored.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from handsim.hand import Side, check_hand, check_joint_scores, labelled_joints
from handsim.skeleton import JOINT_COUNT

FIRST_TRY: Final = "first try"

_VISIBILITIES: Final = (0, 1, 2)
"""COCO's: not labelled, labelled but hidden, labelled and visible."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand found in a picture, in that picture's pixels; nothing is mirrored yet.

    A detector finds every joint; of hands that people labelled, those without a label are NaN. Raises
    HandsimError for keypoints or joint scores that `handsim.hand.check_hand` refuses or an unknown side.
    """

    side: Side
    """The subject's own hand, for an unmirrored photograph; ``unknown`` where the detector does not tell."""
    score: float
    """The detector's confidence, 0 to 1; only comparable between detections of the same detector."""
    keypoints_px: NDArray[np.float32]
    """[21, 3] x right, y down, z depth relative to the wrist (smaller is nearer), all three in pixels of the
    picture, in continuous coordinates (see `handsim.geometry`); joints may lie outside the picture. z is 0 at
    every joint where the detector gives none."""
    stage: str = FIRST_TRY
    """Which try found it: the first, or the name of another view of the picture."""
    side_score: float | None = None
    """How sure the detector is of the side, 0.5 to 1; None where it does not say."""
    joint_scores: NDArray[np.float32] | None = None
    """[21] how sure it is of each joint, 0 to 1; None where it does not say."""
    detector: str = ""
    """The name of the detector that found it, as people name it (see `handsim.detection.options`)."""
    mirrored: bool = False
    """Whether the picture shows its subject mirrored, as selfie cameras do; ``side`` is the true one."""

    def __post_init__(self) -> None:
        check_hand(self.side, self.keypoints_px)
        if self.joint_scores is not None:
            check_joint_scores(self.joint_scores)

    @property
    def box_px(self) -> NDArray[np.float32]:
        """[4] x0, y0, x1, y1: tight around the labelled joints."""
        return box_around(self.keypoints_px[labelled_joints(self.keypoints_px)]).astype(np.float32)

    @property
    def looks_left(self) -> bool:
        """Whether it looks like a left hand in this picture, so that its crop is to be flipped.

        In a mirrored picture a right hand does. One of unknown side is flipped there too: so it is stored as
        an unmirrored camera would have seen it.
        """
        return (self.side == "left") != self.mirrored


class UndetectedError(HandsimError):
    """A detector could not look at some pictures of a batch. What it found in all of them is not lost."""

    def __init__(self, found: list[list[Detection]], failures: dict[int, str]) -> None:
        """``found`` has the hands of each picture of the batch, as far as they were found all the same;
        ``failures`` says of those that failed, by their place in the batch, what went wrong."""
        super().__init__(next(iter(failures.values())))
        self.found = found
        self.failures = failures


class HandDetector(Protocol):
    """Finds any number of hands in each picture of a batch."""

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """For each picture [H, W, 3] (RGB; sizes may differ) its hands, best first; [] for none.

        Raises UndetectedError, with the hands of the others, where some pictures could not be looked at.
        """

    def close(self) -> None:
        """Release what the detector holds (threads, native memory); calling it twice is harmless."""


def hand_in_crop(detection: Detection) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The square [4] (float64, picture pixels) to cut and the keypoints [21, 3] (float32) in its unit square.

    The square is SiMHand's (`square_around` the tight box) and is always given unmirrored: cut it with
    `handsim.geometry.cut_crop`, then flip the crop left to right if the hand `looks_left`, as the keypoints
    here already are. z is in crop widths. Raises HandsimError for a hand without extent.
    """
    square_px = square_around(detection.box_px)
    to_crop = crop_affine(square_px, size=1.0, mirrored=detection.looks_left)
    keypoints = apply_affine(to_crop, detection.keypoints_px.astype(np.float64))
    keypoints[:, 2] /= square_px[2] - square_px[0]
    return square_px, keypoints.astype(np.float32)


@dataclass(frozen=True, eq=False)
class DetectedHand:
    """One hand of a picture, in its own crop."""

    crop: NDArray[np.uint8]
    """RGB [S, S, 3], as a right hand."""
    keypoints: NDArray[np.float32]
    """[21, 3] in the crop's unit square, as a right hand."""
    side: Side
    seen_as: Side
    """Left or right: crop and keypoints are those of a hand of that side. It is `side` where known."""
    score: float
    """The detector's confidence, 0 to 1."""
    box_px: NDArray[np.float32]
    """[4] x0, y0, x1, y1: tight around the keypoints, in the picture as it is."""

    def describe_side(self) -> str:
        """The side, for people."""
        return self.side if self.side == self.seen_as else f"unknown side, seen as a {self.seen_as} hand"


def detect_hands(image: NDArray[np.uint8], detector: HandDetector) -> list[DetectedHand]:
    """The hands of a picture [H, W, 3] (RGB), best first; an empty list when there is none.

    A hand of unknown side is there twice: as a right hand, then as a left one.
    """
    hands = []
    for detection in detector.detect([image])[0]:
        side = detection.side
        sides: tuple[Side, ...] = ("right", "left") if side == "unknown" else (side,)
        for seen_as in sides:
            seen = replace(detection, side=seen_as)
            square_px, keypoints = hand_in_crop(seen)
            crop = cut_crop(image, square_px)
            if seen.looks_left:
                crop = np.ascontiguousarray(crop[:, ::-1])
            hands.append(DetectedHand(crop, keypoints, side, seen_as, detection.score, detection.box_px))
    return hands


def read_keypoints(path: Path, side: Side = "right") -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] in the unit square of a hand's crop, as right hands, from a JSON or .npy file.

    The file holds [21, 2 or 3] or [N, 21, 2 or 3] in our joint order, x right and y down in any unit
    (pixels, or fractions of a picture as high as it is wide): the crop is laid around the hand anew.
    ``side`` says whose hands they are; left ones are mirrored.

    Third numbers are depths (z), unless those of the whole file are 0, 1 and 2, and not all 0: then they are
    COCO's visibility, and 0 marks an unlabelled joint. So does ``null`` or NaN in place of its numbers. Such
    a joint is NaN, and the crop is laid around the others. Raises NotThereError, or HandsimError for another
    shape, and for a hand without extent or without any labelled joint.
    """
    if not path.exists():
        raise NotThereError(f"{path} does not exist; --keypoints takes a JSON or .npy file")
    try:
        is_array = path.suffix == ".npy"
        loaded = np.load(path, allow_pickle=False) if is_array else json.loads(path.read_text("utf-8"))
        keypoints = np.array(_without_null(loaded), dtype=np.float32)
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read as keypoints ({error}); give JSON or .npy") from error
    hands = keypoints[None] if keypoints.ndim == 2 else keypoints
    if hands.ndim != 3 or hands.shape[1] != JOINT_COUNT or hands.shape[2] not in (2, 3):
        shape = list(keypoints.shape)
        raise HandsimError(
            f"{path} holds an array {shape}; expected [{JOINT_COUNT}, 2 or 3] or [N, {JOINT_COUNT}, 2 or 3]"
        )
    in_crops = []
    for number, hand in enumerate(_with_depth(hands), start=1):
        try:
            in_crops.append(hand_in_crop(Detection(side, 1.0, hand))[1])
        except HandsimError as error:
            raise HandsimError(f"hand {number} of {path}: {error}") from error
    return np.stack(in_crops)


def _without_null(nested: Any) -> Any:
    """JSON's lists of joints, in which a joint that is ``null`` is as long as the others."""
    if not isinstance(nested, list):
        return nested
    joint = next((entry for entry in nested if isinstance(entry, list)), None)
    if joint is None:
        return nested
    return [[None] * len(joint) if entry is None else _without_null(entry) for entry in nested]


def _with_depth(hands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hands [N, 21, 2 or 3] as [N, 21, 3], in which unlabelled joints are NaN; see `read_keypoints`."""
    third = hands[..., 2:]
    is_unlabelled = np.isnan(hands[..., :2]).all(axis=2)
    has_flags = third.any() and bool((np.isin(third, _VISIBILITIES) | np.isnan(third)).all())
    if has_flags:
        is_unlabelled |= third[..., 0] == 0
    depth = np.zeros_like(hands[..., :1]) if has_flags or not third.size else third
    placed = np.concatenate([hands[..., :2], depth], axis=2)
    placed[is_unlabelled] = np.nan
    return placed
