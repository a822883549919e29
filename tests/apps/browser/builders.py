"""Test data of the browser: maps, pictures, index versions, runs, evaluations and experiments."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from apps.browser.index.overview import Overview
from apps.browser.jobs import Job, JobReporter, Jobs
from apps.browser.map.build import make_map
from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, write_map_file
from handsim import Pool, PoolWriter
from handsim.embedding import load_embedding
from handsim.home import Home
from handsim.metrics.pose import PCK_0_50
from handsim.pool.reader import Categorical
from handsim.skeleton import JOINT_NAMES
from index import IndexSettings, VersionInfo, open_catalog
from index.info import VersionHealth
from tests.handsim.builders import make_hand
from training.evaluation.report import ALIGNMENTS, REPORT_FILE
from training.experiments.config import AXES

_WAIT_S = 300.0


def wait_for_job(
    jobs: Jobs, name: str, fits: Callable[[Job], bool] = lambda job: job.status != "running"
) -> Job:
    """Wait until a job ended, or until it fits; it is another process, so there is nothing to wait on."""
    deadline = time.monotonic() + _WAIT_S
    while (job := jobs.find(name)) is None or not fits(job):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def build_map(
    places: ArrayLike,
    *,
    videos: list[str] | None = None,
    labels: list[str | None] | None = None,
    distances: ArrayLike | None = None,
) -> PoseMap:
    """A map of hands 10, 20, 30, ... at places [N, 2]."""
    at = np.asarray(places, dtype=np.float32).reshape(-1, 2)
    count = len(at)
    return PoseMap(
        "v0001",
        f"{count}-0123456789abcdef",
        count,
        np.arange(1, count + 1, dtype=np.uint64) * 10,
        at,
        np.asarray([0.5] * count if distances is None else distances, dtype=np.float32),
        Categorical.of(["synthetic"] * count),
        Categorical.of(videos or [f"video {row % 3}" for row in range(count)]),
        Categorical.of(labels or [None] * count),
    )


def put_map(path: Path) -> VersionInfo:
    """Make the map of a home's current version as the job does; fitted to few hands, it takes no time."""
    home = Home(path)
    with open_catalog(home.index) as catalog, catalog.current() as version:
        pose_map = make_map(version, JobReporter(path / "no jobs", "map"), max_fitted=20)
        write_map_file(pose_map, map_file(maps_folder(home), version.info))
        return version.info


NEWER = VersionInfo(
    name="v0002",
    points=70,
    dimension=14,
    embedding_kind="pose",
    embedding_fingerprint="00112233aabbccdd",
    built_at="2026-01-02T03:04:05+00:00",
    build_seconds=12.5,
    settings=IndexSettings(),
    checksum="70-0",
    bytes_on_disk=1_500_000,
    recall_at_1=0.9987,
    is_current=True,
)
OLDER = replace(NEWER, name="v0001", points=60, is_current=False)
SOUND = Overview(
    address="/home/index",
    versions=(NEWER, OLDER),
    earlier="v0001",
    builder=None,
    pool_hands=70,
    embedding=("pose-14", "00112233aabbccdd"),
)


def with_current(**changes: object) -> Overview:
    """`SOUND` but for its current version."""
    return replace(SOUND, versions=(replace(NEWER, **changes), OLDER))  # type: ignore[arg-type]


def with_health(**changes: object) -> Overview:
    """`SOUND` on a server, but for the health of its current version."""
    green = VersionHealth("green", "", 1, None, {0: {"1": "active"}}, ())
    return replace(SOUND, health=replace(green, **changes))  # type: ignore[arg-type]


def more_hands(home: Path, hands: int = 10) -> None:
    """Add hands without pictures to the pool."""
    with PoolWriter(home / "pool", crop_size_px=64) as writer:
        for number in range(hands):
            writer.add(make_hand(number), None)


def build_version(home: Path, *, publish: bool = True) -> str:
    """Another version of the whole pool; returns its name."""
    with open_catalog(home / "index") as catalog:
        embedding = load_embedding(home / "embedding.json")
        return catalog.build(Pool.open(home / "pool"), embedding, publish=publish).name


NOW = 1_800_000_000.0


def write_run(
    path: Path,
    lines: Iterable[Mapping[str, Any]] = (),
    *,
    age_s: float = 3600.0,
    steps: int = 100,
    seed: int = 1,
    init: str | None = None,
    finetuning: bool = False,
) -> Path:
    """A run of one epoch of ``steps`` batches that last wrote ``age_s`` before `NOW`."""
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "encoder": {"architecture": "resnet18", "init": init},
        "trainer": {"epochs": 1, "accumulate": 1, "max_steps": None},
        "log": {"metrics_every_steps": 10},
        "seed": seed,
    }
    facts = {"architecture": "resnet18", "seed": seed, "batches_an_epoch": steps, "config": config}
    tuning, training = {"kind": "fine-tuning", "hands_a_step": 32}, {"pairs_a_step": 16, "index": "v0001"}
    (path / "config.yaml").write_text("seed: 1\n")
    (path / "facts.json").write_text(json.dumps(facts | (tuning if finetuning else training)))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for file in path.iterdir():
        os.utime(file, (NOW - age_s, NOW - age_s))
    return path


