"""The same few hands, written down in each format of annotations."""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.annotations import Annotation, AnnotationFile, AnnotationFormat, AnnotationOptions

SIZE_PX: Final = (80, 60)
COUNT: Final = 4
SIDES: Final = ("right", "left", "right", "left")
IMAGES: Final = tuple(f"cam{number // 2}/clip_{number}.png" for number in range(COUNT))
POINTS: Final[NDArray[np.float64]] = np.random.default_rng(0).uniform(12, 48, (COUNT, 21, 2)).round(3)
BOX: Final = [10.0, 10.0, 50.0, 50.0]
BOX_WITH_SIZE: Final = [10.0, 10.0, 40.0, 40.0]

Records = list[dict[str, Any]]


def read(path: Path, **options: Any) -> list[Annotation]:
    """Everything that a file named below the folder ``data`` holds."""
    file = PurePosixPath("data") / path.name
    return list(AnnotationFile(path, file, AnnotationOptions(**options)).read())


def coco_images() -> Records:
    width, height = SIZE_PX
    return [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, name in enumerate(IMAGES)
    ]


def flat(number: int, third: float) -> list[float]:
    """A hand's x, y and the same third number, 21 times."""
    values: list[float] = np.column_stack([POINTS[number], np.full(21, third)]).ravel().tolist()
    return values


def coco_records() -> Records:
    return [
        {
            "id": 100 + number,
            "image_id": number,
            "category_id": 1 + number % 2,
            "bbox": BOX_WITH_SIZE,
            "keypoints": flat(number, 2),
        }
        for number in range(COUNT)
    ]


def write_coco(path: Path, records: Records) -> Path:
    categories = [{"id": 1, "name": "right hand"}, {"id": 2, "name": "left hand"}]
    path.write_text(json.dumps({"categories": categories, "images": coco_images(), "annotations": records}))
    return path


def whole_body_records() -> Records:
    return [
        {
            "id": 100 + number,
            "image_id": number,
            "category_id": 1,
            "keypoints": [0] * 51,
            **{f"{side}hand_valid": side == SIDES[number] for side in ("left", "right")},
            f"{SIDES[number]}hand_kpts": flat(number, 0.5),
            f"{SIDES[number]}hand_box": BOX_WITH_SIZE,
        }
        for number in range(COUNT)
    ]


def write_whole_body(path: Path, records: Records) -> Path:
    """The annotations come before the pictures."""
    path.write_text(json.dumps({"annotations": records, "images": coco_images()}))
    return path


def hand100m_records() -> Records:
    """Crops of 52 pixels around the box, none of them at the border but the upper left one."""
    low, high = 30 - 26, 30 + 26
    return [
        {
            "image_id": number,
            "hand_id": 100 + number,
            "boxes": json.dumps(BOX),
            "keypoint_25d": np.column_stack([(POINTS[number] - low) / (high - low), np.zeros(21)])
            .ravel()
            .tolist(),
            "left_right": SIDES[number].title(),
            "positive_sample": ["101", "102"],
        }
        for number in range(COUNT)
    ]


def write_hand100m(path: Path, records: Records) -> Path:
    path.write_text(json.dumps({"images": coco_images(), "annotations": records}))
    return path


def mediapipe_records() -> Records:
    width, height = SIZE_PX
    return [
        {
            "image": IMAGES[number],
            "width": width,
            "height": height,
            "hand_landmarks": [
                [{"x": x / width, "y": y / height, "z": 0.0} for x, y in POINTS[number].tolist()]
            ],
            "handedness": [[{"category_name": SIDES[number].title(), "score": 0.5}]],
        }
        for number in range(COUNT)
    ]


def wilor_records() -> Records:
    width, height = SIZE_PX
    return [
        {
            "image": IMAGES[number],
            "img_size": [width, height],
            "hand_bbox": BOX,
            "is_right": float(SIDES[number] == "right"),
            "wilor_preds": {"pred_keypoints_2d": [POINTS[number].tolist()]},
        }
        for number in range(COUNT)
    ]


def own_records() -> Records:
    return [
        {
            "image": IMAGES[number],
            "side": SIDES[number],
            "keypoints": POINTS[number].tolist(),
            "box": BOX,
            "id": f"h{number}",
            "width": SIZE_PX[0],
            "height": SIZE_PX[1],
        }
        for number in range(COUNT)
    ]


def write_list(path: Path, records: Records) -> Path:
    path.write_text(json.dumps(records))
    return path


def write_lines(path: Path, records: Records) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


FORMATS: Final[dict[AnnotationFormat, tuple[Callable[[], Records], Callable[[Path, Records], Path]]]] = {
    "coco": (coco_records, write_coco),
    "coco-wholebody": (whole_body_records, write_whole_body),
    "hand100m": (hand100m_records, write_hand100m),
    "mediapipe": (mediapipe_records, write_list),
    "wilor": (wilor_records, write_list),
    "handsim-jsonl": (own_records, write_lines),
}
"""The formats with one record a hand: its records, and how a file is written."""


def write_hands(format: AnnotationFormat, path: Path, **changes: Any) -> Path:
    """The hands in a format; ``changes`` are made to the record of the second one (... removes a field)."""
    make_records, write = FORMATS[format]
    records = make_records()
    records[1] = {name: value for name, value in (records[1] | changes).items() if value is not ...}
    return write(path, records)
