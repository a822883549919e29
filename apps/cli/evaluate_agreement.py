"""``handsim evaluate agreement``: how far an estimator and MediaPipe agree in 3D on a pool's hands."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from apps.cli.console import find_estimator, find_home, format_table, progress_bar
from handsim.files import write_text_atomically
from handsim.pool import Pool

if TYPE_CHECKING:
    from training.evaluation.agreement import Agreement, Distance

REPORT_FILE: Final = "agreement.json"
_EPILOG: Final = """\
Agreement is not error: the true joints of a photograph are not known, and MediaPipe's are an estimate, too.
Distances are in mm, for hands as large as MediaPipe takes them to be. Into runs/NAME/ goes agreement.json.
"""


def add_agreement_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    line = "a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file"
    parser.add_argument("estimator", metavar="RUN|CHECKPOINT", help=line)
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    line = "random hands of the pool to compare on (%(default)s)"
    parser.add_argument("--sample", type=int, default=1000, metavar="N", help=line)
    parser.add_argument("--seed", type=int, default=0, help="which hands those are (%(default)s)")
    line = "MediaPipe's hand_landmarker.task (default: the cache)"
    parser.add_argument("--model", type=Path, metavar="FILE", help=line)
    line = "name of the directory in runs/ (default: RUN-agreement)"
    parser.add_argument("--name", metavar="RUN", help=line)
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from handsim.detection import require_model
    from handsim.detection.networks import HandNetworks
    from training.evaluation.agreement import measure_agreement
    from training.finetune.predictor import load_estimator
    from training.runs.settings import check_at_least

    check_at_least("--sample", options.sample, 1)
    check_at_least("--seed", options.seed, 0)
    home = find_home(options)
    pool = Pool.open(home.pool)
    checkpoint = find_estimator(options.estimator, home, last=options.last)
    in_run = checkpoint.parent.name == "checkpoints"
    run = checkpoint.parent.parent.name if in_run else checkpoint.stem
    folder = home.run(options.name or f"{run}-agreement")
    networks = HandNetworks(require_model(options.model))
    with progress_bar("comparing", "hand") as progress:
        agreement = measure_agreement(
            pool,
            load_estimator(checkpoint),
            networks,
            sample=options.sample,
            seed=options.seed,
            progress=progress,
        )
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {
        "pool": str(pool.path),
        "checkpoint": str(checkpoint.resolve()),
        "seed": options.seed,
        **asdict(agreement),
    }
    write_text_atomically(folder / REPORT_FILE, json.dumps(content, indent=1) + "\n")
    print(format_agreement(run, agreement))
    print(f"\nwritten to {folder}")
    return 0


def format_agreement(run: str, agreement: "Agreement") -> str:
    """Which hands, and the distances of the estimator's and of the mean hand's joints to MediaPipe's."""
    from training.evaluation.agreement import ALIGNMENTS
    from training.evaluation.report import ALIGNMENT_TITLES

    lines = [f"{run} and MediaPipe on {agreement.hands:,} hands of {agreement.videos:,} people or videos"]
    lines += [f"left out: {count:,} {reason}" for reason, count in agreement.left_out.items()]
    rows = [
        [
            ALIGNMENT_TITLES[name],
            _format_distance(agreement.estimator[name]),
            _format_distance(agreement.mean_hand[name]),
        ]
        for name in ALIGNMENTS
    ]
    header = ["mean distance, mm", ">to MediaPipe's joints", ">of MediaPipe's mean hand"]
    note = "agreement of two estimates, not an error; [ ]: intervals of 95 % over people or videos"
    return "\n".join([*lines, "", format_table(header, rows), note])


def _format_distance(distance: "Distance") -> str:
    text = f"{distance.mean_mm:.1f}"
    if distance.interval_mm is None:
        return text
    low, high = distance.interval_mm
    return f"{text} [{low:.1f}, {high:.1f}]"
