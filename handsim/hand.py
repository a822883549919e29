"""One hand in one picture, and its identity."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, rescale_keypoints
from handsim.hashing import hash64
from handsim.skeleton import JOINT_COUNT

Side = Literal["left", "right", "unknown"]
"""The subject's own hand. One of unknown side is kept as it was seen: nobody mirrors it."""
SIDES: Final[tuple[Side, Side]] = ("left", "right")
"""The sides that a hand can have."""

MAX_HAND_ID = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Hand:
    """One hand in one picture, always as a right hand (a left one is mirrored once, on the way in).

    Raises HandsimError for keypoints that are not [21, 3], not finite where a joint is labelled, or without
    any labelled joint, for joint scores that are not [21] in 0..1, for no side, for an id out of range, and
    for a truth of other shapes.
    """

    hand_id: int
    """63 bits, stable: see `make_hand_id`."""
    source: str
    """The collection it comes from: ``ego4d``, ``100doh``, ``photos``."""
    video: str
    """The recording or person it must not be paired within."""
    frame: int
    """Index of the frame in its video; for single pictures the number in the file's name, else 0."""
    side: Side
    """The subject's own hand, before any mirroring; one of unknown side is not mirrored."""
    score: float
    """The detector's confidence, 0 to 1."""
    box_px: NDArray[np.float32]
    """[4] x0, y0, x1, y1: tight around the hand, in pixels of the original (unmirrored) picture."""
    keypoints: NDArray[np.float32]
    """[21, 3] in the crop's unit square: x right, y down, z relative depth in crop widths (0 at the wrist,
    smaller is nearer); as seen for a right hand, like the crop. An unlabelled joint is NaN in all three."""
    label: str | None = None
    """A class a person gave it (a sign, a grasp), only ever used to evaluate."""
    file: str = ""
    """Where it came from, for people: the picture's or video's path below the folder that was ingested."""
    external_id: str | None = None
    """The id another collection gave it (Hand100M's ``hand_id``)."""
    external_positives: tuple[str, ...] = ()
    """The positives another collection mined for it, nearest first, as its external ids."""
    joint_scores: NDArray[np.float32] | None = None
    """[21] how sure its source is of each joint, 0 to 1; NaN where it does not say. None: of none at all."""
    track: int | None = None
    """The same hand over the frames of its video: the id of the first one found. None: of no video, or nobody
    linked its frames."""
    crop_enlargement: float = CROP_ENLARGEMENT
    """How many times as long as the hand's box the picture is that comes with it: the crop, and in most pools
    what is around it."""
    joints_mm: NDArray[np.float32] | None = None
    """[21, 3] its true joints in the camera frame (x right, y down, z into the picture), as a right hand; NaN
    where a joint is not annotated. None: nobody knows them. Only ever used to evaluate."""
    visible: NDArray[np.bool_] | None = None
    """[21] which joints nothing hides from the camera; None: nobody knows. Only ever used to evaluate."""

    def __post_init__(self) -> None:
        if not 0 <= self.hand_id <= MAX_HAND_ID:
            raise HandsimError(f"hand_id {self.hand_id} is outside 0..2^63-1")
        check_hand(self.side, self.keypoints)
        if self.joint_scores is not None:
            check_joint_scores(self.joint_scores)
        for name, shape in (("joints_mm", (JOINT_COUNT, 3)), ("visible", (JOINT_COUNT,))):
            truth = getattr(self, name)
            if truth is not None and truth.shape != shape:
                raise HandsimError(f"{name} has shape {list(truth.shape)}; expected {list(shape)}")

    @property
    def joint_mask(self) -> NDArray[np.bool_]:
        """[21] which joints are labelled; the others have no place."""
        return labelled_joints(self.keypoints)

    @property
    def picture_keypoints(self) -> NDArray[np.float32]:
        """``keypoints`` in the unit square of the picture that comes with the hand."""
        return rescale_keypoints(self.keypoints, CROP_ENLARGEMENT, self.crop_enlargement)


