"""``handsim pool``: what is in a pool; and hands with unlabelled joints, from a file to the index."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handsim import Pool, PoolWriter
from handsim.coco import annotation_to_hand
from handsim.hand import format_hand_id
from handsim.pool import ItemRecord, Skip
from handsim.pool.duplicates import DuplicateGroups
from tests.apps.commands import Capture, run_json, run_ok, run_refused
from tests.handsim.builders import make_hand, make_jpeg, make_partial_hand

TRACKS = {0: 5, 1: 5, 2: 6, 3: 5, 4: 5}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """40 hands of 8 videos, three of them partly labelled."""
    skips = (Skip("a.jpg", "no hand"), Skip("b.mp4", "truncated video", "after 3 s", 7))
    with PoolWriter(tmp_path / "home" / "pool", part_hands=16) as writer:
        for number in range(37):
            writer.add(
                make_hand(number, score=number / 40, track=TRACKS.get(number)),
                make_jpeg(number) if number else None,
            )
        partial = [(make_partial_hand(number, [0, 7]), None) for number in (37, 38)]
        writer.add_item(ItemRecord(1, 9, 2, skips), partial)
        writer.add_item(ItemRecord(2, 1, 1, skips[:1]), [(make_partial_hand(39, range(12)), None)])
    return tmp_path / "home"


def test_info_counts_what_is_in_a_pool(home: Path, capsys: Capture) -> None:
    info = run_json(capsys, "pool", "info", "--home", home)
    assert (info["hands"], info["partly_labelled"], info["without_crop"], info["parts"]) == (40, 3, 4, 3)
    assert info["sources"] == {"test": 40}
    assert info["sides"] == {"right": 26, "left": 14}
    assert info["labels"] == {"shape 0": 10, "shape 2": 10}
    assert info["without_label"] == 20
    assert (info["videos"], info["median_hands_of_a_video"], info["largest_video_hands"]) == (8, 5, 5)
    assert (info["scores"]["least"], info["scores"]["most"]) == (0, 0.9)
    assert (info["items"], info["pictures"]) == (2, 10)
    assert info["skipped"] == {"truncated video": 7, "no hand": 2}
    tars = [part / "crops.tar" for part in sorted((home / "pool" / "parts").iterdir())]
    assert info["crop_bytes"] == sum(tar.stat().st_size for tar in tars if tar.exists())
    assert (info["removed"], info["duplicates"]) == (0, None)
    removed = pa.table({"hand_id": pa.array([1, 2], pa.uint64())})  # of no hands of this pool
    pq.write_table(removed, home / "pool" / "removed.parquet")
    ids, groups = np.arange(5, dtype=np.uint64), np.array([0, 0, 0, 1, 1], dtype=np.int32)
    DuplicateGroups(ids, groups, groups == 0, pool_hands=40, pool_digest=0).save(home / "pool")
    lines = run_ok(capsys, "pool", "info", "--home", home).splitlines()
    assert len(lines) < 15
    assert lines[1] == "hands       40, 3 with unlabelled joints, 4 without a picture, 2 removed from it"
    assert "duplicates  5 hands in 2 groups" in lines
    assert "tracks      2 of 5 hands, median 2 hands, 1 of a single hand" in lines
    assert lines[-1] == "skipped     truncated video 7, no hand found 2"


def test_info_of_an_empty_pool_and_of_none(tmp_path: Path, capsys: Capture) -> None:
    with PoolWriter(tmp_path / "home" / "pool"):
        pass
    line = run_ok(capsys, "pool", "info", "--home", tmp_path / "home").splitlines()[1]
    assert line.split() == ["hands", "0"]
    assert run_json(capsys, "pool", "info", "--home", tmp_path / "home")["scores"] == {}
    assert "there is no pool" in run_refused(capsys, "pool", "info", "--home", tmp_path / "other")


def test_partly_labelled_hands_are_left_out_or_completed_and_each_command_says_so(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    at, partly = ("--home", home), format_hand_id(make_hand(37).hand_id)
    assert "3 hands with unlabelled joints were left out of the fit" in run_ok(
        capsys, "embedding", "fit", *at
    )
    built = run_ok(capsys, "index", "build", *at)
    assert built.startswith("3 hands with unlabelled joints are left out; `handsim embedding fit --unl")
    assert re.search(r"v0001: 37 hands in", built)
    assert "3 hands with unlabelled joints are left out" in run_ok(capsys, "index", "add", *at)
    assert re.search(r"in the pool, not here +0\n", run_ok(capsys, "index", "verify", *at))
    refusal = run_refused(capsys, "query", "--hand", partly, *at)
    assert (
        "are not labelled (wrist, index_dip), so it has no place in this index; `handsim embedding fit --unl"
        in refusal
    )
    mined = run_ok(capsys, "mine", "--out", tmp_path / "pairs.parquet", "--workers", "1", *at)
    assert "left out: 3 hands with unlabelled joints\n" in mined

    run_ok(capsys, "embedding", "fit", "--unlabelled", "complete", *at)
    assert "unlabelled joints completed (where 13 are labelled)" in run_ok(capsys, "embedding", "show", *at)
    built = run_ok(capsys, "index", "build", *at)
    assert "2 hands with unlabelled joints are completed by their other joints" in built
    assert "1 hand is left out: it has fewer than 13 labelled joints" in built
    (answer,) = run_json(capsys, "query", "--hand", partly, "--montage", tmp_path / "m.png", *at)
    assert len(answer["neighbors"]) == 10


def test_hands_of_unknown_side_are_in_no_index_until_somebody_gives_them_a_side(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    at, numbers = ("--home", home), (50, 51, 52)
    with PoolWriter(home / "pool") as writer:
        for number in numbers:
            writer.add(make_hand(number, side="unknown"), make_jpeg(number))
    ids = [format_hand_id(make_hand(number).hand_id) for number in numbers]
    left_out = "3 hands of unknown side are left out; `handsim pool relabel --side unknown --set-side left`"
    assert "left 14, unknown 3" in run_ok(capsys, "pool", "info", *at)
    assert left_out in run_ok(capsys, "embedding", "fit", *at)
    built = run_ok(capsys, "index", "build", *at)
    assert left_out in built
    assert "v0001: 37 hands in" in built
    assert re.search(r"in the pool, not here +0\n", run_ok(capsys, "index", "verify", *at))
    assert "is unknown, so it has no place in an index" in run_refused(capsys, "query", "--hand", ids[0], *at)
    out = ("--out", tmp_path / "pairs.json", "--format", "hand100m", "--workers", "1")
    assert left_out in run_ok(capsys, "mine", *out, *at)
    mined = (tmp_path / "pairs.json").read_text()
    assert not any(str(make_hand(number).hand_id) in mined for number in numbers)
    run_ok(capsys, "pool", "export", "--out", tmp_path / "coco", "--format", "coco", "--side", "unknown", *at)
    exported = json.loads((tmp_path / "coco" / "annotations.json").read_text())["annotations"]
    assert [annotation_to_hand(each, 224).side for each in exported] == ["unknown"] * 3

    (tmp_path / "sides.csv").write_text(f"id,side\n{ids[0]},right\n{ids[1]},\n{ids[2]},left\n")
    assert "2 sides" in run_ok(capsys, "pool", "relabel", "--csv", tmp_path / "sides.csv", *at)
    given = run_ok(capsys, "pool", "relabel", "--side", "unknown", "--set-side", "left", *at)
    assert given.startswith("1 hand changed: 0 videos, 0 labels, 1 side\n")
    run_ok(capsys, "index", "add", *at)
    assert find_nearest(home, tmp_path / "hand.json", capsys, 50) == (ids[0], "right")
    assert find_nearest(home, tmp_path / "hand.json", capsys, 52, mirrored=True) == (ids[2], "left")
    run_ok(capsys, "pool", "relabel", "--ids", ids[0], "--set-side", "left", *at)
    assert "1 with a new video, source, label or side" in run_ok(capsys, "index", "add", *at)
    assert find_nearest(home, tmp_path / "hand.json", capsys, 50, mirrored=True) == (ids[0], "left")


def find_nearest(
    home: Path, file: Path, capsys: Capture, number: int, *, mirrored: bool = False
) -> tuple[str, str]:
    """Id and side of the hand that the index finds for the pose of `make_hand`."""
    keypoints = make_hand(number).keypoints
    file.write_text(json.dumps((keypoints * (-1, 1, 1) if mirrored else keypoints).tolist()))
    (answer,) = run_json(capsys, "query", "--keypoints", file, "-k", "1", "--home", home)
    (nearest,) = answer["neighbors"]
    assert nearest["distance"] < 1e-3
    return nearest["hand_id"], nearest["side"]


@pytest.mark.parametrize("unlabelled", ["refuse", "complete"])
@pytest.mark.parametrize("way", ["flag", "null joint", "null numbers", "nan"])
def test_unlabelled_joints_of_a_keypoints_file_are_no_places(
    home: Path, tmp_path: Path, capsys: Capture, unlabelled: str, way: str
) -> None:
    at, file = ("--home", home), tmp_path / "hand.json"
    run_ok(capsys, "embedding", "fit", "--unlabelled", unlabelled, *at)
    run_ok(capsys, "index", "build", *at)
    hand = make_hand(8)
    visibility = np.full((21, 1), 2.0)
    joints = np.hstack([hand.keypoints[:, :2], visibility] if way == "flag" else [hand.keypoints]).tolist()
    nan = float("nan")
    joints[7] = {"flag": [0, 0, 0], "null joint": None, "null numbers": [None] * 3, "nan": [nan] * 3}[way]
    file.write_text(json.dumps(joints))
    if unlabelled == "refuse":
        refusal = run_refused(capsys, "query", "--keypoints", file, *at)
        assert f"joints of hand 1 of {file} are not labelled (index_dip)" in refusal
        return
    (answer,) = run_json(capsys, "query", "--keypoints", file, "-k", "1", *at)
    assert answer["neighbors"][0]["hand_id"] == format_hand_id(hand.hand_id)


def test_a_third_number_that_is_zero_throughout_is_a_depth(
    home: Path, tmp_path: Path, capsys: Capture
) -> None:
    run_ok(capsys, "index", "build", "--home", home)
    hand = Pool.open(home / "pool").hand(make_hand(8).hand_id)
    (tmp_path / "hand.json").write_text(json.dumps((hand.keypoints * [1, 1, 0]).tolist()))
    (answer,) = run_json(capsys, "query", "--keypoints", tmp_path / "hand.json", "-k", "1", "--home", home)
    assert answer["neighbors"][0]["distance"] < 1e-3
