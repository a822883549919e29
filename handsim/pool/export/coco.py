"""COCO keypoints: ``annotations.json`` and the crops in ``images``. See `handsim.coco` for an annotation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from handsim.coco import CATEGORY, PREFIX, hand_to_annotation
from handsim.files import creating, write_json_list
from handsim.hand import format_hand_id
from handsim.pool.export.hands import ExportedHands, Progress

ANNOTATIONS_FILE: Final = "annotations.json"
IMAGES_FOLDER: Final = "images"


def write_coco(out: Path, hands: ExportedHands, progress: Progress) -> str:
    """Write hands with pictures into a new folder ``out``; returns a line of Python that opens it.

    The annotations are in the order of the hands. A query's distance is ``handsim_distance``.
    """
    with creating(out) as folder:
        (folder / IMAGES_FOLDER).mkdir(parents=True)
        with (folder / ANNOTATIONS_FILE).open("w") as file:
            file.write('{"info": {"description": "hands of handsim", "version": "1"}, "licenses": [],\n')
            file.write(f'"categories": [{json.dumps(CATEGORY)}],\n"images": ')
            write_json_list(file, _images(hands))
            file.write(',\n"annotations": ')
            write_json_list(file, _annotations(folder, hands, progress))
            file.write("}\n")
    return f"import json; coco = json.load(open({str(out / ANNOTATIONS_FILE)!r}))"


def _file_name(hand_id: int) -> str:
    return f"{IMAGES_FOLDER}/{format_hand_id(hand_id)}.jpg"


def _images(hands: ExportedHands) -> Iterator[dict[str, Any]]:
    size = hands.pool.crop_size_px
    for number, hand_id in enumerate(hands.pool.hand_ids[hands.rows].tolist(), start=1):
        yield {"id": number, "file_name": _file_name(hand_id), "width": size, "height": size}


def _annotations(folder: Path, hands: ExportedHands, progress: Progress) -> Iterator[dict[str, Any]]:
    for number, hand in enumerate(hands.read(progress), start=1):
        (folder / _file_name(hand.hand_id)).write_bytes(hands.pool.stored_jpeg(hand.hand_id))
        annotation = hand_to_annotation(hand, number, number, hands.pool.crop_size_px)
        if hands.distances:
            annotation[PREFIX + "distance"] = hands.distances.get(hand.hand_id)
        yield annotation
