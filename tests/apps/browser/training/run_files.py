"""Folders of runs as trainings write them."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
    trainer = {"epochs": 1, "accumulate": 1, "max_steps": None}
    config = {
        "encoder": {"architecture": "resnet18", "init": init},
        "trainer": trainer,
        "log": {"metrics_every_steps": 10},
        "seed": seed,
    }
    facts: dict[str, Any] = {"architecture": "resnet18", "seed": seed, "batches_an_epoch": steps}
    if finetuning:
        facts |= {"kind": "fine-tuning", "hands_a_step": 32}
    else:
        facts |= {"pairs_a_step": 16, "index": "v0001"}
    (path / "config.yaml").write_text("seed: 1\n")
    (path / "facts.json").write_text(json.dumps({**facts, "config": config}))
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    set_age(path, age_s)
    return path


def set_age(path: Path, age_s: float) -> None:
    """Let all files of a run be as old as that at `NOW`."""
    for file in path.iterdir():
        os.utime(file, (NOW - age_s, NOW - age_s))


def loss_lines(count: int, every: int = 10) -> list[dict[str, Any]]:
    """Lines of a training whose loss is falling."""
    return [
        {
            "step": every * (number + 1),
            "loss": 5.0 / (number + 1),
            "images_per_s": 320.0,
            "data_wait": 0.25,
            "index_wait": 0.125,
            "lr": 1e-3,
            "epoch": 0.1,
        }
        for number in range(count)
    ]
