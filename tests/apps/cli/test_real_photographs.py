"""The main job on real photographs: put hands in, ask for hands posed alike, get the right ones back."""

import json
from pathlib import Path

import numpy as np
import pytest

from apps.cli import main
from handsim import Pool

PHOTOGRAPHS = 1032


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_data: Path, model_path: Path) -> Path:
    """The signs for the digits by 110 people, ingested and indexed with the defaults."""
    path = tmp_path_factory.mktemp("signs")
    arguments = ["--video-from", "parent", "--label-from", "stem", "--model", str(model_path)]
    assert main(["ingest", str(shared_data / "sign_digits"), *arguments, "--home", str(path)]) == 0
    assert main(["index", "build", "--home", str(path)]) == 0
    return path


def test_nearly_every_photograph_yields_its_hand(home: Path) -> None:
    pool = Pool.open(home / "pool")
    report = json.loads((home / "ingest-report.json").read_text())
    assert report["hands_in_pool"] == len(pool) >= 0.99 * PHOTOGRAPHS
    assert [skip["reason"] for skip in report["skipped"] if not skip["file"].endswith(".jpg")] in (
        [],
        ["not an image"],
    )
    files = [pool.hand(int(hand_id)).file for hand_id in pool.hand_ids[:: len(pool) // 50]]
    assert len(set(files)) == len(files)  # one hand a photograph
    assert pool.is_left.mean() <= 0.03


def test_the_nearest_hands_of_other_people_show_the_same_digit(home: Path) -> None:
    assert main(["evaluate", "retrieval", "--labels", "--home", str(home)]) == 0
    measured = json.loads((home / "runs" / "retrieval" / "retrieval.json").read_text())
    assert measured["labelled"] >= 0.99 * PHOTOGRAPHS
    assert measured["precision_at_1"] >= 0.975
    assert measured["precision_at_10"] >= 0.97
    assert measured["recall_at_1"] >= 0.99


def test_a_photograph_finds_itself_and_its_digit(
    home: Path, shared_data: Path, model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = shared_data / "sign_digits" / "p004" / "5.jpg"
    capsys.readouterr()
    arguments = ["query", str(photo), "-k", "6", "--json", "--model", str(model_path), "--home", str(home)]
    assert main(arguments) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["neighbors"][0]["video"] == "p004"
    assert answer["neighbors"][0]["distance"] == pytest.approx(0, abs=1e-4)
    assert [found["label"] for found in answer["neighbors"]] == ["5"] * 6


def test_several_hands_of_one_picture_are_all_answered(
    home: Path, shared_data: Path, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = shared_data / "hands_wild" / "test5.jpg"
    montage = tmp_path / "montage.png"
    capsys.readouterr()
    arguments = ["query", str(photo), "-k", "3", "--json", "--montage", str(montage)]
    assert main([*arguments, "--model", str(model_path), "--home", str(home)]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["query"]["number"] for answer in answers] == [1, 2]
    assert {answer["query"]["side"] for answer in answers} == {"left", "right"}
    assert montage.stat().st_size > 10_000
    boxes = np.array([answer["query"]["box_px"] for answer in answers])
    left_of_picture = boxes[:, 0].argmin()
    assert answers[left_of_picture]["query"]["side"] == "right"  # she faces the camera
