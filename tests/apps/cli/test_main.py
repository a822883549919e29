"""The command line as a whole: queries, mining, help, bad input, and which libraries are loaded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from apps.cli import COMMANDS, main
from handsim import Pool, PoolWriter
from handsim.hand import format_hand_id
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.apps.commands import pick_hand, run_json, run_refused


def test_a_hand_is_answered_with_its_neighbours(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hand = pick_hand(home)
    answers = run_json(capsys, "query", "--hand", hand, "-k", "4", "--other-video", "--home", home)
    assert answers[0]["query"]["hand_id"] == hand
    neighbors = answers[0]["neighbors"]
    assert [found["rank"] for found in neighbors] == [1, 2, 3, 4]
    assert all(found["video"] != answers[0]["query"]["video"] for found in neighbors)
    distances = [found["distance"] for found in neighbors]
    assert distances == sorted(distances)
    one_each = run_json(capsys, "query", "--hand", hand, "-k", "8", "--one-per-video", "--home", home)
    videos = [found["video"] for found in one_each[0]["neighbors"]]
    assert len(set(videos)) == len(videos) == 8
    elsewhere = run_json(capsys, "query", "--hand", hand, "--source", "ego4d", "--home", home)
    assert elsewhere[0]["neighbors"] == []


def test_keypoints_of_a_hand_find_that_hand(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Pool.open(home / "pool")
    pixels = pool.keypoints[:2, :, :2] * 640 + 100  # any unit will do
    np.save(tmp_path / "two.npy", pixels)
    (tmp_path / "one.json").write_text(json.dumps(pixels[0].tolist()))
    answers = run_json(capsys, "query", "--keypoints", tmp_path / "two.npy", "-k", "1", "--home", home)
    expected = [format_hand_id(int(hand_id)) for hand_id in pool.hand_ids[:2]]
    assert [answer["neighbors"][0]["hand_id"] for answer in answers] == expected
    mirrored = pixels[0] * [-1, 1]
    (tmp_path / "left.json").write_text(json.dumps(mirrored.tolist()))
    left = run_json(capsys, "query", "--keypoints", tmp_path / "left.json", "--left", "--home", home)
    assert left[0]["neighbors"][0]["hand_id"] == expected[0]


def test_a_montage_shows_query_and_neighbours(home: Path, tmp_path: Path) -> None:
    montage = tmp_path / "answer.png"
    arguments = [
        "query",
        "--hand",
        pick_hand(home),
        "-k",
        "3",
        "--montage",
        str(montage),
        "--home",
        str(home),
    ]
    assert main(arguments) == 0
    with Image.open(montage) as image:
        assert image.width > 4 * 160
        assert np.asarray(image.convert("L")).std() > 20


def test_mining_writes_pairs_and_the_authors_json(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Pool.open(home / "pool")
    videos = dict(zip(pool.hand_ids.tolist(), pool.videos.values(), strict=True))
    out = tmp_path / "pairs.parquet"
    assert main(["mine", "--top-k", "3", "--out", str(out), "--home", str(home)]) == 0
    pairs = pq.read_table(out)
    assert len(pairs) == 3 * len(pool)
    for hand_id, positive in zip(pairs["hand_id"].to_pylist(), pairs["positive_id"].to_pylist(), strict=True):
        assert videos[hand_id] != videos[positive]
    authors = tmp_path / "pairs.json"
    crops = tmp_path / "crops"
    arguments = ["mine", "--format", "hand100m", "--out", str(authors), "--crops", str(crops)]
    assert main([*arguments, "--home", str(home)]) == 0
    written = json.loads(authors.read_text())
    assert len(written["annotations"]) == len(list(crops.glob("*.jpg"))) == len(pool)


def test_evaluation_writes_numbers_and_figures(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "retrieval", "--labels", "--name", "first", "--home", str(home)]) == 0
    assert "recall@1 against exact search" in capsys.readouterr().out
    facts = json.loads((home / "runs" / "first" / "retrieval.json").read_text())
    assert facts["recall_at_1"] == 1.0
    assert facts["mined_pose_distance"] < facts["random_pose_distance"]
    for name in ("explained_variance.png", "pose_distances.png"):
        with Image.open(home / "runs" / "first" / "figures" / name) as figure:
            assert figure.width > 500


def test_versions_and_the_embedding_are_shown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "list", "--home", str(home)]) == 0
    assert "current  v0001" in capsys.readouterr().out
    assert main(["embedding", "show", "--home", str(home)]) == 0
    assert "14 components of 42" in capsys.readouterr().out


def test_bad_queries_are_one_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--home", home)
    hand = pick_hand(home)
    assert "k is 0" in run_refused(capsys, "query", "--hand", hand, "-k", "0", *at)
    assert "k is 61" in run_refused(capsys, "query", "--hand", hand, "-k", "61", *at)
    assert "no hand 0000000000000001" in run_refused(capsys, "query", "--hand", "0000000000000001", *at)
    assert "16 hex digits" in run_refused(capsys, "query", "--hand", "seven", *at)
    assert "does not exist" in run_refused(capsys, "query", tmp_path / "nowhere.jpg", *at)
    (tmp_path / "text.jpg").write_text("not a picture")
    assert "not an image" in run_refused(capsys, "query", tmp_path / "text.jpg", *at)
    for name, value, expected in (
        ("nan", [[float("nan"), 1.0]] * 21, "NaN|joint 0|finite"),
        ("shape", [[0.0, 1.0]] * 20, r"\[20, 2\]"),
        ("point", [[0.5, 0.5]] * 21, "x1 > x0|extent"),
        ("words", "hello", "cannot be read"),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        message = run_refused(capsys, "query", "--keypoints", tmp_path / f"{name}.json", *at)
        assert any(word.replace("\\", "") in message for word in expected.split("|")), message


def test_bad_homes_are_one_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    with PoolWriter(empty / "pool"):
        pass
    hand = "0000000000000001"
    assert "handsim index build" in run_refused(
        capsys, "query", "--hand", hand, "--home", tmp_path / "nothing"
    )
    assert "there is no pool" in run_refused(capsys, "index", "build", "--home", tmp_path / "nothing")
    assert "0 hands are too few" in run_refused(capsys, "index", "build", "--home", empty)
    assert "0 hands are too few" in run_refused(capsys, "embedding", "fit", "--home", empty)
    assert "handsim embedding fit" in run_refused(capsys, "embedding", "show", "--home", empty)
    assert "run name '../x'" in run_refused(capsys, "evaluate", "retrieval", "--name", "../x", "--home", home)
    refusal = run_refused(capsys, "mine", "--out", tmp_path / "no" / "pairs.parquet", "--home", home)
    assert "is not a directory" in refusal
    unlabelled = tmp_path / "unlabelled"
    pool = Pool.open(home / "pool")
    with PoolWriter(unlabelled / "pool", crop_size_px=64) as writer:
        for hand_id in pool.hand_ids[:20].tolist():
            known = pool.hand(hand_id)
            writer.add(type(known)(**{**vars(known), "label": None}))
    refusal = run_refused(capsys, "evaluate", "retrieval", "--labels", "--home", unlabelled)
    assert "--label-from" in refusal


@pytest.mark.parametrize("damage", ["version.json", "embedding.json", "shard"])
def test_a_damaged_index_is_one_line_and_building_again_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    synthesise_pool(tmp_path / "pool", SyntheticConfig(videos=5, hands_per_video=5, size_px=32))
    at = ("--home", str(tmp_path))
    assert main(["index", "build", *at]) == 0
    hand = pick_hand(tmp_path)
    broken = next((tmp_path / "index").rglob(damage))
    if broken.is_dir():
        for file in broken.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        broken.write_text("{")
    assert "handsim index build" in run_refused(capsys, "query", "--hand", hand, *at)
    assert main(["index", "build", *at]) == 0
    assert main(["query", "--hand", hand, *at]) == 0


def test_ingest_refuses_what_is_not_there_and_a_missing_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path / "cache"))
    at = ("--home", tmp_path / "home")
    assert "handsim models fetch" in run_refused(capsys, "ingest", tmp_path, *at)
    missing = run_refused(capsys, "ingest", tmp_path, "--model", tmp_path / "no.task", *at)
    assert "no.task" in missing


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], *([name] for name in COMMANDS)):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--help"])
        assert ended.value.code == 0
        assert "--home" in capsys.readouterr().out


def run_and_list_modules(*arguments: str) -> set[str]:
    code = (
        "import sys; from apps.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_and_queries_stay_light(home: Path) -> None:
    heavy = {"torch", "lightning", "mediapipe", "umap", "matplotlib", "sklearn"}
    helped = run_and_list_modules("--help")
    assert not helped & (heavy | {"numpy", "pyarrow", "qdrant_edge"})
    asked = run_and_list_modules("query", "--hand", pick_hand(home), "--home", str(home))
    assert "qdrant_edge" in asked
    assert not asked & heavy
