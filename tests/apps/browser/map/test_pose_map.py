"""Maps, and their files: whole or absent, of just the hands they were made of, removed with the version."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.browser.map.pose_map import map_file, read_map_file, remove_obsolete, write_map_file
from handsim.errors import HandsimError, NotThereError
from index import VersionInfo
from index.info import DEFAULT_SETTINGS
from tests.apps.browser.builders import build_map

DAMAGED = "is not a map, or damaged; make the map again"


def build_info(name: str = "v0001", checksum: str = "3-0123456789abcdef") -> VersionInfo:
    created = "2026-01-01T00:00:00"
    return VersionInfo(
        name, 3, 14, "pose", "0" * 16, created, 1.0, DEFAULT_SETTINGS, checksum, None, None, True
    )


def test_a_hand_is_found_by_its_id() -> None:
    pose_map = build_map(np.zeros((4, 2)))
    rows = [pose_map.find_row(hand) for hand in (10, 40, 15, 5, 50, 2**63 - 1)]
    assert rows == [0, 3, None, None, None, None]
    assert build_map(np.zeros((0, 2))).find_row(10) is None


def test_the_drawing_order_is_random_and_always_the_same() -> None:
    pose_map = build_map(np.zeros((500, 2)))
    order = pose_map.drawing_order
    assert sorted(order.tolist()) == list(range(500))
    assert 150 < np.median(order[:50]) < 350  # its beginning is from all over
    np.testing.assert_array_equal(order, build_map(np.zeros((500, 2))).drawing_order)


def test_a_map_survives_its_file(tmp_path: Path) -> None:
    pose_map = build_map(
        np.array([[0, 0], [0.5, 1], [1, 0.25]]),
        videos=["a\0", "", "ü" * 300],
        labels=["x", None, "x"],
        distances=[0.25, np.nan, 3],
    )
    file = map_file(tmp_path / "maps", build_info())
    write_map_file(pose_map, file)
    read = read_map_file(file)
    assert read.matches(build_info())
    assert not read.matches(build_info(checksum="3-ffffffffffffffff"))
    assert not read.matches(build_info(name="v0002"))
    for name in ("hand_ids", "places", "distances"):
        np.testing.assert_array_equal(getattr(read, name), getattr(pose_map, name), strict=True)
    for name in ("sources", "videos", "labels"):
        assert getattr(read, name).values() == getattr(pose_map, name).values()
    assert read.hands_in_version == 3
    assert [path.name for path in file.parent.iterdir()] == ["v0001-3-0123456789abcdef.npz"]


def test_a_file_of_the_first_format_is_read(tmp_path: Path) -> None:
    about = {
        "format": 1,
        "version": "v0001",
        "checksum": "2-0123456789abcdef",
        "hands_in_version": 5,
        "names": {"sources": ["ego4d"], "videos": ["a", "b"], "labels": []},
    }
    file = tmp_path / "v0001-2-0123456789abcdef.npz"
    np.savez(
        file,
        about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        hand_ids=np.array([3, 9], np.uint64),
        places=np.array([[0, 0.5], [1, 0.5]], np.float32),
        distances=np.array([0.1, np.nan], np.float32),
        sources=np.array([0, 0], np.int32),
        videos=np.array([1, 0], np.int32),
        labels=np.array([-1, -1], np.int32),
    )
    read = read_map_file(file)
    assert (read.hands_in_version, read.videos.values(), read.labels.values()) == (
        5,
        ["b", "a"],
        [None, None],
    )


def test_an_absent_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="there is no map at"):
        read_map_file(tmp_path / "v0001.npz")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v0001.npz"
    write_map_file(build_map([[0, 0], [1, 1]]), file)
    whole = file.read_bytes()
    for damaged in (b"", b"PK\x03\x04", whole[:200], whole[: len(whole) // 2], b"\0" * 1000):
        file.write_bytes(damaged)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)
    for arrays in ({"hand_ids": np.arange(3)}, {"about": np.array([{"format": 1}], dtype=object)}):
        np.savez(file, **arrays)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    pose_map = build_map([[0, 0], [1, 1]])
    inconsistent = [
        replace(pose_map, hand_ids=pose_map.hand_ids[:1]),
        replace(pose_map, places=pose_map.places[:, :1]),
        replace(pose_map, places=pose_map.places * np.float32(np.nan)),
        replace(pose_map, distances=pose_map.distances[:, None]),
        replace(pose_map, videos=replace(pose_map.videos, names=("only one",))),
    ]
    for number, each in enumerate(inconsistent):
        file = tmp_path / f"v{number}.npz"
        write_map_file(each, file)
        with pytest.raises(HandsimError, match=DAMAGED):
            read_map_file(file)


def test_a_later_format_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v0001.npz"
    with monkeypatch.context() as later:
        later.setattr("apps.browser.map.pose_map._FORMAT", 2)
        write_map_file(build_map([[0, 0]]), file)
    with pytest.raises(HandsimError, match="is of another version of handsim"):
        read_map_file(file)


@pytest.mark.parametrize("name", ["../v0001", "", "a/b", ".hidden", "v 1"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(HandsimError, match="has other characters than letters"):
        map_file(tmp_path, build_info(name=name, checksum="/x"))


def test_maps_are_removed_with_their_versions(tmp_path: Path) -> None:
    current, older = build_info("v0002"), build_info("v0001")
    gone = build_info("v0002", "3-ffffffffffffffff")  # the same name, other hands
    for each in (current, older, gone):
        write_map_file(build_map([[0, 0]]), map_file(tmp_path, each))
    half_written = tmp_path / ".v0003-1-00.npz.4711"
    half_written.write_bytes(b"half")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    removed = remove_obsolete(tmp_path, [current, older])
    assert set(removed) == {map_file(tmp_path, gone), half_written}
    assert set(tmp_path.iterdir()) == {map_file(tmp_path, current), map_file(tmp_path, older), other}


def test_a_write_that_fails_leaves_the_earlier_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v0001.npz"
    write_map_file(build_map([[0, 0]]), file)
    content = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("handsim.files.sync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_map_file(build_map([[0, 0], [1, 1]]), file)
    assert file.read_bytes() == content
    assert list(tmp_path.iterdir()) == [file]
