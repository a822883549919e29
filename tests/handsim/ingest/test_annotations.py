"""From annotations and their pictures to hands in a pool."""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handsim import Pool
from handsim.annotations import AnnotationFile, AnnotationOptions, BadAnnotation
from handsim.annotations.joint_orders import parse_joint_order
from handsim.annotations.pictures import PictureFinder
from handsim.detection import Detection, hand_in_crop
from handsim.errors import HandsimError
from handsim.hand import MAX_HAND_ID, make_hand_id
from handsim.hashing import hash64
from handsim.ingest import Glob, IngestOptions, IngestReport, NameRule, ingest
from handsim.ingest.annotation_items import annotation_items
from handsim.ingest.items import AnnotationRow
from handsim.skeleton import JOINT_ORDERS
from tests.handsim.annotations import builders
from tests.handsim.annotations.builders import IMAGES, POINTS, SIDES, SIZE_PX, write_hands
from tests.handsim.builders import BrightnessDetector, kill_own_process


def write_half_bright(folder: Path, *names: str) -> Path:
    """Pictures that are bright on the left, so that mirroring shows."""
    pixels = np.zeros((SIZE_PX[1], SIZE_PX[0], 3), np.uint8)
    pixels[:, :30] = 250
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def import_hands(path: Path, pool: Path, images: Path | None = None, **options: Any) -> IngestReport:
    """Without a detector, in one worker."""
    annotations = AnnotationOptions(**options)
    return ingest(
        [path], pool, kill_own_process, IngestOptions(images=images, annotations=annotations), workers=1
    )


@pytest.mark.slow
@pytest.mark.parametrize("format", ["coco", "hand100m", "mediapipe"])
def test_hands_lie_in_their_crops_as_right_hands_and_late_pictures_are_taken_later(
    tmp_path: Path, format: Any
) -> None:
    path, pool_path = write_hands(format, tmp_path / "Hand100M_Ego4D.json"), tmp_path / "pool"
    images = write_half_bright(tmp_path / "images", *IMAGES[:2], IMAGES[3])
    if format == "coco":
        report = import_hands(path, pool_path, images)
        assert "hands in the pool already" not in report.findings.notes
        assert (report.pictures, report.done_now, report.hands_new) == (4, 4, 3)
        assert [(skip.file, skip.reason) for skip in report.skipped] == [(IMAGES[2], "unreadable")]
    write_half_bright(images, IMAGES[2])
    report = import_hands(path, pool_path, images)
    assert (report.hands_new, report.table()) == (1 if format == "coco" else 4, [])
    assert import_hands(path, pool_path, images).done_before == 4
    pool = Pool.open(pool_path)
    assert set(pool.videos.values()) == {"cam0", "cam1"}
    assert set(pool.sources.names) == {"ego4d"}
    assert sorted(pool.frames.tolist()) == [0, 1, 2, 3]
    for row, frame in enumerate(pool.frames.tolist()):
        hand = pool.hand(int(pool.hand_ids[row]))
        assert (hand.file, hand.side) == (IMAGES[frame], SIDES[frame])
        points = np.column_stack([POINTS[frame], np.zeros(21)]).astype(np.float32)
        expected = hand_in_crop(Detection(hand.side, 1.0, points))[1]
        if format != "mediapipe":  # has no box of its own
            side = 40 * 1.3
            expected = np.column_stack([(POINTS[frame] - 30) / side + 0.5, np.zeros(21)])
            expected[:, 0] = 1 - expected[:, 0] if hand.side == "left" else expected[:, 0]
        np.testing.assert_allclose(hand.keypoints, expected, atol=1e-5)
        is_bright = pool.crop(hand.hand_id).mean(axis=(0, 2)) > 125
        assert is_bright[0] != is_bright[-1]
        assert is_bright[0] == (hand.side == "right")
    if format == "hand100m":  # ids in pools must never change
        assert make_hand_id("ego4d", "cam0", 0, 0, "hand100m:100") in pool


def find_rows(path: Path, file: str, images: Path) -> list[AnnotationRow]:
    """The hands of a file, with their pictures and where they come from."""
    annotations = AnnotationFile(path, PurePosixPath(file), AnnotationOptions())
    items = annotation_items(annotations, PictureFinder(images), IngestOptions(images=images))
    return [row for item in items for row in item.rows]


