"""From files to hands in a pool: what is found, what is reported, and what is done again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import Pool
from handsim.detection import Detection
from handsim.errors import HandsimError
from handsim.ingest import IngestOptions, IngestReport, NameRule, ingest
from handsim.ingest.plan import plan_ingest
from handsim.ingest.worker import process_item
from handsim.ingest.workers import WorkerPool
from tests.handsim.builders import (
    BrightnessDetector,
    SturdyDetector,
    kill_own_process,
    make_no_detector,
    png_that_claims,
    write_picture,
    write_pictures,
    write_video,
)


@pytest.mark.slow
def test_pictures_become_hands_once_from_wherever_they_lie(tmp_path: Path) -> None:
    folder, pool_path = write_pictures(tmp_path / "signs"), tmp_path / "pool"
    options = IngestOptions(video_from=NameRule("parent"), label_from=NameRule("stem"))
    report = ingest([folder], pool_path, BrightnessDetector, options, workers=2)
    assert (report.pictures, report.done_now, report.hands_new) == (12, 12, 12)
    pool = Pool.open(pool_path)
    rows = {(pool.videos[row], pool.labels[row], int(pool.frames[row])) for row in range(len(pool))}
    assert rows == {(f"p{person}", str(number), number) for person in range(3) for number in range(4)}
    hand = pool.hand(int(pool.hand_ids[0]))
    assert hand.file.startswith("signs/p")
    assert hand.source == "local"
    np.testing.assert_allclose(hand.keypoints[:, :2].mean(axis=0), 0.5, atol=5e-3)
    assert pool.crop(hand.hand_id).shape == (224, 224, 3)

    again = ingest([folder], pool_path, BrightnessDetector, options)
    assert (again.done_before, again.done_now, again.hands_in_pool) == (12, 0, 12)
    below = ingest([folder / "p1"], pool_path, BrightnessDetector, options)
    assert (below.done_before, below.hands_new) == (4, 0)
    folder.rename(tmp_path / "moved")  # the records do not know the new path, but the content
    moved = ingest([tmp_path / "moved"], pool_path, BrightnessDetector, options, workers=1)
    assert (moved.done_before, moved.done_now, moved.hands_in_pool) == (12, 0, 12)
    assert moved.findings.notes["moved since"].count == 12
    assert set(Pool.open(pool_path).hand_ids.tolist()) == set(pool.hand_ids.tolist())


def test_equal_names_in_other_folders_are_other_hands_and_the_home_is_left_out(tmp_path: Path) -> None:
    for day in (1, 2):
        write_picture(tmp_path / f"day{day}" / "images" / "1.png", 100 + day)
    write_picture(tmp_path / "home" / "runs" / "figure.png", 90)
    options, pool = IngestOptions(home=tmp_path / "home"), tmp_path / "home" / "pool"
    folders = [tmp_path / "day1" / "images", tmp_path / "day2" / "images"]
    assert ingest(folders, pool, BrightnessDetector, options, workers=1).hands_in_pool == 2
    report = ingest([tmp_path], pool, BrightnessDetector, options, workers=1)
    assert (report.pictures, report.hands_in_pool, report.skipped) == (2, 2, [])


@pytest.mark.slow
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
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=1)
    assert report.hands_new == 8
    assert {skip.file: skip.reason for skip in report.skipped} == {
        "photos/empty.jpg": "empty file",
        "photos/notes.txt": "not an image or video",
        "photos/renamed.jpg": "not an image or video",
        "photos/cut.png": "truncated image",
        "photos/huge.png": "too many pixels",
        "photos/link.jpg": "unreadable",
        "photos/not.mp4": "not an image or video",
        "photos/broken.json": "not annotations",
        "photos/black.png": "no hand",
        "photos/pipe.png": "unreadable",
    }
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert (saved["reasons"]["not an image or video"], saved["rungs"]) == (3, {"first try": 8})
    again = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=1)
    assert {skip.file for skip in again.skipped} == {skip.file for skip in report.skipped}


@pytest.mark.slow
def test_a_file_that_kills_its_worker_is_named_and_tried_again(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 3, 2)
    write_picture(folder / "p1" / "deadly.png", (255, 0, 0))
    write_picture(folder / "p2" / "deadly.png", (254, 0, 0))
    report = ingest([folder], tmp_path / "pool", BrightnessDetector, workers=2)
    assert report.hands_new == 6
    files = {"photos/p1/deadly.png", "photos/p2/deadly.png"}
    assert {(skip.file, skip.reason) for skip in report.skipped} == {
        (file, "crashed a worker") for file in files
    }
    for detector in (BrightnessDetector, SturdyDetector):  # the first item of the only worker now
        again = ingest([folder], tmp_path / "pool", detector, workers=1)
        assert (again.done_before, again.done_now) == (6, 2)
    assert again.reasons() == {"no hand": 2}
    assert ingest([folder], tmp_path / "pool", SturdyDetector).done_now == 0


def test_videos_are_sampled_and_shared_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mkv", seconds=8)
    first, second = plan_ingest([path], IngestOptions(samples_per_s=10, source="clips")).files
    assert first.pictures + second.pictures == 80
    results = [process_item(item, BrightnessDetector()) for item in (first, second)]
    assert sum(result.pictures for result in results) == 80
    hands = [hand for result in results for hand, _ in result.hands]
    (skip,) = results[0].skipped  # the first frames are black, which is no failure
    assert (skip.reason, skip.count, results[0].has_failed) == ("no hand", 80 - len(hands), False)
    assert [hand.frame for hand in hands] == list(range(3 * skip.count, 240, 3))
    assert {(hand.video, hand.source) for hand in hands} == {("walk", "clips")}


@pytest.mark.slow
def test_a_cut_video_gives_its_frames_and_is_completed_later(tmp_path: Path) -> None:
    path = write_video(tmp_path / "walk.mkv", seconds=120)  # ids depend on the first 64 kB, which both have
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    first = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert "truncated video" in {remark.reason for remark in first.remarks}
    assert 30 < first.hands_new < 90
    path.write_bytes(whole)
    second = ingest([path], tmp_path / "pool", BrightnessDetector, workers=1)
    assert second.hands_new == second.hands_found - first.hands_new
    assert second.remarks == []


class HangingDetector(BrightnessDetector):
    """Never comes back from a pure red picture, as a decoder may not from a damaged file."""

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        if image[..., 1].mean() < 15:
            signal.pause()
        return super().detect_in(image)


@pytest.mark.slow
def test_a_file_that_hangs_its_worker_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "photos", 1, 3)
    write_picture(folder / "p0" / "1.png", (255, 0, 0))
    items = plan_ingest([folder], IngestOptions()).files
    with WorkerPool(1, HangingDetector, patience_s=0.5) as pool:
        given = [item for one in items for item in (one, None)]  # None: just now there is nothing
        results = [result for _, result in pool.run(iter(given))]
    assert sorted(len(result.hands) for result in results) == [0, 1, 1]
    (skip,) = (skip for result in results for skip in result.skipped)
    assert (skip.file, skip.reason) == ("photos/p0/1.png", "took too long")


class FailingDetector(BrightnessDetector):
    """Raises an error at the first picture."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (MemoryError("no room"), "failed", "MemoryError: no room"),
        (OSError(5, "Input/output error"), "unreadable", "Input/output error"),
    ],
)
def test_an_error_at_one_item_is_its_result(
    tmp_path: Path, error: Exception, reason: str, detail: str
) -> None:
    (item,) = plan_ingest([write_pictures(tmp_path, 1, 1)], IngestOptions()).files
    result = process_item(item, FailingDetector(error))
    assert [(skip.reason, skip.detail) for skip in result.skipped] == [(reason, detail)]
    assert result.has_failed


