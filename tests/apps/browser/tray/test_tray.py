"""The tray of a visitor: what is in it, what is undone, and what stays of it."""

import os
import time
from pathlib import Path

import pytest

from apps.browser.tray.tray import ListChange, Tray, Trays
from handsim.errors import NotThereError
from handsim.lists import HandLists

ANNA, BERT = "a" * 32, "b" * 32


@pytest.fixture
def lists(tmp_path: Path) -> HandLists:
    return HandLists(tmp_path / "lists")


def test_every_change_is_a_step_back(lists: HandLists) -> None:
    tray = Tray()
    tray.change([5, 3])
    tray.change([3])  # changes nothing
    tray.change([9, 5], remove=[3])
    assert tray.hand_ids.tolist() == [5, 9]
    assert tray.contains([3, 5, 7, 9]).tolist() == [False, True, False, True]
    tray.change(remove=tray.hand_ids)
    titles = [tray.undo_title]
    assert tray.undo(lists) == titles[0] == "taking off 2 hands"
    assert tray.hand_ids.tolist() == [5, 9]
    assert tray.undo(lists) == "choosing 1 hand and taking off 1 hand"
    assert tray.undo(lists) == "choosing 2 hands"
    assert len(tray) == 0
    assert tray.undo(lists) is None


def test_what_was_done_to_a_list_is_undone_too(lists: HandLists) -> None:
    tray = Tray()
    tray.remember("saving", ListChange("new", lists.create("new", [1, 2]).hand_ids, is_new=True))
    tray.remember("adding", ListChange("new", lists.add("new", [2, 3]), is_new=False))
    tray.remember("taking off", ListChange("new", lists.remove("new", [1, 7]), is_new=False, is_removal=True))
    tray.undo(lists)
    assert sorted(lists.read("new").hand_ids.tolist()) == [1, 2, 3]
    tray.undo(lists)
    assert sorted(lists.read("new").hand_ids.tolist()) == [1, 2]
    lists.add("new", [8])  # somebody else did, so the list stays
    tray.undo(lists)
    assert lists.read("new").hand_ids.tolist() == [8]
    tray.remember("adding", ListChange("gone", lists.create("gone", [1]).hand_ids, is_new=True))
    lists.delete("gone")
    with pytest.raises(NotThereError, match="no list 'gone'"):
        tray.undo(lists)
    assert tray.undo_title is None


def test_trays_outlast_the_server_but_not_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "trays"
    Trays(folder).of(ANNA).change([2, 1])
    trays = Trays(folder)
    assert trays.of(ANNA).hand_ids.tolist() == [2, 1]
    assert trays.of(ANNA) is trays.of(ANNA)
    assert len(trays.of(BERT)) == 0
    long_ago = time.time() - 100 * 86_400
    os.utime(folder / f"{ANNA}.npy", (long_ago, long_ago))
    assert len(Trays(folder).of(ANNA)) == 0


def test_a_home_that_is_only_read_has_trays_and_no_files(tmp_path: Path) -> None:
    trays = Trays(None)
    trays.of(ANNA).change([1])
    assert len(trays.of(ANNA)) == 1
    assert not [*tmp_path.iterdir()]
    (tmp_path / "file").touch()
    unwritable = Trays(tmp_path / "file" / "trays")
    unwritable.of(ANNA).change([1])
    assert len(unwritable.of(ANNA)) == 1