def test_names_from_another_computer_are_matched_by_their_tail(tmp_path: Path) -> None:
    path = write_hands("coco", tmp_path / "a.json")
    path.write_text(path.read_text().replace('"cam', '"/home/authors/data/cam'))
    images = write_half_bright(tmp_path / "images", *IMAGES[:2])
    outside = json.loads(path.read_text())
    outside["images"][1]["file_name"] = f"..\\..\\media\\{IMAGES[1]}"
    outside["images"][3]["file_name"] = "../../etc/passwd"
    path.write_text(json.dumps(outside))
    first, second, *others = find_rows(path, "data/a.json", images)
    assert (first.picture, second.picture) == (images / IMAGES[0], images / IMAGES[1])
    assert {first.origin.video, second.origin.video} == {"cam0"}
    bad = [row.annotation.reason for row in others if isinstance(row.annotation, BadAnnotation)]
    assert bad == ["unreadable", "bad image"]


@pytest.mark.slow
def test_whole_exports_find_their_pictures_in_other_folders_and_are_told_apart(tmp_path: Path) -> None:
    """As annotation tools write them: each task has a hand 100 in a picture called alike."""
    for task, shift in (("task1", 0), ("task2", 1)):
        (tmp_path / "export" / task / "annotations").mkdir(parents=True)
        keypoints = np.column_stack([POINTS[1] + shift, [0] * 3 + [2] * 18]).ravel().tolist()
        changes = {"keypoints": keypoints, "category_id": 9, "attributes": {"side": "right"}}
        write_hands("coco", tmp_path / "export" / task / "annotations" / "hands.json", **changes)
        write_half_bright(tmp_path / "export" / task / "images" / "default", IMAGES[1])
    options = IngestOptions(include=(Glob("*.json"),))
    report = ingest([tmp_path / "export"], tmp_path / "pool", kill_own_process, options, workers=1)
    assert (report.hands_new, report.reasons()) == (2, {"unreadable": 6})
    assert report.findings.notes["hands with unlabelled joints"].count == 2
    folders = {f"{task}/images/default/cam0" for task in ("task1", "task2")}
    assert set(Pool.open(tmp_path / "pool").videos.values()) == folders


def test_openpose_frames_find_their_picture_by_stem_or_number(tmp_path: Path) -> None:
    images = write_half_bright(tmp_path / "images", "a/clip_000000000001.png", "a/frame_7.png")
    person = {"hand_right_keypoints_2d": builders.flat(0, 0.9)}
    found: dict[int, list[Path | None]] = {}
    for number in (1, 7, 8):
        path = tmp_path / f"clip_{number:012d}_keypoints.json"
        path.write_text(json.dumps({"people": [person, person]}))
        rows = find_rows(path, f"poses/{path.name}", images)
        found[number] = [row.picture for row in rows]
        if number != 8:
            assert {(row.origin.video, row.origin.frame) for row in rows} == {("clip", number)}
            assert len({row.hand_id for row in rows}) == 2
    clip, frame = images / "a" / "clip_000000000001.png", images / "a" / "frame_7.png"
    assert found == {1: [clip, clip], 7: [frame, frame], 8: [None, None]}


def test_without_pictures_keypoints_alone_go_in_and_nothing_is_started(tmp_path: Path) -> None:
    path = write_hands("coco-wholebody", tmp_path / "a.json", lefthand_valid=False)
    report = import_hands(path, tmp_path / "pool", pictures=False)
    assert (report.hands_new, report.skipped) == (3, [])
    pool = Pool.open(tmp_path / "pool")
    assert not pool.has_crops.any()
    scores = pool.hand(int(pool.hand_ids[0])).joint_scores
    assert scores is not None
    assert scores.tolist() == [0.5] * 21
    assert import_hands(path, tmp_path / "pool", pictures=False).done_before == 3


def test_what_earlier_versions_did_of_hand100m_is_known(tmp_path: Path) -> None:
    """Pools on disk hold these keys: they must never change."""
    path = write_hands("hand100m", tmp_path / "a.json")
    path.write_text(path.read_text().replace('"cam', '"nested/cam'))
    images = write_half_bright(tmp_path, *(f"nested/{name}" for name in IMAGES))
    file = AnnotationFile(path, PurePosixPath("data/a.json"), AnnotationOptions())
    (item,) = annotation_items(file, PictureFinder(images), IngestOptions())
    place = [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns, "hand100m", "local", 0]
    pictures = []
    for number, name in enumerate(IMAGES):
        status = (images / "nested" / name).stat()
        pictures.append([f"nested/{name}", status.st_size, status.st_mtime_ns, f"cam{number // 2}", None])
    for identity in (place, [*place, str(images), pictures]):
        assert hash64(json.dumps(identity).encode()) & MAX_HAND_ID in item.keys.former
    assert item.rows[0].origin.video == "nested/cam0"
    assert item.rows[0].hand_id == make_hand_id("local", "cam0", 0, 0, "hand100m:100")


