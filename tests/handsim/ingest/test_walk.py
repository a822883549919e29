"""Which files are found below the folders that are named, and what they are called."""

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from handsim import Pool
from handsim.errors import HandsimError
from handsim.ingest import Glob, IngestOptions, NameRule, ingest
from handsim.ingest.origins import Place, find_origin, readable
from handsim.ingest.report import Findings
from handsim.ingest.walk import walk
from tests.handsim.builders import BrightnessDetector, write_picture, write_video


def files_of(paths: Iterable[Path], **options: object) -> tuple[list[str], Findings]:
    findings = Findings()
    places = walk(list(paths), replace(IngestOptions(), **options), findings)  # type: ignore[arg-type]
    return [str(place.file) for _, place in places], findings


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_linked_folders_are_walked_once_after_the_real_ones_and_circles_are_counted(tmp_path: Path) -> None:
    touch(tmp_path / "root" / "z" / "1.png", tmp_path / "elsewhere" / "2.png")
    for name, target in (("a", "z"), ("back", "."), ("up", ".."), ("out", "../elsewhere"), ("ring", "ring")):
        (tmp_path / "root" / name).symlink_to(target)
    (tmp_path / "elsewhere" / "home").symlink_to("../root")
    files, findings = files_of([tmp_path / "root"])
    assert files == ["root/ring", "root/z/1.png", "root/out/2.png"]
    assert findings.notes["folder met again"].count == 4
    assert findings.notes["folder met again"].first == "root/back"


def test_hidden_files_homes_and_what_globs_leave_out_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(*(root / name for name in (".DS_Store", ".git/x", "a/1.jpg", "a/raw/2.jpg", "b/3.png", "b/4.jpg")))
    touch(root / "home" / "pool" / "pool.json", root / "home" / "runs" / "figure.jpg")
    files, findings = files_of([root], exclude=(Glob("raw"), Glob("b/[!3].*")), include=(Glob("*.jpg"),))
    assert files == ["root/a/1.jpg"]
    assert {name: (note.count, note.first) for name, note in findings.notes.items()} == {
        "hidden": (2, "root/.DS_Store"),
        "handsim's own folder": (1, "root/home"),
        "left out by --exclude": (2, "root/a/raw"),
        "left out by --include": (1, "root/b/3.png"),
    }
    # A home that is given by name may hold pictures beside what is handsim's own.
    touch(root / "home" / "photos" / "5.jpg")
    assert files_of([root / "home"])[0] == ["home/photos/5.jpg"]


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.png", "a/b/1.png", True),
        ("*.png", "a/b.png/1.jpg", False),
        ("take?/rgb/**", "take1/rgb/x/1.jpg", True),
        ("take?/rgb/**", "take12/rgb/1.jpg", False),
        ("**/rgb/*", "rgb/1.jpg", True),
        ("**/rgb/*", "a/b/rgb/1.jpg", True),
        ("a/*", "a/b/1.jpg", False),
        ("a/**/1.jpg", "a/1.jpg", True),
        ("[!a-c]*", "d.jpg", True),
        ("[!a-c]*", "a.jpg", False),
        ("raw/", "a/raw", True),
        ("a+(b).jpg", "a+(b).jpg", True),
    ],
)
def test_globs_match_paths_below_the_folder(pattern: str, path: str, matches: bool) -> None:
    assert Glob(pattern).matches(PurePosixPath(path)) is matches


def test_a_glob_that_can_match_nothing_is_refused() -> None:
    for pattern in ("", "/", "[z-a]"):
        with pytest.raises(HandsimError, match="no pattern of paths"):
            Glob(pattern)


def test_a_folder_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    touch(tmp_path / "root" / "1.png")
    (tmp_path / "root" / "gone").mkdir()
    findings = Findings()
    found = walk([tmp_path / "root"], IngestOptions(), findings)
    next(found)
    (tmp_path / "root" / "gone").rmdir()
    assert list(found) == []
    assert [(skip.file, skip.reason) for skip in findings.skipped] == [("root/gone", "unreadable")]


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("path", "p118/rgb"),
        ("parent", "rgb"),
        ("stem", "7_b"),
        (r"p(\d+)", "118"),
        (r"s\w+s", "signs"),
        ("x", None),
    ],
)
def test_names_are_read_off_the_path(rule: str, name: str | None) -> None:
    assert NameRule(rule).name(Place("signs", PurePosixPath("p118/rgb/7_b.jpg"))) == name


def test_a_recording_is_the_path_below_the_folder_given(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("take1/rgb/1.jpg", "take2/rgb/1.jpg", "3.jpg", "take2/clip.v2.mp4")))

    def videos(*roots: Path) -> list[str]:
        found = walk(roots, IngestOptions(), Findings())
        places = [replace(place, is_recording=place.below.suffix == ".mp4") for _, place in found]
        return [find_origin(place, IngestOptions()).video for place in places]

    assert videos(tmp_path) == [tmp_path.name, "take1/rgb", "take2/clip.v2", "take2/rgb"]
    assert videos(tmp_path / "take1") == ["rgb"]
    assert videos(tmp_path / "take1" / "rgb") == ["rgb"]
    assert videos(tmp_path / "take1" / "rgb", tmp_path / "take2" / "rgb") == ["take1/rgb", "take2/rgb"]
    assert videos(tmp_path / "take2" / "clip.v2.mp4") == ["clip.v2"]


@pytest.mark.slow
def test_any_bytes_may_be_a_name(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "r") + b"\xff"
    os.makedirs(root + b"/take\xe9")
    for number, name in enumerate(
        (b"caf\xe9.png", b"a\nb\x1b[2J.png", "\u202e\u65e5.png".encode(), b"-x.png")
    ):
        write_picture(tmp_path / "1.png", 60 + 40 * number)
        os.replace(tmp_path / "1.png", root + b"/take\xe9/" + name)
    with open(root + b"/bad\xe9.txt", "w") as file:
        file.write("x")
    write_video(tmp_path / "v.mkv", seconds=2)
    os.replace(tmp_path / "v.mkv", root + b"/v\xe9.mkv")
    report = ingest([Path(os.fsdecode(root))], tmp_path / "pool", BrightnessDetector, workers=1)
    pool = Pool.open(tmp_path / "pool")
    assert set(pool.videos.names) == {r"take\xe9", r"v\xe9"}
    hand = next(hand for hand in map(pool.hand, pool.hand_ids.tolist()) if "caf" in hand.file)
    assert (hand.file, hand.frame) == (r"r\xff/take\xe9/caf\xe9.png", 0)
    assert [skip.file for skip in report.skipped if skip.reason != "no hand"] == [r"r\xff/bad\xe9.txt"]
    report.save(tmp_path / "report.json")
    again = ingest([Path(os.fsdecode(root))], tmp_path / "pool", BrightnessDetector, workers=1)
    assert (again.done_now, again.hands_in_pool) == (0, len(pool))


def test_half_of_a_character_can_be_stored() -> None:
    assert readable("\ud83d.jpg") == r"\ud83d.jpg"
