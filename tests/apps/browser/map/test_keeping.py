"""Maps as files: whole or not there, of just the hands they were made of, removed with the version."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apps.browser.map.pose_map import load_map, map_file, remove_obsolete, save_map
from handsim.errors import HandsimError, NotThereError
from index import VersionInfo
from index.info import DEFAULT_SETTINGS
from tests.apps.browser.map.some_maps import a_map


def info(name: str = "v0001", checksum: str = "3-0123456789abcdef") -> VersionInfo:
    return VersionInfo(
        name,
        3,
        14,
        "pose",
        "0" * 16,
        "2026-01-01T00:00:00",
        1.0,
        DEFAULT_SETTINGS,
        checksum,
        None,
        None,
        True,
    )


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    made = a_map(
        np.array([[0, 0], [0.5, 1], [1, 0.25]]),
        videos=["a\0", "", "ü" * 300],
        labels=["x", None, "x"],
        distances=[0.25, np.nan, 3],
    )
    file = map_file(tmp_path / "maps", info())
    save_map(made, file)
    kept = load_map(file)
    assert kept.is_of(info())
    assert not kept.is_of(info(checksum="3-ffffffffffffffff"))
    assert not kept.is_of(info(name="v0002"))
    for name in ("hand_ids", "places", "distances"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(made, name), strict=True)
    for name in ("sources", "videos", "labels"):
        assert getattr(kept, name).values() == getattr(made, name).values()
    assert kept.hands_in_version == 3
    assert [path.name for path in file.parent.iterdir()] == ["v0001-3-0123456789abcdef.npz"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="there is no map at"):
        load_map(tmp_path / "v0001.npz")


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v0001.npz"
    save_map(a_map([[0, 0], [1, 1]]), file)
    whole = file.read_bytes()
    for damaged in (b"", b"PK\x03\x04", whole[:200], whole[: len(whole) // 2], b"\0" * 1000):
        file.write_bytes(damaged)
        with pytest.raises(HandsimError, match="is no map, or a damaged one; make it anew"):
            load_map(file)
    np.savez(file, hand_ids=np.arange(3))
    with pytest.raises(HandsimError, match="is no map"):
        load_map(file)
    np.savez(file, about=np.array([{"format": 1}], dtype=object))
    with pytest.raises(HandsimError, match="is no map"):
        load_map(file)


def test_arrays_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    made = a_map([[0, 0], [1, 1]])
    wrong = [
        replace(made, hand_ids=made.hand_ids[:1]),
        replace(made, places=made.places[:, :1]),
        replace(made, places=made.places * np.float32(np.nan)),
        replace(made, distances=made.distances[:, None]),
        replace(made, videos=replace(made.videos, names=("only one",))),
    ]
    for number, each in enumerate(wrong):
        file = tmp_path / f"v{number}.npz"
        save_map(each, file)
        with pytest.raises(HandsimError, match="is no map"):
            load_map(file)


def test_a_later_format_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v0001.npz"
    with monkeypatch.context() as later:
        later.setattr("apps.browser.map.pose_map._FORMAT", 2)
        save_map(a_map([[0, 0]]), file)
    with pytest.raises(HandsimError, match="is of another version of handsim"):
        load_map(file)


@pytest.mark.parametrize("name", ["../v0001", "", "a/b", ".hidden", "v 1"])
def test_names_do_not_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(HandsimError, match="bears no plain name"):
        map_file(tmp_path, info(name=name, checksum="/x"))


def test_maps_go_with_their_versions(tmp_path: Path) -> None:
    current, older = info("v0002"), info("v0001")
    gone = info("v0002", "3-ffffffffffffffff")  # the same name, other hands
    for each in (current, older, gone):
        save_map(a_map([[0, 0]]), map_file(tmp_path, each))
    leftover = tmp_path / ".v0003-1-00.npz.4711"
    leftover.write_bytes(b"half")
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    removed = remove_obsolete(tmp_path, [current, older])
    assert set(removed) == {map_file(tmp_path, gone), leftover}
    assert set(tmp_path.iterdir()) == {map_file(tmp_path, current), map_file(tmp_path, older), other}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "v0001.npz"
    save_map(a_map([[0, 0]]), file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("apps.browser.map.pose_map.sync", full)
    with pytest.raises(OSError, match="No space left"):
        save_map(a_map([[0, 0], [1, 1]]), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