@pytest.mark.slow
def test_bad_requests_are_refused_at_once(tmp_path: Path) -> None:
    folder, pool, nowhere = write_pictures(tmp_path / "photos", 1, 1), tmp_path / "pool", tmp_path / "nowhere"
    with pytest.raises(HandsimError, match="nowhere does not exist"):
        ingest([folder, nowhere], pool, BrightnessDetector)
    assert not pool.exists()
    refused: list[tuple[str, Callable[[], object]]] = [
        ("model is not on this computer", lambda: ingest([folder], pool, make_no_detector, workers=1)),
        ("died while starting", lambda: ingest([folder], pool, kill_own_process, workers=1)),
        ("--workers is 0", lambda: ingest([folder], pool, BrightnessDetector, workers=0)),
        ("--fps is 0", lambda: IngestOptions(samples_per_s=0)),
        ("--images .* is not a folder", lambda: IngestOptions(images=nowhere)),
        ("regular expression", lambda: NameRule("(")),
    ]
    for message, call in refused:
        with pytest.raises(HandsimError, match=message):
            call()


INGEST_AND_DIE = """
import os, signal, sys
from handsim.ingest import ingest
from tests.handsim.builders import BrightnessDetector

if __name__ == "__main__":
    die = lambda report: os.kill(os.getpid(), signal.SIGKILL)
    ingest([sys.argv[1]], sys.argv[2], BrightnessDetector, workers=1, progress=die)
"""


@pytest.mark.slow
def test_ctrl_c_and_sigterm_stop_cleanly_and_a_kill_loses_nothing(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos", people=15, each=4), tmp_path / "pool"
    for number, least in ((signal.SIGINT, 20), (signal.SIGTERM, 40)):  # the latter as a cluster ends a job

        def interrupt(report: IngestReport, number: signal.Signals = number) -> None:
            if report.done_now == 20:
                os.kill(os.getpid(), number)

        assert ingest([folder], pool, BrightnessDetector, workers=1, progress=interrupt).interrupted
        assert least <= len(Pool.open(pool)) < least + 20
    command = [sys.executable, "-c", INGEST_AND_DIE, str(folder), str(pool)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    report = ingest([folder], pool, BrightnessDetector, workers=1)
    assert report.hands_in_pool == 60
    ids = Pool.open(pool).hand_ids
    assert len(np.unique(ids)) == len(ids) == 60
