"""The main job on real photographs: put hands in, ask for hands posed alike, get the right ones back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from apps.cli import main
from handsim import Pool
from index import SearchOptions, open_catalog
from tests.apps.commands import Capture, run_json

pytestmark = pytest.mark.slow
PHOTOGRAPHS = 346


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """The signs for the digits by every third of 110 people, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    for person in sorted((shared_data / "sign_digits").glob("p*"))[::3]:
        shutil.copytree(person, folder / person.name)
    (folder / "LICENSE").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, photographs: Path, model_path: Path) -> Path:
    """Those photographs ingested and indexed with the defaults."""
    path = tmp_path_factory.mktemp("signs")
    arguments = ["--video-from", "parent", "--label-from", "stem", "--model", str(model_path)]
    assert main(["ingest", str(photographs), *arguments, "--home", str(path)]) == 0
    assert main(["index", "build", "--home", str(path)]) == 0
    return path


def test_nearly_every_photograph_yields_its_hand(home: Path) -> None:
    pool = Pool.open(home / "pool")
    report = json.loads((home / "ingest-report.json").read_text())
    assert report["hands_in_pool"] == len(pool) >= 0.99 * PHOTOGRAPHS
    skips = [skip["reason"] for skip in report["skipped"] if not skip["file"].endswith(".jpg")]
    assert skips == ["not an image or video"]
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
    home: Path, photographs: Path, model_path: Path, capsys: Capture
) -> None:
    (photo, *_) = sorted(photographs.glob("*/5.jpg"))
    (answer,) = run_json(capsys, "query", photo, "-k", "6", "--model", model_path, "--home", home)
    assert answer["neighbors"][0]["video"] == photo.parent.name
    assert answer["neighbors"][0]["distance"] == pytest.approx(0, abs=1e-4)
    assert [found["label"] for found in answer["neighbors"]] == ["5"] * 6


def test_each_hand_of_an_image_is_answered(
    home: Path, shared_data: Path, model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    photo = shared_data / "hands_wild" / "test5.jpg"
    montage = tmp_path / "montage.png"
    options = ("-k", "3", "--montage", montage, "--model", model_path)
    answers = run_json(capsys, "query", photo, *options, "--home", home)
    assert [answer["query"]["number"] for answer in answers] == [1, 2]
    assert {answer["query"]["side"] for answer in answers} == {"left", "right"}
    assert montage.stat().st_size > 10_000
    boxes = np.array([answer["query"]["box_px"] for answer in answers])
    left_of_picture = boxes[:, 0].argmin()
    assert answers[left_of_picture]["query"]["side"] == "right"  # she faces the camera


def test_each_of_several_images_is_answered_but_what_is_none(
    home: Path, shared_data: Path, model_path: Path, capsys: Capture
) -> None:
    photos = [
        shared_data / "hands_wild" / name for name in ("test5.jpg", "none.jpg", "LICENSE.md", "test1.jpg")
    ]
    words = ["query", *map(str, photos), "-k", "1", "--json", "--model", str(model_path), "--home", str(home)]
    assert main(words) == 2
    printed = capsys.readouterr()
    files = [answer["query"]["file"] for answer in json.loads(printed.out)]
    assert files == [str(photos[0])] * 2 + [str(photos[3])] * 2
    assert [str(path) in line for path, line in zip(photos[1:3], printed.err.splitlines(), strict=True)] == [
        True
    ] * 2


def test_hands_exported_as_coco_come_back_with_their_ids_keypoints_and_neighbours(
    home: Path, tmp_path: Path
) -> None:
    assert (
        main(["pool", "export", "--format", "coco", "--out", str(tmp_path / "coco"), "--home", str(home)])
        == 0
    )
    again = tmp_path / "again"
    assert main(["ingest", str(tmp_path / "coco" / "annotations.json"), "--home", str(again)]) == 0
    assert main(["index", "build", "--home", str(again)]) == 0
    before, after = Pool.open(home / "pool"), Pool.open(again / "pool")
    rows = after.rows(before.hand_ids)
    assert len(before) == len(after)
    np.testing.assert_allclose(after.keypoints[rows], before.keypoints, atol=1e-4)
    assert after.videos.values(rows) == before.videos.values()
    assert after.labels.values(rows) == before.labels.values()
    assert all(after.crop_jpeg(hand) == before.crop_jpeg(hand) for hand in before.hand_ids.tolist())
    found = []
    for path in (home, again):
        with open_catalog(path / "index") as catalog, catalog.current() as version:
            found.append(version.search_hands(before.hand_ids, 10, options=SearchOptions(exact=True)))
    np.testing.assert_allclose(found[0].distances, found[1].distances, atol=1e-3)
    assert (found[0].hand_ids == found[1].hand_ids).mean() > 0.99, "but for those that are equally near"
