"""``handsim pool remove, restore, compact, relabel, merge``, and queries of an index that is older."""

import resource
from pathlib import Path

import pytest

from apps.cli import main
from handsim import Pool
from handsim.hand import format_hand_id
from handsim.pool.layout import count_hands
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused
from tests.handsim.builders import add_hands, make_hand

IDS = [format_hand_id(make_hand(number).hand_id) for number in range(12)]


@pytest.fixture
def small_home(tmp_path: Path) -> Path:
    """Twelve hands of the videos v0, v1 and v2."""
    add_hands(tmp_path / "home" / "pool", range(12), part_hands=5)
    return tmp_path / "home"


def test_hands_are_removed_restored_and_deleted(small_home: Path, tmp_path: Path, capsys: Capture) -> None:
    at = ("--home", small_home)
    assert "without a condition all hands would go" in run_refused(capsys, "pool", "remove", *at)
    dry = run_ok(capsys, "pool", "remove", "--video", "v1", "--side", "left", "--dry-run", *at)
    assert dry == "2 of 12 hands would be removed\n"
    assert count_hands(small_home / "pool") == 12
    told = run_ok(capsys, "pool", "remove", "--video", "v1", "--side", "left", *at)
    assert told.startswith("2 hands removed; the pool holds 10\n`handsim pool restore` takes it back")
    (tmp_path / "ids.txt").write_text("\n".join(IDS[5:8]))  # of which 6 was removed just now
    ids = ("--ids", tmp_path / "ids.txt")
    assert "2 hands removed; the pool holds 8\n" in run_ok(capsys, "pool", "remove", *ids, *at)
    assert run_ok(capsys, "pool", "remove", *ids, *at) == "0 hands removed; the pool holds 8\n"
    unknown = run_refused(capsys, "pool", "remove", "--ids", "0123456789abcdef", *at)
    assert "not in" in unknown
    assert "0123456789abcdef" in unknown
    assert "was not removed" in run_refused(capsys, "pool", "restore", "--ids", IDS[0], *at)
    assert run_ok(capsys, "pool", "restore", "--ids", IDS[5], *at).startswith("1 hand restored; ")
    assert run_ok(capsys, "pool", "compact", *at) == "3 removed hands deleted: 0.0 MB in 1 part\n"
    told = run_ok(capsys, "pool", "restore", "--all", *at)
    assert told.startswith("0 hands restored\n3 hands may be added again, but")
    assert count_hands(small_home / "pool") == 9


def test_a_query_says_which_hands_were_removed_since(own_home: Path, tmp_path: Path, capsys: Capture) -> None:
    question = ("query", "--hand", pick_hand(own_home), "-k", "3", "--home", own_home)
    found = [hand["hand_id"] for hand in run_json(capsys, *question)[0]["neighbors"]]
    run_ok(capsys, "pool", "remove", "--like", pick_hand(own_home), "-k", "2", "--home", own_home)
    assert main([*map(str, question), "--montage", str(tmp_path / "answer.png")]) == 0
    told = capsys.readouterr()
    assert all(hand in told.out for hand in found)
    assert told.err.startswith("2 of these hands were removed from the pool since (first: ")
    assert main(["query", "--list", "-k", "60", "--home", str(own_home)]) == 0
    assert "2 of these hands were removed" in capsys.readouterr().err
    assert len(Pool.open(own_home / "pool")) == 58