def test_a_part_of_a_picture_needs_its_size(tmp_path: Path) -> None:
    path = write_hands("mediapipe", tmp_path / "a.json", width=...)
    report = import_hands(path, tmp_path / "pool", pictures=False)
    assert (report.hands_new, report.reasons()) == (3, {"no picture size": 1})


def test_hands_without_a_side_are_taken_as_seen_where_that_is_asked_for_and_counted(tmp_path: Path) -> None:
    records = [{**record, "category_id": 3} for record in builders.coco_records()]
    path = builders.write_coco(tmp_path / "a.json", records)
    assert import_hands(path, tmp_path / "none", pictures=False).reasons() == {"no side": 4}
    report = import_hands(path, tmp_path / "pool", pictures=False, side="unknown")
    assert report.findings.notes["hands of unknown side"].count == 4
    pool = Pool.open(tmp_path / "pool")
    assert not pool.has_side.any()
    for hand in pool.hands(np.arange(4)):
        assert np.corrcoef(hand.keypoints[:, 0], POINTS[hand.frame][:, 0])[0, 1] > 0.99


@pytest.mark.slow
def test_boxes_are_looked_into_and_those_without_a_hand_are_counted(tmp_path: Path) -> None:
    records = builders.coco_records()
    for number in (1, 3):
        records[number] |= {"keypoints": None, "category_id": 9}
    path = builders.write_coco(tmp_path / "a.json", records)
    images = write_half_bright(tmp_path / "images", *IMAGES)
    Image.new("RGB", SIZE_PX).save(images / IMAGES[3])
    options = IngestOptions(images=images, annotations=AnnotationOptions(boxes=True))
    report = ingest([path], tmp_path / "pool", BrightnessDetector, options, workers=1)
    assert (report.hands_new, report.reasons()) == (3, {"no hand in box": 1})
    pool = Pool.open(tmp_path / "pool")
    (found,) = (hand for hand in map(pool.hand, pool.hand_ids.tolist()) if hand.file == IMAGES[1])
    assert found.side == "right"  # the detector says it
    centre = (found.box_px[:2] + found.box_px[2:]) / 2
    np.testing.assert_allclose(centre, [30, 30], atol=1)


@pytest.mark.slow
def test_pictures_beside_their_annotations_are_not_looked_at_as_well_and_new_names_rename(
    tmp_path: Path,
) -> None:
    folder = write_half_bright(tmp_path / "data", *IMAGES, "other/5.png")
    write_hands("coco", folder / "hands.json")
    (folder / "package.json").write_text('{"name": "no annotations"}')
    pool = tmp_path / "pool"
    report = ingest([folder], pool, BrightnessDetector, workers=1)
    assert (report.pictures, report.hands_new, report.reasons()) == (5, 5, {"not annotations": 1})
    assert report.findings.notes["annotated picture"].count == 4
    before = set(Pool.open(pool).hand_ids.tolist())
    again = ingest([folder], pool, BrightnessDetector, IngestOptions(video_from=NameRule("stem")), workers=1)
    assert (again.done_now, again.hands_new, again.hands_renamed) == (0, 0, 5)
    renamed = Pool.open(pool)
    assert set(renamed.hand_ids.tolist()) == before
    assert set(renamed.videos.values()) == {"5", *(f"clip_{number}" for number in range(4))}


def test_bad_options_are_refused_with_their_bound() -> None:
    refused: list[tuple[str, Callable[[], object]]] = [
        ("--min-joints is 0", lambda: AnnotationOptions(min_joints=0)),
        ("leave out --no-pictures", lambda: AnnotationOptions(boxes=True, pictures=False)),
        ("'smpl' is neither one of", lambda: parse_joint_order("smpl")),
        ("each once", lambda: parse_joint_order(",".join(["0"] * 21))),
    ]
    for message, call in refused:
        with pytest.raises(HandsimError, match=message):
            call()
    order = JOINT_ORDERS["mano"]
    assert parse_joint_order("mano") == parse_joint_order(str(list(order))) == order
