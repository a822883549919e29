"""Pictures in tars, and the samples of WebDataset."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from handsim import Pool, PoolWriter
from handsim.hand import format_hand_id
from handsim.ingest import Glob, IngestOptions, IngestReport, NameRule, ingest
from handsim.pool.export import ExportedHands
from handsim.pool.export.webdataset import write_webdataset
from handsim.pool.selection import Selection
from tests.handsim.builders import BrightnessDetector, add_hands, write_picture, write_pictures, write_video
from tests.handsim.test_tars import write_tar


def jpeg(level: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (64, 64), (level, level, level)).save(written, "JPEG")
    return written.getvalue()


def pack(folder: Path, tar: Path) -> Path:
    """The files of a folder as a tar, under their paths below it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return write_tar(tar, ((str(path.relative_to(folder)), path.read_bytes()) for path in files))


def run(path: Path, pool: Path, **options: object) -> IngestReport:
    return ingest([path], pool, BrightnessDetector, IngestOptions(**options), workers=1)  # type: ignore[arg-type]


def hand_ids(pool: Path) -> set[int]:
    return set(Pool.open(pool).hand_ids.tolist())


@pytest.mark.slow
def test_a_picture_is_the_same_hand_from_a_tar_as_from_a_folder(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "signs")
    write_picture(folder / "9.png", 99)
    (tmp_path / "tars").mkdir()
    pack(folder, tmp_path / "tars" / "signs.tar")
    run(folder, tmp_path / "a")
    report = run(tmp_path / "tars", tmp_path / "b")
    assert (report.pictures, report.hands_new, report.skipped) == (13, 13, [])
    assert hand_ids(tmp_path / "b") == hand_ids(tmp_path / "a")
    files = set(Pool.open(tmp_path / "b").read_files().values())
    assert {"tars/signs.tar/p1/2.png", "tars/signs.tar/9.png"} < files


@pytest.mark.slow
def test_what_was_done_of_a_tar_is_not_done_again_moved_grown_or_unpacked(tmp_path: Path) -> None:
    folder, pool = write_pictures(tmp_path / "signs"), tmp_path / "pool"
    tar = pack(folder, tmp_path / "signs.tar")
    shutil.rmtree(folder / "p0")
    assert run(tar, pool).done_now == 12
    again = run(tar, pool)
    assert (again.done_before, again.done_now) == (12, 0)
    write_picture(tmp_path / "new.png", 200)
    with tarfile.open(tar, "a") as grown:
        grown.add(tmp_path / "new.png", "p2/20.png")
    os.utime(tar, ns=(0, 1))
    again = run(tar, pool)
    assert (again.done_before, again.done_now) == (12, 1)
    moved = tar.rename(tmp_path / "other.tar")
    again = run(moved, pool)
    assert (again.done_before, again.done_now) == (13, 0)
    moved.unlink()
    again = run(folder, pool)
    assert (again.done_before, again.done_now) == (8, 0)
    # As with folders, a copy that lies beside the first is looked at, and gives the same hands.
    write_tar(tmp_path / "copy.tar", [("p1/0.png", (folder / "p1" / "0.png").read_bytes())])
    again = run(tmp_path / "copy.tar", pool)
    assert (again.done_now, again.hands_new) == (1, 0)


def test_rules_for_names_see_the_tar_as_a_folder(tmp_path: Path) -> None:
    names = ("p1/rgb/1.jpg", "p1/raw/2.jpg", "p2/rgb/3.jpg", "p2/rgb/3.png", ".hidden/4.jpg")
    tar = write_tar(tmp_path / "a.tar", ((name, jpeg(90 + at)) for at, name in enumerate(names)))
    rules = {"video_from": NameRule(r"a\.tar/(p\d)/"), "label_from": NameRule("stem")}
    report = run(tmp_path, tmp_path / "pool", exclude=(Glob("raw"),), include=(Glob("*.jpg"),), **rules)
    pool = Pool.open(tmp_path / "pool")
    assert set(zip(pool.videos.values(), pool.labels.values(), strict=True)) == {("p1", "1"), ("p2", "3")}
    notes = {what: note.count for what, note in report.findings.notes.items()}
    assert notes == {"left out by --exclude": 1, "left out by --include": 1, "hidden": 1}
    run(tmp_path, tmp_path / "all", include=(Glob("a.tar"),))
    assert len(Pool.open(tmp_path / "all")) == 4
    assert run(tar, tmp_path / "none", exclude=(Glob("a.tar/**"),)).pictures == 0


