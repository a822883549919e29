"""Named lists of hands: what is kept, under which names, and with several writers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.lists import HandLists

_content = '{"format": 1, "note": "", "changed_at": "", "hands": [IDS]}'


@pytest.fixture
def lists(tmp_path: Path) -> HandLists:
    return HandLists(tmp_path / "lists")


def test_a_list_keeps_each_hand_once_in_the_order_of_adding(lists: HandLists) -> None:
    assert lists.names() == []
    lists.create("fists", [7, 2**63 - 1, 7, 3], "  thumb\n inside ")
    assert lists.read("fists").note == "thumb inside"
    assert lists.add("fists", [3, 9, 9]).tolist() == [9]
    assert lists.read("fists").hand_ids.tolist() == [7, 2**63 - 1, 3, 9]
    assert lists.remove("fists", [1, 3, 7]).tolist() == [7, 3]
    assert lists.read("fists").hand_ids.tolist() == [2**63 - 1, 9]
    assert lists.read("fists").note == "thumb inside"
    lists.remove("fists", [2**63 - 1, 9])
    assert len(lists.read("fists")) == 0


def test_lists_are_renamed_and_deleted(lists: HandLists) -> None:
    lists.create("a", [1])
    lists.create("größe.2", [2])
    lists.rename("a", "b")
    assert lists.names() == ["b", "größe.2"]
    with pytest.raises(HandsimError, match="there is a list 'größe"):
        lists.rename("b", "größe.2")
    with pytest.raises(HandsimError, match="there is a list 'b' already"):
        lists.create("b", [3])
    assert lists.delete("b").hand_ids.tolist() == [1]
    with pytest.raises(NotThereError, match="no list 'b'; there are größe"):
        lists.delete("b")


@pytest.mark.parametrize(
    "name", ["", ".hidden", "../pool", "a/b", "-x", "two words", "x" * 61, "a\n", "\0", "Null"]
)
def test_a_name_cannot_lead_out_of_the_folder(lists: HandLists, name: str) -> None:
    for call in (lists.read, lists.delete, lambda each: lists.create(each, [1])):
        with pytest.raises(HandsimError, match="a list cannot be named"):
            call(name)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": 2}', *(_content.replace("IDS", ids) for ids in ('"12"', f'"{"f" * 16}"', "7"))],
)
def test_a_damaged_file_is_named(lists: HandLists, text: str) -> None:
    lists.create("a", [1])
    (lists.folder / "a.json").write_text(text)
    with pytest.raises(HandsimError, match=r"a\.json cannot be read as a list of hands"):
        lists.read("a")


def test_writers_at_the_same_time_lose_nothing(lists: HandLists) -> None:
    lists.create("shared", [0])
    code = """
import sys; from pathlib import Path; from handsim.lists import HandLists
lists, first = HandLists(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 40):
    lists.add("shared", [number])
"""
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(lists.folder), str(first)]) for first in (1, 41, 81)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(lists.read("shared").hand_ids.tolist()) == [*range(121)]
    assert {file.name for file in lists.folder.iterdir()} == {".lock", "shared.json"}


def test_a_hundred_thousand_hands_are_read_as_they_were_written(lists: HandLists) -> None:
    hand_ids = np.random.default_rng(0).integers(0, 2**63, 100_000, dtype=np.uint64)
    lists.create("large", hand_ids)
    np.testing.assert_array_equal(lists.read("large").hand_ids, hand_ids)
