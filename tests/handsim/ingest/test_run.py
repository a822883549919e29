import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError
from handsim.ingest import IngestOptions, NameRule, ingest
from handsim.ingest.plan import plan_ingest
from handsim.pool import ItemRecord, Skip
from tests.handsim.builders import (
    BrightnessDetector,
    BrokenDetector,
    DyingDetector,
    SturdyDetector,
    png_that_claims,
    write_picture,
    write_pictures,
    write_video,
)


def test_pictures_become_hands_with_video_label_and_frame(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "signs")
    options = IngestOptions(video_from=NameRule("parent"), label_from=NameRule("stem"))
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, options, workers=2)
    assert (report.pictures, report.done_now, report.hands_new) == (12, 12, 12)
    pool = Pool.open(tmp_path / "pool")
    rows = {(pool.videos[row], pool.labels[row], int(pool.frames[row])) for row in range(len(pool))}
    assert rows == {(f"p{person}", str(number), number) for person in range(3) for number in range(4)}
    hand = pool.hand(int(pool.hand_ids[0]))
    assert hand.file.startswith("signs/p")
    assert hand.source == "local"
    np.testing.assert_allclose(hand.keypoints[:, :2].mean(axis=0), 0.5, atol=5e-3)
    assert pool.crop(hand.hand_id).shape == (224, 224, 3)


def test_ingesting_again_changes_nothing_from_anywhere(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "signs")
    ingest([folder], tmp_path / "pool", BrightnessDetector, workers=1)
    ids = set(Pool.open(tmp_path / "pool").hand_ids.tolist())
    again = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (again.done_before, again.done_now, again.hands_in_pool) == (12, 0, 12)
    below = ingest([folder / "p1"], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (below.done_before, below.hands_new) == (4, 0)
    folder.rename(tmp_path / "moved")  # the records do not know the new path, the ids do
    moved = ingest([tmp_path / "moved"], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (moved.done_now, moved.hands_found, moved.hands_new) == (12, 12, 0)
    assert set(Pool.open(tmp_path / "pool").hand_ids.tolist()) == ids


def test_equal_names_in_different_folders_are_different_hands(tmp_path: Path) -> None:
    for day in (1, 2):
        write_picture(tmp_path / f"day{day}" / "images" / "1.png", 100 + day)
        ingest([tmp_path / f"day{day}" / "images"], tmp_path / "pool", BrightnessDetector, workers=1)
    assert len(Pool.open(tmp_path / "pool")) == 2


def test_the_home_below_the_pictures_is_not_ingested(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 1, 2)
    write_picture(tmp_path / "home" / "runs" / "figure.png", 90)
    options = IngestOptions(exclude=tmp_path / "home")
    for _ in range(2):
        report = ingest([tmp_path], tmp_path / "home" / "pool", BrightnessDetector, options, workers=1)
        assert (report.pictures, report.hands_in_pool, report.skipped) == (2, 2, [])


def test_what_cannot_be_used_is_reported_and_ends_nothing(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", people=2)
    whole = (folder / "p0" / "0.png").read_bytes()
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("these are my photos")
    (folder / "renamed.jpg").write_text("a text file")
    (folder / "cut.png").write_bytes(whole[: len(whole) - 40])
    (folder / "huge.png").write_bytes(png_that_claims(30_000, 30_000))
    (folder / "link.jpg").symlink_to(tmp_path / "nowhere")
    (folder / "not.mp4").write_bytes(b"no video")
    (folder / "broken.json").write_text('{"images": [')
    write_picture(folder / "black.png", 0)
    os.mkfifo(folder / "pipe.png")
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=2)
    assert report.hands_new == 8
    assert {skip.file: skip.reason for skip in report.skipped} == {
        "photos/empty.jpg": "empty file",
        "photos/notes.txt": "not an image",
        "photos/renamed.jpg": "not an image",
        "photos/cut.png": "truncated image",
        "photos/huge.png": "too many pixels",
        "photos/link.jpg": "unreadable",
        "photos/not.mp4": "not a video",
        "photos/broken.json": "not Hand100M annotations",
        "photos/black.png": "no hand",
        "photos/pipe.png": "unreadable",
    }
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert (saved["reasons"]["not an image"], saved["rungs"]) == (2, {"first try": 8})
    again = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=1)
    assert {skip.file for skip in again.skipped} == {skip.file for skip in report.skipped}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_kills_its_worker_is_named_and_tried_again(tmp_path: Path, workers: int) -> None:
    folder = write_pictures(tmp_path / "photos")
    write_picture(folder / "p1" / "deadly.png", (255, 0, 0))
    write_picture(folder / "p2" / "deadly.png", (254, 0, 0))
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=workers)
    assert report.hands_new == 12
    assert {(skip.file, skip.reason) for skip in report.skipped} == {
        ("photos/p1/deadly.png", "crashed a worker"),
        ("photos/p2/deadly.png", "crashed a worker"),
    }
    for detector in (BrightnessDetector, SturdyDetector):  # the first item of its worker now
        again = ingest([folder], tmp_path / "pool", detector, workers=workers)
        assert (again.done_before, again.done_now) == (12, 2)
    assert again.reasons() == {"no hand": 2}
    assert ingest([folder], tmp_path / "pool", SturdyDetector, workers=workers).done_now == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "other"},
        {"video_from": NameRule("stem")},
        {"label_from": NameRule("stem")},
        {"detector": "another model"},
    ],
)
def test_what_decides_the_outcome_decides_what_is_done_again(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder, options = write_pictures(tmp_path / "photos", 2, 2), IngestOptions(detector="a model")
    write_video(folder / "p0" / "walk.mkv", seconds=2)
    ingest([folder], tmp_path / "pool", BrightnessDetector, options, workers=1)
    assert ingest([folder], tmp_path / "pool", BrightnessDetector, options, workers=1).done_now == 0
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, replace(options, **changes), workers=1)
    # The name of a video file is its video already.
    assert (report.done_before, report.done_now) == ((2, 4) if "video_from" in changes else (0, 6))


