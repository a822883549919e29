"""A hand as a COCO keypoint annotation, and back without loss.

The format is COCO's (https://cocodataset.org/#format-data, "Keypoint Detection"). The picture is what a pool
has stored of the hand, so it shows a right hand, and a left one mirrored. Pixels are continuous, as
everywhere here: pixel i covers [i, i + 1). COCO has no place for the rest; keys that begin with ``handsim_``
hold it:

    handsim_id        the hand's id, 16 hex digits (COCO's own ids are running numbers)
    handsim_source, handsim_video, handsim_frame, handsim_side, handsim_score, handsim_label, handsim_file
    handsim_box_px    [x0, y0, x1, y1] in pixels of the picture that the hand was found in
    handsim_z         [21] relative depth in widths of the picture, null where the joint is unlabelled
    handsim_crop_enlargement    how many times as long as the hand's box the picture is, where not 1.3
    handsim_joint_scores    [21] 0 to 1, only where the hand's source has them
    handsim_track     16 hex digits, only of a hand in a track
    handsim_external_id, handsim_external_positives    only where another collection gave them
"""

from typing import Any, Final

import numpy as np

from handsim.errors import HandsimError, UnusableError
from handsim.geometry import CROP_ENLARGEMENT, MAX_ENLARGEMENT, box_around, rescale_keypoints
from handsim.hand import Hand, describe_hand, parse_hand_id
from handsim.skeleton import BONES, JOINT_COUNT, JOINT_NAMES

PREFIX: Final = "handsim_"
ID_KEY: Final = PREFIX + "id"
"""An annotation that has it was written here, and its picture is a pool's."""
ENLARGEMENT: Final = "crop_enlargement"
"""Of the picture, in longer sides of the hand's box; `PREFIX` goes before it."""

CATEGORY: Final[dict[str, Any]] = {
    "id": 1,
    "name": "hand",
    "supercategory": "person",
    "keypoints": list(JOINT_NAMES),
    "skeleton": [[parent + 1, child + 1] for parent, child in BONES],  # COCO counts joints from 1
}
_UNLABELLED, _VISIBLE = 0, 2
"""COCO's v. Whether a joint is hidden (1) is not known of most sources."""
_FIELDS: Final[dict[str, Any]] = {
    "source": str,
    "video": str,
    "frame": int,
    "side": str,
    "score": float | int,
    "label": str | None,
    "file": str,
}


def hand_to_annotation(hand: Hand, number: int, image: int, size_px: int) -> dict[str, Any]:
    """A hand as annotation ``number`` of picture ``image``, which is its own and of ``size_px``.

    The box is the one around the labelled joints.
    """
    is_labelled = hand.joint_mask
    keypoints = hand.picture_keypoints
    points = keypoints[:, :2].astype(np.float64) * size_px
    flat: list[float] = []
    for (x, y), labelled in zip(np.round(points, 4).tolist(), is_labelled.tolist(), strict=True):
        flat += (x, y, _VISIBLE) if labelled else (0, 0, _UNLABELLED)
    x0, y0, x1, y1 = np.round(box_around(points[is_labelled]), 3).tolist()
    depths = zip(keypoints[:, 2].tolist(), is_labelled.tolist(), strict=True)
    annotation = {
        "id": number,
        "image_id": image,
        "category_id": CATEGORY["id"],
        "keypoints": flat,
        "num_keypoints": int(is_labelled.sum()),
        "bbox": [x0, y0, round(x1 - x0, 3), round(y1 - y0, 3)],
        "area": round((x1 - x0) * (y1 - y0), 3),
        "segmentation": [],
        "iscrowd": 0,
        "score": round(hand.score, 6),
        **{PREFIX + key: value for key, value in describe_hand(hand).items()},
        "handsim_z": [round(z, 6) if labelled else None for z, labelled in depths],
    }
    if hand.crop_enlargement != CROP_ENLARGEMENT:
        annotation[PREFIX + ENLARGEMENT] = hand.crop_enlargement
    if hand.external_id is not None:
        annotation["handsim_external_id"] = hand.external_id
        annotation["handsim_external_positives"] = list(hand.external_positives)
    return annotation


