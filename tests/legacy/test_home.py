"""What is on disk outlives the code: a home made by commit e522b75 opens, answers and goes on."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from apps.cli import main
from handsim import Pool
from index import open_catalog
from tests.legacy.home import restore

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).with_name("home_e522b75.json")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home: 24 synthetic hands, an index of them, two trainings, their reports and an experiment."""
    restore(RECORDED, tmp_path / "home")
    return tmp_path / "home"


def run(home: Path, *words: object) -> None:
    assert main(["--home", str(home), *map(str, words)]) == 0


def metrics(home: Path, name: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (home / "runs" / name / "metrics.jsonl").read_text().splitlines()]


def table_rows(home: Path) -> list[str]:
    """Of all tables but that of what the trainings cost, which came later."""
    tables, _, _ = (
        (home / "experiments" / "tiny" / "tables.md").read_text().partition("## What the trainings")
    )
    return [line for line in tables.splitlines() if line.startswith("|")]


def test_its_pool_and_its_index_answer_and_take_more_hands(home: Path) -> None:
    pool = Pool.open(home / "pool")
    assert len(pool) == 24
    assert all(pool.crop(int(hand_id)).shape == (32, 32, 3) for hand_id in pool.hand_ids)
    with open_catalog(home / "index").current() as version:
        assert version.info.points == 24
        assert (version.search_keypoints(pool.keypoints, k=1).hand_ids[:, 0] == pool.hand_ids).all()
    run(home, "index", "verify")
    run(home, "mine", "--out", home / "again.parquet")
    assert pq.read_table(home / "again.parquet").equals(pq.read_table(home / "pairs.parquet"))
    run(home, "synth", "--videos", 7, "--hands-per-video", 4, "--size", 32)
    run(home, "index", "add")
    assert len(Pool.open(home / "pool")) == 28
    assert open_catalog(home / "index").current_info().points == 28


def test_its_pretraining_resumes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    restore(RECORDED, home, checkpoints_of="pre")
    before = metrics(home, "pre")
    run(home, "pretrain", "pre", "--resume", "--trainer.max_steps", 6)
    after = metrics(home, "pre")
    assert after[: len(before)] == before
    assert after[-1]["step"] == 6


def test_its_finetuning_resumes_and_is_evaluated(tmp_path: Path) -> None:
    home = tmp_path / "home"
    restore(RECORDED, home, checkpoints_of="fine")
    run(home, "finetune", "fine", "--resume", "--trainer.max_steps", 4)
    assert metrics(home, "fine")[-1]["step"] == 4
    run(home, "evaluate", "pose", "fine", "--name", "again")
    reports = (home / "runs" / name / "pose.json" for name in ("fine-test", "again"))
    old, new = (json.loads(report.read_text())["metrics"].keys() for report in reports)
    assert new == old


def test_its_experiment_has_nothing_left_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where its file says what was the only choice when it was run; else it is done with today's defaults."""
    before = table_rows(home)
    content = yaml.safe_load((home / "tiny.yaml").read_text())
    content["data"]["pools"]["wild"]["crop_enlargement"] = 1.3
    pretraining, finetuning = (content["base"][kind] for kind in ("pretrain", "finetune"))
    pretraining["augmentation"]["extent"] = "box"
    pretraining["loss"] = {"negatives": "all_processes"}
    pretraining["optimizer"] = {"scale": "sqrt", "lars_variant": "capped"}
    finetuning["estimator"] = {"loss_balance": "by_size"}
    (home / "tiny.yaml").write_text(yaml.safe_dump(content))
    run(home, "experiment", "run", home / "tiny.yaml")
    assert capsys.readouterr().out.startswith("8 steps, 8 of them done already\n")
    run(home, "experiment", "table", home / "tiny.yaml")
    assert table_rows(home) == before
