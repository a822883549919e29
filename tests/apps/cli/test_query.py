"""``handsim query``: examples, bands, diversity, random hands, walking through; and what it refuses."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apps.cli import main
from handsim import Pool
from handsim.hand import format_hand_id
from index import open_catalog
from tests.apps.commands import pick_hand, run_json, run_ok, run_refused

Capture = pytest.CaptureFixture[str]
Words = tuple[str | Path, ...]


def distances(answer: Any) -> list[float]:
    return [found["distance"] for found in answer[0]["neighbors"]]


def test_more_like_these_and_less_like_those(home: Path, tmp_path: Path, capsys: Capture) -> None:
    like, unlike = [pick_hand(home, row) for row in (0, 7, 30)], [pick_hand(home, row) for row in (12, 45)]
    question: Words = ("query", "--like", *like, "--unlike", *unlike, "-k", "6", "--home", home)
    answer = run_json(capsys, *question)
    assert answer[0]["query"] == {"like": like, "unlike": unlike}
    found = [hand["hand_id"] for hand in answer[0]["neighbors"]]
    assert len(found) == 6
    assert not set(found) & {*like, *unlike}
    with open_catalog(home / "index").current() as version:
        place = {
            hand: version.vectors(int(hand, 16)).astype(np.float64)[0] for hand in (*found, *like, *unlike)
        }
    for hand, distance in zip(found, distances(answer), strict=True):
        near = min(float(np.linalg.norm(place[hand] - place[one])) for one in like)
        assert distance == pytest.approx(near, rel=1e-4)
        assert near < min(float(np.linalg.norm(place[hand] - place[one])) for one in unlike)
    elsewhere = run_json(capsys, *question, "--other-video")[0]["neighbors"]
    pool = Pool.open(home / "pool")
    videos = {pool.videos[int(pool.rows(int(hand, 16))[0])] for hand in like}
    assert not {hand["video"] for hand in elsewhere} & videos
    text = run_ok(capsys, *question, "--montage", tmp_path / "like.png")
    assert text.startswith(f"like 3 hands, unlike 2, first: {like[0]}\nrank  hand ")
    with Image.open(tmp_path / "like.png") as image:
        assert image.width > 7 * 100


def test_bands_and_diversity(home: Path, capsys: Capture) -> None:
    question = ("query", "--hand", pick_hand(home), "--home", home)
    everything = distances(run_json(capsys, *question, "-k", "60"))
    low, high = everything[20], everything[40]
    band = run_json(capsys, *question, "-k", "10", "--min-distance", str(low), "--max-distance", str(high))
    assert distances(band) == pytest.approx(everything[20:30])
    far = run_json(capsys, *question, "--min-distance", str(everything[-1] + 1))
    assert distances(far) == []
    text = run_ok(capsys, *question, "--min-distance", str(everything[-1] + 1))
    assert text.endswith("\n  no hand of the index meets these conditions\n")
    spread = run_json(capsys, *question, "-k", "5", "--other-video", "--diversity", "0.8")
    plain = run_json(capsys, *question, "-k", "5", "--other-video")
    assert distances(spread)[0] == distances(plain)[0]
    assert sum(distances(spread)) > sum(distances(plain))


def test_only_hands_of_a_kind(home: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    videos = [str(pool.videos[0]), str(pool.videos[-1])]
    for wanted, key, admitted in (
        (("--side", "left"), "side", {"left"}),
        (("--label", "fist", "--label", "rest"), "label", {"fist", "rest"}),
        (("--video", videos[0], "--video", videos[1]), "video", {*videos}),
        (("--source", "synthetic"), "source", {"synthetic"}),
    ):
        for about in (("--hand", pick_hand(home)), ("--like", pick_hand(home, 0), pick_hand(home))):
            answer = run_json(capsys, "query", *about, *wanted, "-k", "20", "--home", home)
            assert {found[key] for found in answer[0]["neighbors"]} == admitted
        for any_hands in ("--random", "--list"):
            hands = run_json(capsys, "query", any_hands, *wanted, "-k", "60", "--home", home)
            assert {hand[key] for hand in hands} == admitted
    assert run_json(capsys, "query", "--random", "--source", "nowhere", "--home", home) == []
    nobody = run_ok(capsys, "query", "--list", "--source", "nowhere", "--home", home)
    assert nobody == "no hand of the index meets these conditions\n"
    sure = run_json(capsys, "query", "--random", "--min-score", "1", "--home", home)
    assert all(hand["score"] == 1 for hand in sure)


def test_random_hands(home: Path, capsys: Capture) -> None:
    hands = [hand["hand_id"] for hand in run_json(capsys, "query", "--random", "-k", "25", "--home", home)]
    assert len(set(hands)) == 25
    again = [hand["hand_id"] for hand in run_json(capsys, "query", "--random", "-k", "25", "--home", home)]
    assert set(again) != set(hands)
    assert len(run_json(capsys, "query", "--random", "--home", home)) == 10
    assert len(run_json(capsys, "query", "--random", "-k", "500", "--home", home)) == 60


def test_walking_through_all_hands(home: Path, capsys: Capture) -> None:
    met: list[str] = []
    after: Words = ()
    while page := run_json(capsys, "query", "--list", "-k", "25", *after, "--home", home):
        met += [hand["hand_id"] for hand in page]
        after = ("--after", met[-1])
    assert met == [format_hand_id(hand_id) for hand_id in sorted(Pool.open(home / "pool").hand_ids.tolist())]
    table = run_ok(capsys, "query", "--list", "-k", "2", "--home", home).splitlines()
    assert re.split(r"  +", table[0]) == ["hand", "video", "side", "source", "label", "score"]
    assert [line.split()[0] for line in table[1:]] == met[:2]


def test_exact_and_wide_searches_agree(home: Path, capsys: Capture) -> None:
    question = ("query", "--hand", pick_hand(home), "--home", home)
    assert (
        run_json(capsys, *question, "--exact")
        == run_json(capsys, *question, "--ef", "500")
        == run_json(capsys, *question)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--hand", "HAND", "--unlike", "HAND"), "--unlike goes with --like"),
        (("--hand", "HAND", "--after", "HAND"), "--after goes with --list"),
        (("--random", "--left"), "--left goes with --keypoints"),
        (("--random", "--other-video"), "--other-video goes with --hand or --like"),
        (("--random", "--montage", "x.png"), "--montage is about likeness; leave it out with --random"),
        (("--list", "--diversity", "0.5"), "--diversity is about likeness; leave it out with --random"),
        (("--list", "--min-distance", "1"), "--min-distance is about likeness"),
        (("--random", "--max-distance", "0"), "--max-distance is about likeness"),
        (("--list", "--one-per-video"), "--one-per-video is about likeness"),
        (("--random", "--exact"), "--exact is about likeness"),
        (("--list", "--ef", "10"), "--ef is about likeness"),
        (("--random", "-k", "0"), "k is 0; ask for at least 1 hand"),
        (("--list", "-k", "-2"), "k is -2; ask for at least 1 hand"),
        (("--like", "HAND", "--diversity", "0.4"), "takes no diversity"),
        (("--like", "HAND", "0000000000000001"), "no hand 0000000000000001 in index version v0001"),
        (("--like", "HAND", "--unlike", "seven"), "hand id 'seven' is not 16 hex digits"),
        (("--list", "--after", "seven"), "hand id 'seven' is not 16 hex digits"),
        (("--hand", "HAND", "--diversity", "2"), "diversity is 2.0; it lies between 0 and 1"),
        (("--hand", "HAND", "--diversity", "0.5", "--one-per-video"), "diversity goes neither with"),
        (("--hand", "HAND", "--max-distance", "-1"), "max_distance is -1.0; it lies between 0 and inf"),
        (("--hand", "HAND", "--min-distance", "3", "--max-distance", "2"), "max_distance is 2.0; it lies"),
        (("--hand", "HAND", "--min-distance", "nan"), "min_distance is nan; it lies between 0 and inf"),
        (("--hand", "HAND", "--min-score", "2"), "min_score is 2.0; it lies between 0 and 1"),
        (("--hand", "HAND", "--ef", "0"), "ef is 0"),
    ],
)
def test_what_does_not_go_together(
    home: Path, capsys: Capture, arguments: tuple[str, ...], message: str
) -> None:
    words = [pick_hand(home) if word == "HAND" else word for word in arguments]
    assert message in run_refused(capsys, "query", *words, "--home", home)


@pytest.mark.parametrize("about", [(), ("--random", "--list"), ("--like",), ("picture.jpg", "--random")])
def test_one_thing_at_a_time(home: Path, about: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["query", *about, "--home", str(home)])
    assert ended.value.code == 2
