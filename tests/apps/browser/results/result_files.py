"""Files of evaluations and experiments as the commands write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from handsim.metrics.pose import PCK_0_50
from handsim.skeleton import JOINT_NAMES
from training.evaluation.report import ALIGNMENTS, REPORT_FILE
from training.experiments.config import AXES


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
    numbers = {
        "mpjpe_mm": error_mm,
        "median_mm": error_mm,
        "auc_0_50": 1 - error_mm / 50,
        "auc_20_50": 0.1,
    }
    return {f"{name}_{number}": value for name in ALIGNMENTS for number, value in numbers.items()}


def _joints(error_mm: float) -> dict[str, dict[str, float | None]]:
    """The wrist has no truth."""
    return {
        name: {joint: error_mm if at else None for at, joint in enumerate(JOINT_NAMES)} for name in ALIGNMENTS
    }


def _curve(error_mm: float) -> dict[str, list[float]]:
    thresholds = PCK_0_50.thresholds_mm
    within = (thresholds >= error_mm).astype(np.float64).tolist()
    return {"thresholds_mm": thresholds.tolist(), **dict.fromkeys(ALIGNMENTS, within)}


def write_retrieval(path: Path, **numbers: object) -> Path:
    """An evaluation of retrieval without labels."""
    path.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "index_version": "v0001",
        "embedding_fingerprint": "abc",
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