def test_a_disk_that_takes_no_more_is_one_line_and_nothing_is_left_behind(
    small_home: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    opened = Pool.open(small_home / "pool")
    for words in (
        ("relabel", "--label-from", "stem"),
        ("merge", tmp_path / "more"),
        ("export", "--format", "parquet", "--out", tmp_path / "hands.parquet"),
    ):
        add_hands(tmp_path / "more" / "pool", range(10, 14))
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
        try:
            refused = run_refused(capsys, "pool", *words, "--home", small_home)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "File too large; use a disk that takes larger files, and run it again" in refused
    assert opened.is_current()
    assert {path.name for path in tmp_path.iterdir()} == {"home", "more"}
    assert not list((small_home / "pool").rglob("*.writing"))


def test_names_come_from_files_words_or_a_table(small_home: Path, tmp_path: Path, capsys: Capture) -> None:
    def names(column: str) -> list[str | None]:
        values: list[str | None] = getattr(Pool.open(small_home / "pool"), column).values()
        return values

    def relabel(*options: str | Path) -> str:
        return run_ok(capsys, "pool", "relabel", *options, "--home", small_home)

    before = names("videos")
    options = ("--video-from", r"photos/(1\d)\.jpg", "--label-from", "stem")
    assert relabel(*options, "--dry-run") == (
        "10 hands are left as before: 'photos/(1\\\\d)\\\\.jpg' gives no name for photos/0.jpg\n"
        "12 hands would change: 2 videos, 12 labels\n"
    )
    assert names("videos") == before
    assert "12 hands changed: 2 videos, 12 labels\n" in relabel(*options)
    assert names("videos") == [*before[:10], "10", "11"]
    assert names("labels") == [str(number) for number in range(12)]
    relabel("--video", "v0", "--side", "left", "--set-video", "take", "--no-label")
    assert names("videos")[:5] == ["take", "v0", "v0", "take", "v0"]
    assert names("labels")[:5] == [None, "1", "2", None, "4"]
    (tmp_path / "names.csv").write_text(f"id,label,video\n{IDS[1]},fist,\n{IDS[2]},,other\n")
    assert "2 hands changed: 1 video, 2 labels\n" in relabel("--csv", tmp_path / "names.csv")
    assert (names("videos")[1:3], names("labels")[1:3]) == (["v0", "other"], ["fist", None])
    assert "0 hands changed" in relabel("--csv", tmp_path / "names.csv")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("hand,label\n", "has the columns hand, label; give id, and video, label or side"),
        ("", "has the columns none"),
        ("id,label\nxyz,fist\n", "line 2: hand id 'xyz' is not 16 hex digits"),
        (f"id,label\n{IDS[0]},a\n{IDS[0]},b\n", f"line 3: hand {IDS[0]} comes twice"),
        ("id,label\n0123456789abcdef,fist\n", "no hand 0123456789abcdef"),
        (
            f"id,side\n{IDS[0]},\n{IDS[1]},Left\n",
            "line 3: side 'Left' is neither left nor right; mend the line",
        ),
        (f"id,label\n{IDS[0]},a\n{IDS[1]}", "line 3 has not as many values as the heading"),
        ('id,label\n"', "cannot be read as CSV"),
    ],
)
def test_a_table_that_cannot_be_used_changes_nothing(
    small_home: Path, tmp_path: Path, capsys: Capture, table: str, message: str
) -> None:
    (tmp_path / "names.csv").write_text(table)
    opened = Pool.open(small_home / "pool")
    refused = run_refused(capsys, "pool", "relabel", "--csv", tmp_path / "names.csv", "--home", small_home)
    assert message in refused
    assert opened.is_current()


def test_names_that_are_not_clear_are_refused(small_home: Path, capsys: Capture) -> None:
    for options, message in (
        ((), "give new names or a side by --csv or by other options"),
        (("--csv", "x.csv", "--no-label"), "give new names or a side by --csv or by other options"),
        (("--csv", "x.csv", "--video", "v0"), "--csv names the hands itself"),
        (("--set-video", "all"), "one name or side for all hands of the pool is not meant"),
        (("--set-side", "left"), "one name or side for all hands of the pool is not meant"),
    ):
        assert message in run_refused(capsys, "pool", "relabel", *options, "--home", small_home)
    with pytest.raises(SystemExit, match="2"):
        main(["pool", "relabel", "--video-from", "("])
    assert "'(' is neither 'path' nor 'parent' nor 'stem' nor a regular" in capsys.readouterr().err


def test_homes_are_merged(small_home: Path, tmp_path: Path, capsys: Capture) -> None:
    add_hands(tmp_path / "more" / "pool", range(10, 14))
    run_ok(
        capsys, "pool", "remove", "--ids", format_hand_id(make_hand(13).hand_id), "--home", tmp_path / "more"
    )
    merge = ("pool", "merge", tmp_path / "more", "--home", small_home)
    line = f"{tmp_path / 'more'}: 1 hand would be added, 2 in both pools\n"
    assert run_ok(capsys, *merge, "--dry-run") == line
    told = run_ok(capsys, *merge, "--prefix-videos")
    added = f"the pool holds 13 hands; next: handsim index add --home {small_home}\n"
    assert told == line.replace("would be ", "") + added
    assert "there is no pool at" in run_refused(
        capsys, "pool", "merge", tmp_path / "none", "--home", small_home
    )
    both = ("pool", "merge", small_home, tmp_path / "more", "--home", tmp_path / "new")
    run_ok(capsys, *both, "--dry-run")
    assert not (tmp_path / "new").exists()
    added = f"the pool holds 13 hands; next: handsim index add --home {tmp_path / 'new'}\n"
    assert run_ok(capsys, *both).endswith(added)
    assert run_ok(capsys, *both).endswith("the pool holds 13 hands\n")