def test_sidecars_are_counted_once_and_a_class_is_the_label(tmp_path: Path) -> None:
    def samples() -> Iterator[tuple[str, bytes]]:
        for number in range(6):
            yield f"{number}.cls", str(number % 2).encode()
            yield f"{number}.seg.npy", b"\x93NUMPY" + bytes(90)
            yield f"{number}.jpg", jpeg(60 + 20 * number)
            yield f"{number}.json", b'{"id": 1, "keypoints": 5}'
            yield f"{number}.txt", b"a hand"
        yield "big.cls", bytes(500)
        yield "big.jpg", jpeg(200)

    write_tar(tmp_path / "000000.tar", samples())
    report = run(tmp_path, tmp_path / "pool")
    assert report.findings.notes["sidecars in tars"].count == 25
    assert report.skipped == []
    pool = Pool.open(tmp_path / "pool")
    assert sorted(pool.labels.values(), key=str) == ["0", "0", "0", "1", "1", "1", None]
    run(tmp_path, tmp_path / "named", label_from=NameRule("stem"))
    assert set(Pool.open(tmp_path / "named").labels.values()) == {*"012345", "big"}


def test_what_a_pool_exported_as_webdataset_comes_back_as_the_same_hands(tmp_path: Path) -> None:
    pool = Pool.open(add_hands(tmp_path / "pool", range(20)))
    hands = ExportedHands.select(pool, Selection())
    write_webdataset(tmp_path / "shards", hands, lambda done, of: None, fewest_shards=3)
    PoolWriter(tmp_path / "back").close()  # of the same crops
    report = run(tmp_path / "shards", tmp_path / "back", detector="another")
    assert (report.hands_new, report.skipped) == (20, [])
    back = Pool.open(tmp_path / "back")
    for hand in pool.hands(pool.rows(pool.hand_ids)):
        same = back.hand(hand.hand_id)
        assert (same.video, same.frame, same.side, same.label, same.file) == (
            hand.video,
            hand.frame,
            hand.side,
            hand.label,
            hand.file,
        )
        assert same.keypoints == pytest.approx(hand.keypoints, abs=1e-6)
        assert back.crop_jpeg(hand.hand_id) == pool.crop_jpeg(hand.hand_id)
    again = run(tmp_path / "shards", tmp_path / "back")
    assert (again.done_before, again.done_now) == (20, 0)


def test_what_cannot_be_used_of_a_tar_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    name = format_hand_id(5)
    video = write_video(tmp_path / "clip.mp4", seconds=1).read_bytes()
    nested = write_tar(tmp_path / "nested", [("1.jpg", jpeg(90))]).read_bytes()
    members = [
        ("1.jpg", jpeg(90)),
        ("clip.mp4", video),
        ("nested.tar", nested),
        ("empty.jpg", b""),
        ("readme", b"some text"),
        ("half.jpg", jpeg(90)[:300]),
        (f"{name}.jpg", jpeg(90)),
        (f"{name}.json", json.dumps({"id": name, "keypoints": [None] * 21}).encode()),
        ("last.jpg", jpeg(91)),
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    whole = write_tar(folder / "a.tar", members).read_bytes()
    (folder / "a.tar").write_bytes(whole[: len(whole.rstrip(b"\0")) - 99])
    (folder / "b.tar.gz").write_bytes(b"\x1f\x8b\x08" + bytes(99))
    (folder / "c.tar").write_bytes(b"\xff" + whole[1:])
    report = run(folder, tmp_path / "pool")
    assert report.hands_new == 1
    assert {skip.file.removeprefix("data/"): skip.reason for skip in report.skipped} == {
        "a.tar/clip.mp4": "video in a tar",
        "a.tar/nested.tar": "tar in a tar",
        "a.tar/empty.jpg": "empty file",
        "a.tar/readme": "not an image or video",
        "a.tar/half.jpg": "truncated image",
        f"a.tar/{name}.jpg": "bad annotation",
        "a.tar/last.jpg": "truncated tar",
        "b.tar.gz": "not an image or video",
        "c.tar": "not an image or video",
    }
    details = {skip.file: skip.detail for skip in report.skipped}
    assert "a gzip archive; unpack it" in details["data/b.tar.gz"]
    assert "first header is damaged" in details["data/c.tar"]
