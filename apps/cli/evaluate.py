"""``handsim evaluate retrieval`` and ``handsim evaluate pose``.

``handsim evaluate pose``: a fine-tuned estimator, or a file of predictions, against the truth.

An evaluation of retrieval as a run: numbers in JSON, figures beside them.

An evaluation of estimated poses as a run: numbers and predictions in files, figures beside them.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from apps.cli.console import find_catalog, find_estimator, find_home, format_table, progress_bar
from apps.cli.figures import (
    DrawnSample,
    explained_variance,
    joint_errors,
    pck_curves,
    pose_distances,
    pose_samples,
    save,
)
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.geometry import apply_affine, crop_affine
from handsim.pool import Pool
from handsim.skeleton import WRIST
from index import IndexVersion
from index.evaluation import RetrievalEvaluation, RetrievalReport, evaluate_retrieval
from training.datasets.record import HandDataset
from training.evaluation.report import ALIGNMENT_TITLES, OFFICIAL, Evaluation, SplitScores, hand_errors_mm
from training.finetune.data import CropSettings, cut_hand

if TYPE_CHECKING:
    from training.evaluation.report import Evaluation


_EPILOG: Final = """\
Hands are cut out around their true 2D joints, as in the published evaluations. Into runs/NAME/ go pose.json
(settings, facts, metrics), predictions.parquet and figures/. Beside every number stands that of the mean pose
of the dataset's training split: what an estimator that never looks at the picture scores.
"""


def _add_pose_arguments(parser: argparse.ArgumentParser) -> None:
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
    pass  # MERGED
    from training.evaluation.evaluate import PoseRequest, evaluate_pose
    from training.evaluation.report import write_evaluation

    home = find_home(options)
    folder = None if options.name is None else home.run(options.name)
    request = PoseRequest(
        checkpoint=find_estimator(options.estimator, home, last=options.last),
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
    elsewhere = [name] if name != evaluation.metadata["trained_on"] else []
    return "-".join([evaluation.metadata["run"], *elsewhere, split])


def check_labels(pool: Pool) -> None:
    """Raise HandsimError when there is no label to measure precision by."""
    if not pool.labels.names:
        raise HandsimError(
            f"no hand of {pool.path} has a label; ingest with --label-from, or leave --labels out"
        )


def write_retrieval_evaluation(
    directory: Path, version: IndexVersion, evaluation: RetrievalEvaluation
) -> None:
    """Write ``retrieval.json`` and the figures into a run's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = {
        "index_version": version.info.name,
        "embedding_fingerprint": version.info.embedding_fingerprint,
        **asdict(evaluation.report),
    }
    write_text_atomically(directory / "retrieval.json", json.dumps(facts, indent=1) + "\n")
    save(explained_variance(version.embedding), directory / "figures" / "explained_variance.png")
    if len(evaluation.mined_distances):
        drawn = pose_distances(evaluation.mined_distances, evaluation.random_distances)
        save(drawn, directory / "figures" / "pose_distances.png")