def loss_lines(count: int, every: int = 10) -> list[dict[str, Any]]:
    """Lines of a training whose loss is falling."""
    same = {"images_per_s": 320.0, "data_wait": 0.25, "index_wait": 0.125, "lr": 1e-3, "epoch": 0.1}
    return [{"step": every * number, "loss": 5.0 / number, **same} for number in range(1, count + 1)]


def write_pose_report(
    path: Path,
    *,
    error_mm: float = 20.0,
    seed: int = 1,
    checkpoint: Path | str = "/elsewhere/best.ckpt",
    dataset: str = "synthetic",
    init: str = "random weights",
    **training: object,
) -> Path:
    """An evaluation in which each joint is ``error_mm`` off, and the mean pose twice as far."""
    path.mkdir(parents=True, exist_ok=True)
    content = {
        "format": 1,
        "settings": {"dataset": dataset, "split": "test", "root": "/hands"},
        "facts": {
            "run": path.name,
            "checkpoint": str(checkpoint),
            "init": init,
            "trained_on": dataset,
            "architecture": "resnet18",
            "training": {"seed": seed, "label_fraction": 0.5, "init": init, **training},
        },
        "metrics": _metrics(error_mm) | {"keypoints_2d_mean_px": error_mm / 10},
        "mean_pose": _metrics(2 * error_mm),
        "measured": {},
        "joint_mpjpe_mm": _joints(error_mm),
        "mean_pose_joint_mpjpe_mm": _joints(2 * error_mm),
        "curves": {"pck_0_50": _curve(error_mm)},
        "mean_pose_curves": {"pck_0_50": _curve(2 * error_mm)},
    }
    (path / REPORT_FILE).write_text(json.dumps(content))
    return path


def _metrics(error_mm: float) -> dict[str, float]:
    numbers = {"mpjpe_mm": error_mm, "median_mm": error_mm, "auc_0_50": 1 - error_mm / 50, "auc_20_50": 0.1}
    return {f"{name}_{number}": value for name in ALIGNMENTS for number, value in numbers.items()}


def _joints(error_mm: float) -> dict[str, dict[str, float | None]]:
    """The wrist has no truth."""
    return {name: dict.fromkeys(JOINT_NAMES, error_mm) | {JOINT_NAMES[0]: None} for name in ALIGNMENTS}


def _curve(error_mm: float) -> dict[str, list[float]]:
    thresholds = PCK_0_50.thresholds_mm
    within = (thresholds >= error_mm).astype(np.float64).tolist()
    return {"thresholds_mm": thresholds.tolist(), **dict.fromkeys(ALIGNMENTS, within)}


def write_retrieval(path: Path, **numbers: object) -> Path:
    """An evaluation of retrieval without labels."""
    path.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        **{"index_version": "v0001", "embedding_fingerprint": "abc"},
        **{"points": 1000, "sample": 100, "recall_at_1": 0.9, "recall_at_10": 0.8, "covered": 1.0},
        **{"precision_at_1": None, "precision_at_10": None, "mined_pose_distance": 0.1},
    }
    (path / "retrieval.json").write_text(json.dumps(content | numbers))
    return path


def cell(*values: float, seeds: int = 2, best: bool = False, failed: int = 0) -> dict[str, Any]:
    """Of a table, over some of the seeds."""
    return {
        "mean": float(np.mean(values)) if values else None,
        "spread": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "n": len(values),
        "seeds": seeds,
        "failed": failed,
        "best": best,
        "values": {str(seed): value for seed, value in enumerate(values)},
    }


def write_experiment(path: Path, *, columns: bool = True) -> Path:
    """``results.json`` of two methods and the mean pose."""
    path.mkdir(parents=True, exist_ok=True)
    labels = ["0.1", "1"] if columns else [None]
    metric = {"metric": "procrustes_mpjpe_mm", "title": "MPJPE mm, Procrustes", "higher_is_better": False}
    rows = [
        [cell(12.0, 14.0, best=True), cell(9.0)],
        [cell(), cell(failed=2)],
        [cell(30.0, seeds=1), cell(30.0, seeds=1)],
    ]
    content = {
        "format": 1,
        "title": "A tenth of *all* labels",
        "seeds": [1, 2],
        "axes": {axis: ["any"] for axis in AXES},
        "runs": [
            dict.fromkeys(AXES, "any")
            | {"seed": 1, "step": f"evaluate-{number}", "state": state, "metrics": {}, "mean_pose": {}}
            for number, state in enumerate(("done", "done", "done", "failed"))
        ],
        "tables": [
            {
                "name": "main",
                "title": None,
                "rows_axis": "method",
                "columns_axis": "label_fraction" if columns else None,
                "where": {"dataset": "synthetic"},
                "rows": ["simhand", "peclr|x", "mean pose"],
                "columns": [{"label": label, **metric} for label in labels],
                "cells": [row[: len(labels)] for row in rows],
            }
        ],
    }
    (path / "results.json").write_text(json.dumps(content))
    return path
