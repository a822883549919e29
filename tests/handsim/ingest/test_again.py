"""Doing it again: what is known, what is tried again, what is renamed, and what old pools have."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handsim import Pool, PoolWriter
from handsim.ingest import IngestOptions, IngestReport, NameRule, ingest
from handsim.ingest.items import PictureItem, file_keys
from handsim.ingest.plan import plan_ingest
from handsim.ingest.recordings import take_fingerprint
from handsim.ingest.worker import process_item
from handsim.pool import ItemRecord, Skip
from tests.handsim.builders import BrightnessDetector, write_picture, write_pictures, write_video


def run(path: Path, pool: Path, *, dry_run: bool = False, **options: Any) -> IngestReport:
    options = {"detector": "a model", **options}
    return ingest([path], pool, BrightnessDetector, IngestOptions(**options), workers=1, dry_run=dry_run)


def names(pool: Path) -> set[tuple[str | None, str | None]]:
    opened = Pool.open(pool)
    return {(opened.videos[row], opened.labels[row]) for row in range(len(opened))}


def write_former_pool(pool: Path, folder: Path, options: IngestOptions) -> None:
    """As an earlier version did it: videos named by folder or stem, records without file and ids."""
    video_from = options.video_from or NameRule("parent")
    with PoolWriter(pool) as writer:
        for item in plan_ingest([folder], replace(options, video_from=video_from)).files:
            assert isinstance(item, PictureItem)
            hands = process_item(item, BrightnessDetector()).hands
            status, origin = item.path.stat(), item.origin
            details = ["picture", origin.source, origin.video, origin.label, options.detector]
            (key,) = file_keys(item.path, status.st_size, status.st_mtime_ns, [], [details]).former
            writer.add_item(ItemRecord(key, 1, len(hands)), hands)


def test_what_decides_the_outcome_decides_what_is_done_again(tmp_path: Path) -> None:
    folder, options = write_pictures(tmp_path / "photos", 2, 2), IngestOptions(detector="a model")
    write_video(folder / "p0" / "walk.mkv", seconds=2)

    def keys(**changes: Any) -> set[int]:
        items = plan_ingest([folder], replace(options, **changes)).files
        assert len({item.keys.key for item in items}) == 5
        return {item.keys.key for item in items}

    assert keys() == keys(video_from=NameRule("stem"), label_from=NameRule("stem"))
    for changes in ({"source": "other"}, {"detector": "another model"}):
        assert not keys() & keys(**changes)
    assert len(keys() & keys(samples_per_s=2)) == 4  # the pictures


def test_keys_of_earlier_versions_are_theirs() -> None:
    """Pools on disk hold them: they must never change."""
    details = ["picture", "local", "p", None]
    keys = file_keys(Path("/photos/7.png"), 10, 1_700_000_000_000_000_000, ["picture"], [details])
    assert keys.former == (0x297010AFAE760149,)
    assert keys.key != keys.former[0]


@pytest.mark.slow
def test_what_earlier_versions_did_is_not_done_again_unless_it_failed(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos" / "day", 1, 4).parent, tmp_path / "pool"
    write_former_pool(pool, folder, IngestOptions())
    first = run(folder, pool, detector="")
    assert (first.done_before, first.done_now, first.hands_in_pool) == (4, 0, 4)
    note = first.findings.notes["video name kept"]
    assert (note.count, note.first) == (4, "photos/day/p0/0.png: 'p0', not 'day/p0'")
    # A new picture of that folder is of the same recording, whatever the default is now.
    write_picture(folder / "day" / "p0" / "9.png", 77)
    assert run(folder, pool, detector="").hands_new == 1
    assert names(pool) == {("p0", None)}
    ids = set(Pool.open(pool).hand_ids.tolist())
    assert run(folder, pool, detector="", video_from=NameRule("path")).hands_renamed == 5
    assert names(pool) == {("day/p0", None)}
    # Another model finds the same hands: their ids have the old name still.
    assert run(folder, pool, detector="another model").hands_new == 0
    assert set(Pool.open(pool).hand_ids.tolist()) == ids


@pytest.mark.slow
def test_what_an_earlier_version_named_by_a_rule_is_renamed_not_doubled(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos"), tmp_path / "pool"
    write_former_pool(pool, folder, IngestOptions(video_from=NameRule(r"p(\d)"), detector="a model"))
    report = run(folder, pool, label_from=NameRule("stem"))
    assert (report.done_now, report.hands_renamed, report.hands_in_pool) == (0, 12, 12)
    assert names(pool) == {(str(person), str(number)) for person in range(3) for number in range(4)}
    assert run(folder, pool, label_from=NameRule("stem")).hands_renamed == 0


def test_what_an_earlier_version_could_not_read_is_looked_at_once_more(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos", 1, 3), tmp_path / "pool"
    outcomes = ["no hand", "corrupt image", "crashed a worker"]
    with PoolWriter(pool) as writer:
        for reason, item in zip(outcomes, plan_ingest([folder], IngestOptions()).files, strict=True):
            status, details = item.path.stat(), ["picture", "local", "p0", None]  # type: ignore[union-attr]
            (key,) = file_keys(item.path, status.st_size, status.st_mtime_ns, [], [details]).former  # type: ignore[union-attr]
            writer.add_item(ItemRecord(key, 1, 0, (Skip("photos/p0/x.png", reason),)), [])
    report = run(folder, pool)
    assert (report.done_before, report.retried, report.done_now, report.hands_new) == (1, 1, 2, 2)
    assert run(folder, pool).done_before == 3
    assert run(folder, pool, retry_failed=True).hands_new == 1  # which was said to show no hand


@pytest.mark.slow
def test_new_rules_rename_and_relabel_what_is_there(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "signs"), tmp_path / "pool"
    write_video(folder / "walk.mkv", seconds=2)
    run(folder, pool)
    ids = Pool.open(pool).hand_ids.tolist()
    assert names(pool) == {("p0", None), ("p1", None), ("p2", None), ("walk", None)}
    said: list[str] = []
    rules = {"video_from": NameRule(r"[p/](\d|walk)"), "label_from": NameRule("stem"), "detector": "a model"}

    def again(dry_run: bool = False) -> IngestReport:
        options = IngestOptions(**rules)  # type: ignore[arg-type]
        return ingest([folder], pool, BrightnessDetector, options, dry_run=dry_run, say=said.append)

    dry = again(dry_run=True)
    assert (dry.hands_renamed, dry.to_do, dry.done_now) == (len(ids), {}, 0)
    assert names(pool) == {("p0", None), ("p1", None), ("p2", None), ("walk", None)}
    assert again().hands_renamed == len(ids)
    assert said[0].startswith(f"{len(ids):,} hands would be renamed: 12 get another video name (of 3)")
    assert said[1].startswith(f"{len(ids):,} hands are renamed")
    assert names(pool) >= {("0", "0"), ("2", "3"), ("walk", "walk")}
    assert sorted(Pool.open(pool).hand_ids.tolist()) == sorted(ids)
    assert again().hands_renamed == 0
    # Without a rule, and after a move, names stay as they are.
    folder.rename(tmp_path / "moved")
    moved = run(tmp_path / "moved", pool)
    assert (moved.done_now, moved.hands_in_pool) == (0, len(ids))
    assert names(pool) >= {("0", "0"), ("2", "3"), ("walk", "walk")}


@pytest.mark.slow
def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos", 1, 3), tmp_path / "pool"
    write_video(folder / "walk.mkv", seconds=70)
    (folder / "notes.txt").write_text("x")
    report = run(folder, pool, dry_run=True)
    assert report.to_do == {"pictures": 3, "frames of videos": 70}
    assert report.reasons() == {"not an image or video": 1}
    assert not pool.exists()
    run(folder / "p0", pool)
    report = run(folder, pool, dry_run=True, retry_failed=True)
    assert (report.done_before, report.to_do) == (3, {"frames of videos": 70})


@pytest.mark.slow
def test_moved_copied_and_touched_files_are_known_by_their_content(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "photos", 2, 2), tmp_path / "pool"
    write_video(folder / "p0" / "walk.mkv", seconds=2)
    hands = run(folder, pool).hands_in_pool
    os.utime(folder / "p0" / "0.png")
    (folder / "p1" / "new").mkdir()
    (folder / "p1" / "1.png").rename(folder / "p1" / "new" / "1.png")
    (folder / "p0" / "walk.mkv").rename(folder / "p1" / "run.mkv")
    report = run(folder, pool)
    assert (report.done_now, report.hands_in_pool) == (0, hands)
    assert report.findings.notes["moved since"].count == 2
    # A copy of a recording is told and left out, a copy of a picture is told and used.
    shutil.copy(folder / "p1" / "run.mkv", folder / "p1" / "run (1).mkv")
    shutil.copy(folder / "p0" / "0.png", folder / "p1" / "5.png")
    copied = run(folder, pool)
    assert copied.hands_in_pool == hands + 1
    notes = copied.findings.notes
    assert notes["the same recording again"].first == "photos/p1/run (1).mkv is run.mkv"
    assert notes["copy of a picture"].first.startswith("photos/p1/5.png is ")
    kept = run(folder, pool, keep_copies=True)
    assert kept.hands_new == kept.hands_found > 0


def write_film_with_room(path: Path, seconds: int) -> None:
    """An MP4 with 128 kilobytes of room behind its first box, as cameras reserve it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = write_video(path, seconds=seconds).read_bytes()
    first, room = int.from_bytes(data[:4], "big"), 1 << 17
    moved = bytearray(data)
    table = data.index(b"stco") + 8
    for number in range(int.from_bytes(data[table : table + 4], "big")):
        place = slice(table + 4 + 4 * number, table + 8 + 4 * number)
        moved[place] = (int.from_bytes(moved[place], "big") + room).to_bytes(4, "big")
    path.write_bytes(moved[:first] + room.to_bytes(4, "big") + b"free" + bytes(room - 8) + moved[first:])