def labelled_joints(keypoints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which joints [..., 21] of keypoints [..., 21, 2 or 3] are labelled: those with a place."""
    return np.asarray(~(np.isnan(keypoints[..., 0]) & np.isnan(keypoints[..., 1])))


def check_hand(side: Side, keypoints: NDArray[np.floating]) -> None:
    """Raise HandsimError unless the side is a `Side` and the keypoints are finite [21, 3].

    An unlabelled joint is NaN in x, y and z; one joint at least is labelled.
    """
    if side not in get_args(Side):
        raise HandsimError(f"side {side!r} is neither 'left' nor 'right' nor 'unknown'")
    if keypoints.shape != (JOINT_COUNT, 3):
        raise HandsimError(
            f"keypoints have shape {list(keypoints.shape)}; expected [{JOINT_COUNT}, 3] (x, y, z)"
        )
    unlabelled = np.isnan(keypoints).all(axis=1)
    if unlabelled.all():
        raise HandsimError(f"none of the {JOINT_COUNT} joints is labelled; drop that hand or detect it again")
    is_bad = ~np.isfinite(keypoints).all(axis=1) & ~unlabelled
    if is_bad.any():
        raise HandsimError(
            f"keypoints hold NaN or infinity (first at joint {int(is_bad.argmax())}); an unlabelled joint is "
            f"NaN in x, y and z; drop that hand or detect it again"
        )


def check_joint_scores(scores: NDArray[np.floating]) -> None:
    """Raise HandsimError unless scores are [21], each NaN or 0 to 1."""
    if scores.shape != (JOINT_COUNT,):
        raise HandsimError(f"joint_scores have shape {list(scores.shape)}; expected [{JOINT_COUNT}]")
    is_bad = ~np.isnan(scores) & ~((scores >= 0) & (scores <= 1))
    if is_bad.any():
        joint = int(is_bad.argmax())
        raise HandsimError(f"the score of joint {joint} is {scores[joint]:g}; it lies between 0 and 1")


def make_hand_id(source: str, video: str, frame: int, ordinal: int, content: str = "") -> int:
    """Stable 63-bit id of the ``ordinal``-th hand of a frame.

    ``content`` is a digest of the file it was read from: file names repeat (``GH0001.mp4`` on every
    camera card) and folders move, so the id depends on what the file holds, not on where it lies. The same
    hand gets the same id from any path and on any machine.
    """
    identity = json.dumps([source, video, frame, ordinal, content], ensure_ascii=False).encode()
    return hash64(identity) & MAX_HAND_ID


def format_hand_id(hand_id: int) -> str:
    """16 hex digits: how an id is written wherever people or JavaScript see it."""
    return f"{hand_id:016x}"


def parse_hand_id(text: str) -> int:
    """Read what `format_hand_id` wrote; raises HandsimError for anything else."""
    if not re.fullmatch(r"[0-7][0-9a-fA-F]{15}", text):
        raise HandsimError(f"hand id {text!r} is not 16 hex digits (such as 03ab54f1c09d72e8)")
    return int(text, 16)


def describe_hand(hand: Hand) -> dict[str, Any]:
    """What is known of a hand beside its keypoints, as plain values for JSON, the id in hex."""
    description = {
        "id": format_hand_id(hand.hand_id),
        "source": hand.source,
        "video": hand.video,
        "frame": hand.frame,
        "side": hand.side,
        "score": round(hand.score, 6),
        "label": hand.label,
        "file": hand.file,
        "box_px": [round(value, 3) for value in hand.box_px.tolist()],
    }
    if hand.track is not None:
        description["track"] = format_hand_id(hand.track)
    if hand.joint_scores is not None:
        description["joint_scores"] = [
            None if np.isnan(score) else round(score, 6) for score in hand.joint_scores.tolist()
        ]
    return description
