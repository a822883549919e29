"""Machines that share the files of one ingest, each with a pool of its own."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import Pool
from handsim.errors import HandsimError
from handsim.ingest import IngestOptions, Shard, ingest
from handsim.ingest.plan import plan_ingest
from handsim.pool import read_items
from handsim.pool.merge import merge
from tests.handsim.builders import BrightnessDetector, write_picture, write_video
from tests.handsim.test_tars import write_tar


@pytest.mark.parametrize("text", ["0/16", "17/16", "1/0"])
def test_a_shard_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(HandsimError, match=f"there is no shard {text}; of N shards, they are 1/N to N/N"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["x", "3", "-1/4", "1/2/3", "1.5/2", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(HandsimError, match="is no shard; write which of how many, such as 3/16"):
        Shard.parse(text)


def make_mixture(folder: Path) -> Path:
    """Pictures of several kinds, copies of videos, a damaged file, a tar, and annotations with pictures."""
    for number in range(24):
        suffix = ("jpg", "png", "bmp")[number % 3]
        write_picture(folder / f"p{number % 4}" / f"{number}.{suffix}", 40 + 8 * number)
    write_picture(folder / "p0" / "name without number.png", 77)
    write_picture(folder / "p0" / "another.png", 78)
    for camera in ("cam0", "cam1"):
        (folder / camera).mkdir()
    whole = write_video(folder / "cam0" / "clip.mp4", seconds=3)
    shutil.copy(whole, folder / "cam0" / "clip (1).mp4")
    shutil.copy(whole, folder / "copy.mov")
    write_video(folder / "cam1" / "clip.mp4", seconds=2)
    (folder / "notes.txt").write_text("no picture")
    pictures = [
        (f"q/{number}.jpg", (folder / "p0" / "0.jpg").read_bytes() + bytes(number)) for number in range(9)
    ]
    write_tar(folder / "more.tar", pictures)
    points = [[20 + joint, 30 + joint] for joint in range(21)]
    lines = [
        {"image": f"labelled/{number}.png", "side": "left", "keypoints": points, "id": number}
        for number in range(40)
    ]
    for number in range(40):
        write_picture(folder / "labelled" / f"{number}.png", 60 + number)
    (folder / "hands.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def hands_of(path: Path) -> dict[int, tuple[object, ...]]:
    """All that is known of each hand, by its id."""
    pool = Pool.open(path)
    hands: dict[int, tuple[object, ...]] = {}
    for hand in pool.hands(np.arange(len(pool))):
        crop: bytes = pool.crop_jpeg(hand.hand_id)
        points: NDArray[np.float32] = hand.keypoints
        hands[hand.hand_id] = (
            hand.source,
            hand.video,
            hand.frame,
            hand.side,
            hand.label,
            hand.file,
            points.tobytes(),
            crop,
        )
    return hands


@pytest.mark.slow
def test_the_shards_merged_are_the_pool_of_one_machine(tmp_path: Path) -> None:
    folder = make_mixture(tmp_path / "data")
    alone = ingest([folder], tmp_path / "alone", BrightnessDetector, workers=1)
    skipped: Counter[str] = Counter()
    for number in (1, 2):
        # Each machine has mounted the files elsewhere.
        mounted = tmp_path / f"mount{number}" / "data"
        shutil.copytree(folder, mounted)
        options = IngestOptions(shard=Shard(number, 2))
        report = ingest([mounted], tmp_path / f"pool{number}", BrightnessDetector, options, workers=1)
        assert report.shard == f"{number}/2"
        assert 0 < report.done_now < alone.done_now
        skipped.update(skip.file for skip in report.skipped)
        merged = merge(tmp_path / "merged", tmp_path / f"pool{number}")
        assert (merged.shared_hands, merged.clashes) == (0, ())
    assert hands_of(tmp_path / "merged") == hands_of(tmp_path / "alone")
    assert skipped == Counter(skip.file for skip in alone.skipped)


@pytest.mark.slow
def test_after_the_merge_a_plain_ingest_of_everything_does_nothing(tmp_path: Path) -> None:
    folder = make_mixture(tmp_path / "data")
    for number in (1, 2):
        options = IngestOptions(shard=Shard(number, 2))
        ingest([folder], tmp_path / f"pool{number}", BrightnessDetector, options, workers=1)
        merge(tmp_path / "merged", tmp_path / f"pool{number}")
    again = ingest([folder], tmp_path / "merged", BrightnessDetector, workers=1)
    assert (again.done_now, again.hands_new) == (0, 0)
    assert again.done_before == sum(record.pictures for record in read_items(tmp_path / "merged"))


def test_every_file_is_of_one_shard_and_all_are_about_as_large(tmp_path: Path) -> None:
    for take in range(40):
        for name in ("left.png", "right.png", "left.jpg"):
            write_picture(tmp_path / f"take{take}" / name, 30 + take)
            with (tmp_path / f"take{take}" / name).open("ab") as file:
                file.write(bytes(17 * take))  # pictures differ in size
    plans = [plan_ingest([tmp_path], IngestOptions(shard=Shard(number, 4))) for number in range(1, 5)]
    sizes = [len(plan.files) for plan in plans]
    assert sum(sizes) == len({item.keys.key for plan in plans for item in plan.files}) == 120
    assert min(sizes) > 15
    keys = {item.keys.key for item in plan_ingest([tmp_path], IngestOptions()).files}
    assert keys == {item.keys.key for plan in plans for item in plan.files}