@pytest.mark.slow
def test_recordings_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    folder, pool = tmp_path / "films", tmp_path / "pool"
    for name, seconds in (("A", 3), ("B", 5)):
        write_film_with_room(folder / name / "clip.mp4", seconds)
    prints = [take_fingerprint(path, path.stat().st_size) for path in sorted(folder.glob("?/*"))]
    assert prints[0].head == prints[1].head
    assert prints[0].content != prints[1].content
    assert run(folder / "A", pool).hands_new == 2  # the first frame is black
    assert run(folder / "B", pool).hands_new == 4  # though its name is the same and its beginning, too
    whole = run(folder, tmp_path / "other")
    assert (whole.hands_new, whole.findings.notes.get("the same recording again")) == (6, None)
    assert set(Pool.open(tmp_path / "other").videos.names) == {"A/clip", "B/clip"}


@pytest.mark.slow
def test_the_same_moment_from_two_places_is_told(tmp_path: Path) -> None:
    for number in (1, 2):
        write_picture(tmp_path / f"take{number}" / "rgb" / "7.png", 60 + number)
    one = run(tmp_path / "take1" / "rgb", tmp_path / "pool")
    assert "same video, side and frame twice" not in one.findings.notes
    two = run(tmp_path / "take2" / "rgb", tmp_path / "pool")
    note = two.findings.notes["same video, side and frame twice"]
    assert note.count == 1
    assert "video rgb, frame 7: " in note.first
    assert "take1/rgb/7.png and " in note.first
    assert two.findings.notes["all hands are of one video"].first == "rgb"
    apart = run(tmp_path, tmp_path / "pool", video_from=NameRule("path"))
    assert apart.hands_renamed == 2
    assert (
        not {"same video, side and frame twice", "all hands are of one video"} & apart.findings.notes.keys()
    )
