import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim import Pool
from handsim.errors import HandsimError
from handsim.ingest import IngestOptions, ingest
from index import MinedPairs
from index.hand100m import write_hand100m
from tests.handsim.ingest.detectors import BrightnessDetector
from tests.handsim.ingest.test_ingest import write_pictures


def write_annotations(path: Path, count: int) -> Path:
    images = [{"id": n, "file_name": f"video{n // 4}/{n}.png"} for n in range(count)]
    keypoints = (np.random.default_rng(0).random((count, 63)) * 0.8 + 0.1).round(5).tolist()
    annotations = [
        {
            "image_id": n,
            "hand_id": 1000 + n,
            "boxes": "[10, 12, 50, 48]",
            "keypoint_25d": keypoints[n],
            "left_right": "Left" if n % 2 else "Right",
            "positive_sample": [str(1000 + (n + 4) % count)],
        }
        for n in range(count)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    for n in range(count):
        picture = path.parent / f"video{n // 4}" / f"{n}.png"
        picture.parent.mkdir(exist_ok=True)
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, :32] = 250  # bright on the left, so that mirroring shows
        Image.fromarray(pixels).save(picture)
    return path


def test_the_authors_hands_come_with_their_keypoints_sides_and_positives(tmp_path: Path) -> None:
    path = write_annotations(tmp_path / "Hand100M_Ego4D_50k_v1-1.json", 40)
    (tmp_path / "video3" / "13.png").unlink()
    report = ingest([path], tmp_path / "pool", BrightnessDetector, workers=2)
    assert (report.pictures, report.done_now, report.hands_new) == (40, 40, 39)
    assert [(skip.file, skip.reason) for skip in report.skipped] == [("video3/13.png", "unreadable")]
    pool = Pool.open(tmp_path / "pool")
    assert set(pool.sources.names) == {"ego4d"}
    assert set(pool.videos.names) == {f"video{n}" for n in range(10)}
    by_id = {pool.hand(hand_id).external_id: pool.hand(hand_id) for hand_id in pool.hand_ids.tolist()}
    assert by_id["1007"].external_positives == ("1011",)
    assert by_id["1007"].side == "left"
    assert pool.crop(by_id["1007"].hand_id)[100, -20].mean() > 200  # mirrored: bright on the right
    assert pool.crop(by_id["1006"].hand_id)[100, 20].mean() > 200
    again = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (again.done_before, again.hands_in_pool) == (40, 39)


def test_what_we_export_comes_back_unchanged(tmp_path: Path) -> None:
    ingest([write_pictures(tmp_path / "signs")], tmp_path / "pool", BrightnessDetector, workers=1)
    pool = Pool.open(tmp_path / "pool")
    ids = pool.hand_ids
    mined = MinedPairs(ids, np.roll(ids, -1)[:, None], np.full((len(ids), 1), 0.25, np.float32))
    images = tmp_path / "crops"
    images.mkdir()
    for hand_id in ids.tolist():
        (images / f"{hand_id:016x}.jpg").write_bytes(pool.crop_jpeg(hand_id))
    assert write_hand100m(tmp_path / "pairs.json", pool, [mined]) == len(ids)
    options = IngestOptions(images=images)
    report = ingest([tmp_path / "pairs.json"], tmp_path / "again", BrightnessDetector, options, workers=1)
    assert report.hands_new == len(ids)
    again = Pool.open(tmp_path / "again")
    rows = [again.external_ids().names.index(f"{hand_id:016x}") for hand_id in ids.tolist()]
    np.testing.assert_allclose(again.keypoints[rows], pool.keypoints, atol=0.5 / 224)
    for place, row in enumerate(rows[:3]):
        hand = again.hand(int(again.hand_ids[row]))
        assert hand.external_positives == (f"{int(mined.positives[place, 0]):016x}",)
        difference = again.crop(hand.hand_id).astype(int) - pool.crop(int(ids[place]))
        assert np.abs(difference).mean() < 3


def test_a_wrong_images_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"--images .* is not a folder"):
        IngestOptions(images=tmp_path / "nowhere")