def summary_rows(report: RetrievalReport, *, labels: bool) -> list[list[str]]:
    """(What it is, its value) for the terminal."""
    rows = [
        ["hands in the index", f"{report.points:,}"],
        ["hands asked for", f"{report.sample:,}"],
        ["recall@1 against exact search", f"{report.recall_at_1:.4f}"],
        ["recall@10 against exact search", f"{report.recall_at_10:.4f}"],
    ]
    if labels and report.precision_at_1 is not None and report.precision_at_10 is not None:
        rows += [
            ["precision@1 by label, other videos", f"{report.precision_at_1:.4f}"],
            ["precision@10 by label, other videos", f"{report.precision_at_10:.4f}"],
        ]
    if report.mined_pose_distance is not None and report.random_pose_distance is not None:
        rows += [
            ["joint distance of mined pairs", f"{report.mined_pose_distance:.4f} crop widths"],
            ["joint distance of random pairs", f"{report.random_pose_distance:.4f} crop widths"],
        ]
    return [
        *rows,
        ["hands with a positive", f"{report.covered:.2%}"],
        ["mined pairs across videos", f"{report.cross_video_share:.2%}"],
        ["... without the other-video rule", f"{report.cross_video_share_unfiltered:.2%}"],
        ["explained variance", f"{report.explained_variance:.2%}"],
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    subjects = parser.add_subparsers(metavar="WHAT", required=True)
    retrieval = subjects.add_parser("retrieval", help="recall of the index, and how alike neighbours are")
    retrieval.add_argument("--labels", action="store_true", help="also precision by label among other videos")
    retrieval.add_argument(
        "--sample", type=int, default=2000, metavar="N", help="hands asked for (%(default)s)"
    )
    retrieval.add_argument("--seed", type=int, default=0, help="which hands those are (%(default)s)")
    retrieval.add_argument(
        "--name", default="retrieval", metavar="RUN", help="name of the directory in runs/ (%(default)s)"
    )
    retrieval.set_defaults(run=_retrieval)
    _add_pose_arguments(
        subjects.add_parser("pose", help="errors of estimated 3D hand poses on a labelled dataset")
    )


def _retrieval(options: argparse.Namespace) -> int:
    home = find_home(options)
    pool = Pool.open(home.pool)
    if options.labels:
        check_labels(pool)
    directory = home.run(options.name)
    with find_catalog(options) as catalog, catalog.current() as version:
        evaluation = evaluate_retrieval(version, pool, sample=options.sample, seed=options.seed)
        write_retrieval_evaluation(directory, version, evaluation)
    print(format_table(["", ""], summary_rows(evaluation.report, labels=options.labels)).lstrip("\n"))
    print(f"\nwritten to {directory}")
    return 0


_SAMPLES: Final = 2
"""Hands drawn of the best, of the median and of the worst ones."""
_LOOKED_AT_SHARE: Final = 0.1
_MOST_LOOKED_AT: Final = 200
"""Hands among which those of different people are looked for: what is called best is among the best."""
_DRAWN_PX: Final = 224
_WHERE_TRUTH_IS: Final = {
    "freihand": "; put evaluation_xyz.json, of FreiHAND_pub_v2_eval.zip, beside evaluation_K.json",
    "assemblyhands": "; the truth of its test split is not public, evaluate on val",
}


def save_figures(folder: Path, evaluation: Evaluation) -> None:
    """Draw what was measured into ``folder``; raises HandsimError for a picture that cannot be read again."""
    assert evaluation.scores is not None
    save(pck_curves(evaluation.scores, evaluation.mean_pose), folder / "pck.png")
    save(joint_errors(evaluation.scores, evaluation.mean_pose), folder / "joint_errors.png")
    rows = [
        (title, [_sample(evaluation, row, error_mm) for row, error_mm in chosen])
        for title, chosen in ranked(evaluation).items()
    ]
    save(pose_samples(rows), folder / "samples.png")


def ranked(evaluation: Evaluation, count: int = _SAMPLES) -> dict[str, list[tuple[int, float]]]:
    """Rows and root-relative errors in mm of the best, the median and the worst hands, none of them twice.

    Frames of one person are much alike, so each is of another one, where there are such ones.
    """
    errors_mm = hand_errors_mm(evaluation.predicted, evaluation.true)
    order = [row for row in np.argsort(errors_mm, kind="stable").tolist() if np.isfinite(errors_mm[row])]
    from_the_middle = sorted(order, key=lambda row: abs(errors_mm[row] - np.nanmedian(errors_mm)))
    chosen: dict[str, list[tuple[int, float]]] = {}
    taken: set[int] = set()
    for title, rows in (("best", order), ("worst", order[::-1]), ("median", from_the_middle)):
        left = [row for row in rows if row not in taken]
        wanted = min(count, -(-len(order) // 3))
        looked_at = max(wanted, min(_MOST_LOOKED_AT, int(_LOOKED_AT_SHARE * len(order))))
        some = _of_different_people(left[:looked_at], evaluation.dataset, wanted)
        taken.update(some)
        chosen[title] = [(row, float(errors_mm[row])) for row in some]
    return {title: chosen[title] for title in ("best", "median", "worst") if chosen[title]}


def _of_different_people(rows: Sequence[int], dataset: HandDataset, count: int) -> list[int]:
    """The first rows whose subjects are not those before them; filled up with the first ones."""
    some: list[int] = []
    seen: set[str] = set()
    for row in rows:
        if len(some) == count:
            break
        subject = dataset.label(row).subject
        if subject not in seen:
            some.append(row)
            seen.add(subject)
    return (some + [row for row in rows if row not in some])[:count]


def _sample(evaluation: Evaluation, row: int, error_mm: float) -> DrawnSample:
    hand = evaluation.dataset[row]
    cut = cut_hand(hand, CropSettings(evaluation.metadata["crop_factor"], _DRAWN_PX))
    to_crop = crop_affine(cut.square_px, size=1.0)
    return DrawnSample(
        caption=f"{error_mm:.1f} mm",
        sample_id=hand.sample_id,
        crop=cut.crop,
        predicted_2d=apply_affine(to_crop, evaluation.predicted.keypoints_2d_px[row]),
        true_2d=cut.keypoints,
        predicted_mm=evaluation.predicted.joints_3d_mm[row],
        true_mm=hand.joints_3d_mm - hand.joints_3d_mm[WRIST],
        valid=hand.valid,
    )


def as_text(evaluation: Evaluation) -> str:
    """What was evaluated on what, and the scores beside those of the mean pose, for the terminal."""
    facts, dataset = evaluation.metadata, evaluation.dataset
    lines = [
        f"{facts['run']} ({Path(facts['checkpoint']).name}, trunk from {facts['init']}) on "
        f"{facts['hands']:,} hands of {dataset.name} {dataset.split}\n"
    ]
    if evaluation.scores is None:
        remedy = _WHERE_TRUTH_IS.get(dataset.name, "")
        lines.append(f"no joint of {dataset.split} is annotated, so nothing was measured{remedy}")
        return "\n".join(lines)
    lines.append(_table(evaluation.scores, evaluation.mean_pose, dataset.name))
    if evaluation.scores.keypoints is not None:
        keypoints = evaluation.scores.keypoints
        lines.append(
            f"\n2D joints: {keypoints.mean_px:.2f} px from the truth, median {keypoints.median_px:.2f} px"
        )
    if dataset.name in OFFICIAL:
        lines.append(f"* as results on {dataset.name} are reported")
    lines.append(f"mean pose: {facts['mean_pose']}")
    return "\n".join(lines)


def _table(scores: SplitScores, mean_pose: SplitScores | None, dataset: str) -> str:
    rows = []
    for name, found in scores.alignments.items():
        floor = None if mean_pose is None else mean_pose.alignments[name]
        rows.append(
            [
                ALIGNMENT_TITLES[name] + (" *" if name in OFFICIAL.get(dataset, ()) else ""),
                f"{found.mpjpe_mm:.2f}",
                f"{found.median_mm:.2f}",
                f"{found.auc_0_50:.3f}",
                f"{found.auc_20_50:.3f}",
                "" if floor is None else f"{floor.mpjpe_mm:.2f}",
                "" if floor is None else f"{floor.auc_0_50:.3f}",
            ]
        )
    header = ["", ">MPJPE mm", ">median mm", ">AUC 0-50", ">AUC 20-50", ">mean pose mm", ">its AUC 0-50"]
    return format_table(header, rows)