def annotation_to_hand(annotation: dict[str, Any], size_px: int) -> Hand:
    """The hand of an annotation with `ID_KEY`, whose picture is ``size_px`` wide.

    A joint that was labelled since has depth 0. Raises UnusableError, which names what is wrong, for an
    annotation that is not as `hand_to_annotation` writes it.
    """
    key = "keypoints"
    try:
        points = np.array(annotation[key], dtype=np.float32).reshape(JOINT_COUNT, 3)
        key = "handsim_z"
        depths = np.array([z or 0.0 for z in annotation[key]], dtype=np.float32).reshape(JOINT_COUNT)
        key = "handsim_box_px"
        box_px = np.array(annotation[key], dtype=np.float32).reshape(4)
        key = ID_KEY
        hand_id = parse_hand_id(annotation[key])
        fields = {}
        for name, kind in _FIELDS.items():
            key = PREFIX + name
            fields[name] = _check(annotation[key], kind)
        key = "handsim_track"
        track = parse_hand_id(annotation[key]) if key in annotation else None
        key = "handsim_joint_scores"
        scores = annotation.get(key)
        joint_scores = None if scores is None else np.array(scores, dtype=np.float32).reshape(JOINT_COUNT)
        key = PREFIX + ENLARGEMENT
        enlargement = float(annotation.get(key, CROP_ENLARGEMENT))
        if not CROP_ENLARGEMENT <= enlargement <= MAX_ENLARGEMENT:
            raise ValueError(f"{enlargement} is no enlargement")
        key = "handsim_external_id"
        external_id = _check(annotation.get(key), str | None)
        key = "handsim_external_positives"
        positives = tuple(_check(positive, str) for positive in annotation.get(key, ()))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnusableError("bad annotation", f"{key} is missing or not as handsim writes it") from error
    keypoints = np.column_stack([points[:, :2] / size_px, depths])
    keypoints[points[:, 2] == _UNLABELLED] = np.nan
    try:
        return Hand(
            hand_id=hand_id,
            box_px=box_px,
            keypoints=rescale_keypoints(keypoints, enlargement, CROP_ENLARGEMENT),
            joint_scores=joint_scores,
            crop_enlargement=enlargement,
            track=track,
            external_id=external_id,
            external_positives=positives,
            **fields,
        )
    except HandsimError as error:
        raise UnusableError("bad annotation", str(error)) from error


def description_to_hand(description: dict[str, Any]) -> Hand:
    """The hand of `describe_hand` with ``keypoints`` [21][3] in widths of the picture, null where unlabelled.

    That is the JSON of a WebDataset export; raises UnusableError, as `annotation_to_hand`, for another one.
    """
    annotation: dict[str, Any] = {PREFIX + name: value for name, value in description.items()}
    annotation["keypoints"], annotation["handsim_z"] = [], []
    try:
        for point in description["keypoints"]:
            x, y, z = (0, 0, None) if point is None else point
            annotation["keypoints"] += [x, y, _UNLABELLED if point is None else _VISIBLE]
            annotation["handsim_z"].append(z)
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableError("bad annotation", "keypoints is missing or not as handsim writes it") from error
    return annotation_to_hand(annotation, size_px=1)


def _check(value: Any, kind: Any) -> Any:
    """The value; raises TypeError or ValueError for one of another kind, or that no Parquet file holds."""
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not {kind}")
    if isinstance(value, str):
        value.encode()  # half of a surrogate pair is no text
    if isinstance(value, int | float) and not 0 <= value < 2**63:
        raise ValueError(f"{value} is negative, NaN or has more than 63 bits")
    return value