def test_what_earlier_versions_did_is_not_done_again_unless_it_failed(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 1, 3)
    items = plan_ingest([folder], IngestOptions()).files
    outcomes = [(), (Skip("photos/p0/1.png", "no hand"),), (Skip("photos/p0/2.png", "crashed a worker"),)]
    with PoolWriter(tmp_path / "pool") as writer:
        for item, skipped in zip(items, outcomes, strict=True):
            writer.add_item(ItemRecord(item.keys.key_v1, 1, 0, skipped), [])
    options = IngestOptions(detector="a model")
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, options, workers=1)
    assert (report.done_before, report.done_now) == (2, 1)
    assert report.reasons() == {"no hand": 1}
    assert ingest([folder], tmp_path / "pool", BrightnessDetector, options, workers=1).done_before == 3


def test_keys_of_earlier_versions_are_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools on disk hold them: they must never change."""
    monkeypatch.setattr(Path, "resolve", lambda path: Path("/photos") / path.name)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "7.png").write_bytes(b"x" * 10)
    os.utime(tmp_path / "p" / "7.png", ns=(0, 1_700_000_000_000_000_000))
    (item,) = plan_ingest([tmp_path / "p"], IngestOptions()).files
    assert item.keys.key_v1 == 0x297010AFAE760149
    assert item.keys.key != item.keys.key_v1


def test_videos_are_sampled_and_shared_out(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "walk.mkv", seconds=8)
    options = IngestOptions(samples_per_s=10, source="clips")
    report = ingest([tmp_path / "clips"], tmp_path / "pool", BrightnessDetector, options, workers=2)
    pool = Pool.open(tmp_path / "pool")
    assert report.pictures == report.done_now == 80  # two stretches
    dark = sum(skip.count for skip in report.skipped)
    assert len(pool) + dark == 80
    assert set(pool.videos.values()) == {"walk"}
    assert pool.frames.min() > 0
    assert sorted(pool.frames.tolist()) == list(range(3 * dark, 240, 3))


def test_a_cut_video_keeps_its_frames_and_is_completed_later(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mkv", seconds=120)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    first = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert "truncated video" in first.reasons()
    assert 30 < first.hands_new < 90
    path.write_bytes(whole)
    second = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert second.hands_new == second.hands_found - first.hands_new
    assert "truncated video" not in second.reasons()


def test_bad_requests_are_refused_at_once(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 1, 1)
    with pytest.raises(HandsimError, match="nowhere does not exist"):
        ingest([folder, tmp_path / "nowhere"], tmp_path / "pool", BrightnessDetector)
    assert not (tmp_path / "pool").exists()
    with pytest.raises(HandsimError, match="model is not on this computer"):
        ingest([folder], tmp_path / "pool", BrokenDetector, workers=2)
    with pytest.raises(HandsimError, match="died while starting"):
        ingest([folder], tmp_path / "pool", DyingDetector, workers=2)
    with pytest.raises(HandsimError, match="--workers is 0"):
        ingest([folder], tmp_path / "pool", BrightnessDetector, workers=0)
    with pytest.raises(HandsimError, match=r"--fps is 0"):
        IngestOptions(samples_per_s=0)
    with pytest.raises(HandsimError, match=r"--images .* is not a folder"):
        IngestOptions(images=tmp_path / "nowhere")
    with pytest.raises(HandsimError, match="regular expression"):
        NameRule("(")


@pytest.mark.parametrize(
    ("rule", "name"),
    [("parent", "p118"), ("stem", "7_b"), (r"p(\d+)", "118"), (r"s\w+s", "signs"), ("x", None)],
)
def test_names_are_read_off_the_path(rule: str, name: str | None) -> None:
    assert NameRule(rule).name(PurePosixPath("signs/p118/7_b.jpg")) == name


INGEST = """
import sys
from handsim.ingest import ingest
from tests.handsim.builders import BrightnessDetector
if __name__ == "__main__":
    def show(report):
        print(report.done_now, flush=True)
    print(ingest([sys.argv[1]], sys.argv[2], BrightnessDetector, workers=2, progress=show).interrupted)
"""


def start_ingest(folder: Path, pool: Path) -> "subprocess.Popen[str]":
    """An ingest in another process, which has done 50 pictures."""
    command = [sys.executable, "-c", INGEST, str(folder), str(pool)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    return process


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", people=60, each=10)
    pool = tmp_path / "pool"
    process = start_ingest(folder, pool)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0
    assert output.splitlines()[-1] == "True"
    assert 50 <= len(Pool.open(pool)) < 600

    process = start_ingest(folder, pool)
    process.kill()
    process.communicate()
    report = ingest([folder], pool, BrightnessDetector, workers=2)
    assert report.hands_in_pool == 600
    ids = Pool.open(pool).hand_ids
    assert len(np.unique(ids)) == len(ids) == 600
