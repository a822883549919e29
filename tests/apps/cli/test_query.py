"""``handsim query``: every kind of question, conditions, hands without a search, and what it refuses.

That answers are the nearest hands is shown in tests/index/test_contract.py.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from handsim import Pool
from handsim.hand import format_hand_id
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused
from tests.handsim.builders import write_video

Words = tuple[str | Path, ...]


def distances(answer: Any) -> list[float]:
    return [found["distance"] for found in answer[0]["neighbors"]]


def test_a_hand_is_answered_with_its_neighbours(home: Path, capsys: Capture) -> None:
    hand = pick_hand(home)
    question: Words = ("query", "--hand", hand, "--home", home)
    (answer,) = run_json(capsys, *question, "-k", "4", "--other-video")
    assert answer["query"]["hand_id"] == hand
    assert [found["rank"] for found in answer["neighbors"]] == [1, 2, 3, 4]
    assert answer["query"]["video"] not in {found["video"] for found in answer["neighbors"]}
    assert distances([answer]) == sorted(distances([answer]))
    one_each = run_json(capsys, *question, "-k", "8", "--one-per-video")
    assert len({found["video"] for found in one_each[0]["neighbors"]}) == 8
    assert distances(run_json(capsys, *question, "--exact")) == distances(run_json(capsys, *question))


def test_keypoints_of_a_hand_find_that_hand(home: Path, tmp_path: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    pixels = pool.keypoints[:2, :, :2] * 640 + 100  # any unit will do
    np.save(tmp_path / "two.npy", pixels)
    answers = run_json(capsys, "query", "--keypoints", tmp_path / "two.npy", "-k", "1", "--home", home)
    expected = [format_hand_id(int(hand_id)) for hand_id in pool.hand_ids[:2]]
    assert [answer["neighbors"][0]["hand_id"] for answer in answers] == expected
    (tmp_path / "left.json").write_text(json.dumps((pixels[0] * [-1, 1]).tolist()))  # mirrored
    left = run_json(capsys, "query", "--keypoints", tmp_path / "left.json", "--left", "--home", home)
    assert left[0]["neighbors"][0]["hand_id"] == expected[0]


def test_more_like_these_and_less_like_those(home: Path, tmp_path: Path, capsys: Capture) -> None:
    like, unlike = [pick_hand(home, row) for row in (0, 7, 30)], [pick_hand(home, row) for row in (12, 45)]
    question: Words = ("query", "--like", *like, "--unlike", *unlike, "-k", "6", "--home", home)
    (answer,) = run_json(capsys, *question, "--other-video")
    assert answer["query"] == {"like": like, "unlike": unlike}
    pool = Pool.open(home / "pool")
    videos = {pool.videos[int(pool.rows(int(hand, 16))[0])] for hand in like}
    assert len(answer["neighbors"]) == 6
    assert not {hand["video"] for hand in answer["neighbors"]} & videos
    text = run_ok(capsys, *question, "--montage", tmp_path / "like.png")
    assert text.startswith(f"like 3 hands, unlike 2, first: {like[0]}\nrank  hand ")
    with Image.open(tmp_path / "like.png") as image:
        assert image.width > 7 * 100
        assert np.asarray(image.convert("L")).std() > 20


def test_bands_and_diversity(home: Path, capsys: Capture) -> None:
    question = ("query", "--hand", pick_hand(home), "--home", home)
    everything = distances(run_json(capsys, *question, "-k", "60"))
    low, high = everything[20], everything[40]
    band = run_json(capsys, *question, "-k", "10", "--min-distance", str(low), "--max-distance", str(high))
    assert distances(band) == pytest.approx(everything[20:30])
    text = run_ok(capsys, *question, "--min-distance", str(everything[-1] + 1))
    assert text.endswith("\n  no hand of the index meets these conditions\n")
    spread = run_json(capsys, *question, "-k", "5", "--diversity", "0.8")
    assert sum(distances(spread)) > sum(everything[:5])


def test_only_hands_of_a_kind(home: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    videos = [str(pool.videos[0]), str(pool.videos[-1])]
    for wanted, key, admitted in (
        (("--side", "left"), "side", {"left"}),
        (("--label", "fist", "--label", "rest"), "label", {"fist", "rest"}),
        (("--video", videos[0], "--video", videos[1]), "video", {*videos}),
        (("--source", "synthetic"), "source", {"synthetic"}),
    ):
        answer = run_json(capsys, "query", "--hand", pick_hand(home), *wanted, "-k", "20", "--home", home)
        assert {found[key] for found in answer[0]["neighbors"]} == admitted
        hands = run_json(capsys, "query", "--random", *wanted, "-k", "60", "--home", home)
        assert {hand[key] for hand in hands} == admitted
    sure = run_json(capsys, "query", "--random", "--min-score", "1", "--home", home)
    assert all(hand["score"] == 1 for hand in sure)


@pytest.mark.parametrize(
    "words",
    [
        ("query", "--hand", "HAND"),
        ("query", "--random"),
        ("query", "--list"),
        ("pool", "export", "--format", "parquet", "--out", "hands.parquet"),
        ("pool", "export", "--like", "HAND", "--format", "parquet", "--out", "hands.parquet"),
        ("pool", "remove"),
        ("pool", "relabel", "--set-label", "x"),
    ],
)
@pytest.mark.parametrize("option", ["--source", "--video", "--label"])
def test_a_name_that_no_hand_has_is_refused_and_what_there_is_told(
    home: Path, capsys: Capture, words: Sequence[str], option: str
) -> None:
    pool = Pool.open(home / "pool")
    known = {"--source": pool.sources, "--video": pool.videos, "--label": pool.labels}[option].names
    named = [pick_hand(home) if word == "HAND" else word for word in words]
    for names in ([option, "nosuch"], [option, known[0], option, "nosuch"]):
        line = run_refused(capsys, *named, *names, "--home", home)
        assert line.startswith(f"handsim: no {option[2:]} 'nosuch' in ")
        there_is = re.fullmatch(r".*; there (?:is|are) (.*?)(?: and [0-9]+ more)?\n", line)
        assert there_is
        assert {*there_is[1].split(", ")} <= {*known}


def test_random_hands_are_others_each_time(home: Path, capsys: Capture) -> None:
    random = ("query", "--random", "-k", "25", "--home", home)
    first, second = ({hand["hand_id"] for hand in run_json(capsys, *random)} for _ in range(2))
    assert len(first) == 25
    assert first != second
    assert len(run_json(capsys, "query", "--random", "--home", home)) == 10


def test_a_list_goes_through_all_hands_by_rising_id(home: Path, capsys: Capture) -> None:
    found: list[str] = []
    after: Words = ()
    while page := run_json(capsys, "query", "--list", "-k", "25", *after, "--home", home):
        found += [hand["hand_id"] for hand in page]
        after = ("--after", found[-1])
    pool = Pool.open(home / "pool")
    assert found == [format_hand_id(hand_id) for hand_id in sorted(pool.hand_ids.tolist())]
    table = run_ok(capsys, "query", "--list", "-k", "2", "--home", home).splitlines()
    assert re.split(r"  +", table[0]) == ["hand", "video", "side", "source", "label", "score"]
    assert [line.split()[0] for line in table[1:]] == found[:2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hand", "HAND", "--unlike", "HAND"), "--unlike goes with --like"),
        (("--hand", "HAND", "--after", "HAND"), "--after goes with --list"),
        (("--random", "--left"), "--left goes with --keypoints"),
        (("--random", "--other-video"), "--other-video goes with --hand or --like"),
        (("--hand", "HAND", "--montage", "x.csv"), "--montage x.csv does not end in .png"),
        (("--random", "--montage", "x.png"), "--montage is about likeness; leave it out with --random"),
        (("--list", "--diversity", "0.5"), "--diversity is about likeness; leave it out with --random"),
        (("--list", "--min-distance", "1"), "--min-distance is about likeness"),
        (("--random", "--max-distance", "0"), "--max-distance is about likeness"),
        (("--list", "--one-per-video"), "--one-per-video is about likeness"),
        (("--random", "--exact"), "--exact is about likeness"),
        (("--list", "--ef", "10"), "--ef is about likeness"),
        ((), "what to search for? Give an image, --hand"),
        (("--random", "--list"), "--list goes with --random or a search only if it names a list"),
        (("--random", "--list", "fists"), "no list 'fists': there is none in "),
        (("--random", "-k", "0"), "k is 0; ask for at least 1 hand"),
        (("--hand", "HAND", "-k", "61"), "k is 61"),
        (("--hand", "0000000000000001"), "no hand 0000000000000001 in index version v0001"),
        (("--like", "HAND", "--unlike", "seven"), "hand id 'seven' is not 16 hex digits"),
        (("--hand", "HAND", "--diversity", "2"), "diversity is 2.0; it lies between 0 and 1"),
        (("--hand", "HAND", "--min-score", "2"), "min_score is 2.0; it lies between 0 and 1"),
        (("nowhere.jpg",), "nowhere.jpg does not exist; give"),
        (("text.jpg",), "not an image"),
    ],
)
def test_bad_questions_are_one_line(
    home: Path, tmp_path: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    given = {"HAND": pick_hand(home), "text.jpg": str(tmp_path / "text.jpg")}
    words = [given.get(word, word) for word in arguments]
    assert message in run_refused(capsys, "query", *words, "--home", home)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([[float("nan"), 1.0]] * 21, "NaN or infinity (first at joint 0)"),
        ([[0.0, 1.0]] * 20, "holds an array [20, 2]; expected [21, 2 or 3]"),
        ([[0.5, 0.5]] * 21, "x1 > x0"),
        ("hello", "cannot be read as keypoints"),
    ],
)
def test_files_without_the_keypoints_of_a_hand_are_refused(
    home: Path, tmp_path: Path, capsys: Capture, content: Any, message: str
) -> None:
    (tmp_path / "hand.json").write_text(json.dumps(content))
    assert message in run_refused(capsys, "query", "--keypoints", tmp_path / "hand.json", "--home", home)


@pytest.mark.parametrize("subject", [("--hand", "1", "--random"), ("--like",), ("picture.jpg", "--random")])
def test_a_question_is_about_one_thing(home: Path, subject: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["query", *subject, "--home", str(home)])


def test_a_video_is_no_image_to_query(home: Path, tmp_path: Path, capsys: Capture) -> None:
    video = write_video(tmp_path / "hand.mp4", seconds=1).rename(tmp_path / "hand.jpg")
    line = run_refused(capsys, "query", video, "--home", home)
    assert line == f"handsim: {video} is a video; give one of its frames as an image\n"
