"""``handsim evaluate pose``: a fine-tuned estimator, or a file of predictions, against the truth."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.places import estimator_of, home_of
from apps.progress import progress_bar

if TYPE_CHECKING:
    from training.evaluation.report import Evaluation

_EPILOG: Final = """\
Hands are cut out around their true 2D joints, as in the published evaluations. Into runs/NAME/ go pose.json
(settings, facts, metrics), predictions.parquet and figures/. Beside every number stands that of the mean pose
of the dataset's training split: what an estimator that never looks at the picture scores.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "estimator",
        metavar="RUN|CHECKPOINT",
        help="a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file",
    )
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    parser.add_argument("--dataset", metavar="NAME", help="what to judge it by (default: what it learned)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="where that lies (default: as in training)")
    parser.add_argument(
        "--split", metavar="S", help="which part of it (default: the one that its papers report)"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="score this Parquet file, and predict nothing"
    )
    parser.add_argument(
        "--pred-json", type=Path, metavar="FILE", help="also write what FreiHAND's server takes (split eval)"
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="hands at once (default: as in training)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes that read, 0: threads (default: as in training)"
    )
    parser.add_argument("--name", metavar="NAME", help="the directory in runs/ (default: RUN-SPLIT)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    # Only here: `handsim evaluate retrieval` does without torch.
    from apps.pose_evaluation import as_text, save_figures
    from training.evaluation.report import write_evaluation
    from training.evaluation.run import PoseRequest, evaluate_pose

    home = home_of(options)
    folder = None if options.name is None else home.run(options.name)
    request = PoseRequest(
        checkpoint=estimator_of(options.estimator, home, last=options.last),
        dataset=options.dataset,
        root=options.root,
        split=options.split,
        predictions=options.predictions,
        pred_json=options.pred_json,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_pose(request, progress)
    folder = folder or home.run(_default_name(evaluation))
    write_evaluation(folder, evaluation)
    if evaluation.scores is not None:
        save_figures(folder / "figures", evaluation)
    print(as_text(evaluation))
    print(f"\nwritten to {folder}")
    if options.pred_json is not None:
        print(f"{options.pred_json}: joints in FreiHAND's order, and meshes that are all zero")
    return 0


def _default_name(evaluation: "Evaluation") -> str:
    """The run and the split, and the dataset where it is another than the one that was trained on."""
    name, split = evaluation.dataset.name, evaluation.dataset.split
    elsewhere = [name] if name != evaluation.facts["trained_on"] else []
    return "-".join([evaluation.facts["run"], *elsewhere, split])
