"""``handsim evaluate``: numbers and figures into ``runs/NAME``; the other subjects have own files."""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from apps.cli.console import add_action, find_catalog, find_estimator, find_home, format_table, progress_bar
from apps.cli.evaluate_agreement import add_agreement_arguments
from apps.cli.evaluate_detection import add_detection_arguments
from apps.cli.evaluate_encoder import add_encoder_arguments
from apps.cli.evaluate_pairs_3d import (
    KEY,
    describe_pairs_3d,
    format_pairs_3d,
    histogram,
    save_pairs_3d_figure,
)
from handsim.english import percent, pluralize
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.pool import Pool
from index import IndexVersion
from index.evaluation import RetrievalEvaluation, RetrievalReport, evaluate_retrieval
from index.pairs_3d import measure_pairs_3d

if TYPE_CHECKING:
    from apps.cli.figures import PoseSample
    from handsim.metrics.mesh import MeshScores
    from training.datasets.record import HandDataset
    from training.evaluation.report import Evaluation, SplitScores

_SAMPLES: Final = 2
"""Hands drawn of the best, of the median and of the worst ones."""
_CANDIDATE_SHARE: Final = 0.1
_MAX_CANDIDATES: Final = 200
"""Hands of different people are looked for among so many, so that what is called best is among the best."""
_CROP_PX: Final = 224
_CROP_FACTOR: Final = 1.75
"""Of hands that another method predicted, to be drawn: as handsim's own estimators see them."""
_GROUND_TRUTH_HINTS: Final = {
    "freihand": "; put evaluation_xyz.json, of FreiHAND_pub_v2_eval.zip, beside evaluation_K.json",
    "ho3d": "; put evaluation_xyz.json, a download of its own, beside evaluation.txt",
    "assemblyhands": "; the truth of its test split is not public, evaluate on val",
}
_EPILOG: Final = """\
Hands are cut out around their true 2D joints, as in the published evaluations. Into runs/NAME/ go pose.json
(settings, facts, metrics), predictions.parquet and figures/. Beside every number stands that of the mean pose
of the dataset's training split: the score of an estimator that ignores the image.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    subjects = parser.add_subparsers(metavar="WHAT", required=True)
    _add_retrieval(add_action(subjects, "retrieval", "recall of the index, and how alike neighbours are"))
    _add_pose(add_action(subjects, "pose", "errors of estimated 3D hand poses on a labelled dataset"))
    line = "how many labelled hands a detector finds, and how well"
    add_detection_arguments(add_action(subjects, "detection", line))
    line = "how far an estimator and MediaPipe agree in 3D on photographs whose true joints nobody knows"
    add_agreement_arguments(add_action(subjects, "agreement", line))
    line = "what frozen encoders know of labelled photographs, of people they are not told of"
    add_encoder_arguments(add_action(subjects, "encoder", line))


def _add_retrieval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", action="store_true", help="also precision by label among other videos")
    line = "also errors of mined pairs in 3D; of a pool that knows its hands' joints there, as synthetic ones"
    parser.add_argument("--labels3d", action="store_true", help=line)
    line = "hands to search for (%(default)s)"
    parser.add_argument("--sample", type=int, default=2000, metavar="N", help=line)
    parser.add_argument("--seed", type=int, default=0, help="which hands those are (%(default)s)")
    line = "name of the directory in runs/ (%(default)s)"
    parser.add_argument("--name", default="retrieval", metavar="RUN", help=line)
    parser.set_defaults(run=_retrieval)


def _retrieval(options: argparse.Namespace) -> int:
    home = find_home(options)
    pool = Pool.open(home.pool)
    if options.labels and not pool.labels.names:
        raise HandsimError(
            f"no hand of {pool.path} has a label; ingest with --label-from, or leave --labels out"
        )
    directory = home.run(options.name)
    with find_catalog(options) as catalog, catalog.current() as version:
        pairs_3d = None
        if options.labels3d:  # first: it says at once where there are no such labels
            pairs_3d = measure_pairs_3d(version, pool, sample=options.sample, seed=options.seed)
        evaluation = evaluate_retrieval(version, pool, sample=options.sample, seed=options.seed)
        described = None if pairs_3d is None else describe_pairs_3d(pairs_3d, pool)
        write_retrieval_evaluation(directory, version, evaluation, described)
    print(format_table(["", ""], _summarize_retrieval(evaluation.report, options.labels)).lstrip("\n"))
    if pairs_3d is not None and described is not None:
        save_pairs_3d_figure(pairs_3d, directory / "figures")
        print(f"\n{format_pairs_3d(pairs_3d.report, described['weights'])}")
    print(f"\nwritten to {directory}")
    return 0


def write_retrieval_evaluation(
    directory: Path,
    version: IndexVersion,
    evaluation: RetrievalEvaluation,
    pairs_3d: dict[str, Any] | None = None,
) -> None:
    """Write ``retrieval.json``, with what was measured of pairs in 3D, and figures into a run's directory."""
    from apps.cli.figures import plot_explained_variance, plot_pose_distances, save_figure

    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "index_version": version.info.name,
        "embedding_fingerprint": version.info.embedding_fingerprint,
        **asdict(evaluation.report),
        **({} if pairs_3d is None else {KEY: pairs_3d}),
        "curves": _describe_curves(version, evaluation),
    }
    write_text_atomically(directory / "retrieval.json", json.dumps(content, indent=1) + "\n")
    figures = directory / "figures"
    save_figure(plot_explained_variance(version.embedding), figures / "explained_variance.png")
    if len(evaluation.mined_distances):
        distances = plot_pose_distances(evaluation.mined_distances, evaluation.random_distances)
        save_figure(distances, figures / "pose_distances.png")


def _describe_curves(version: IndexVersion, evaluation: RetrievalEvaluation) -> dict[str, Any]:
    """What the figures are drawn of, for the browser: it draws them in its own colours."""
    curves: dict[str, Any] = {"explained_variance": version.embedding.explained_variance_ratio_.tolist()}
    pairs = {"mined": evaluation.mined_distances, "random": evaluation.random_distances}
    if all(len(distances) for distances in pairs.values()):
        curves["pose_distances"] = histogram(pairs)
    return curves


def _describe_ceiling(report: RetrievalReport) -> str:
    """That precision at 10 cannot be 1 where labels have fewer than ten hands in other videos."""
    ceiling = report.ceiling_at_10
    return "" if ceiling is None or ceiling == 1 else f" of {ceiling:.4f} at most, as labels have few hands"


def _summarize_retrieval(report: RetrievalReport, labels: bool) -> list[list[str]]:
    """Rows of a measure and its value."""
    rows = [
        ["hands in the index", f"{report.points:,}"],
        ["hands asked for", f"{report.sample:,}"],
        ["recall@1 against exact search", f"{report.recall_at_1:.4f}"],
        ["recall@10 against exact search", f"{report.recall_at_10:.4f}"],
    ]
    if labels and report.precision_at_1 is not None and report.precision_at_10 is not None:
        rows += [
            ["precision@1 by label, other videos", f"{report.precision_at_1:.4f}"],
            [
                "precision@10 by label, other videos",
                f"{report.precision_at_10:.4f}{_describe_ceiling(report)}",
            ],
        ]
    if labels and report.without_peer:
        rows.append(["... left out, no other video has their label", pluralize(report.without_peer, "hand")])
    if report.mined_pose_distance is not None and report.random_pose_distance is not None:
        rows += [
            ["joint distance of mined pairs", f"{report.mined_pose_distance:.3f} of the picture's width"],
            ["joint distance of random pairs", f"{report.random_pose_distance:.3f} of the picture's width"],
        ]
    return [
        *rows,
        ["hands with a match", percent(report.covered)],
        ["mined pairs across videos", percent(report.cross_video_share)],
        ["... without the other-video rule", percent(report.cross_video_share_unfiltered)],
        ["explained variance", percent(report.explained_variance)],
    ]


def _add_pose(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "estimator",
        nargs="?",
        metavar="RUN|CHECKPOINT",
        help="a run of `handsim finetune`, of which the best checkpoint is taken, or a checkpoint's file; "
        "--predictions, --dataset and --root do without",
    )
    parser.add_argument("--last", action="store_true", help="take the run's last checkpoint")
    parser.add_argument("--dataset", metavar="NAME", help="the dataset (default: that of the training)")
    parser.add_argument("--root", type=Path, metavar="DIR", help="its folder (default: as in training)")
    parser.add_argument("--split", metavar="S", help="its split (default: the one that its papers report)")
    line = "score this file, and predict nothing: Parquet, or FreiHAND's pred.json, of any method"
    parser.add_argument("--predictions", type=Path, metavar="FILE", help=line)
    line = "also write the file that FreiHAND's server takes (split eval)"
    parser.add_argument("--pred-json", type=Path, metavar="FILE", help=line)
    line = "leave out the hands that this list names: bad.json of `handsim dataset check`"
    parser.add_argument("--skip-bad", type=Path, metavar="FILE", help=line)
    parser.add_argument("--batch-size", type=int, metavar="N", help="hands at once (default: as in training)")
    line = "processes that read, 0: threads (default: as in training)"
    parser.add_argument("--workers", type=int, metavar="N", help=line)
    parser.add_argument("--name", metavar="NAME", help="the directory in runs/ (default: RUN-SPLIT)")
    parser.set_defaults(run=_pose)


def _pose(options: argparse.Namespace) -> int:
    from training.evaluation.evaluate import PoseRequest, evaluate_pose
    from training.evaluation.report import write_evaluation

    home = find_home(options)
    folder = None if options.name is None else home.run(options.name)
    checkpoint = None
    if options.estimator is not None:
        checkpoint = find_estimator(options.estimator, home, last=options.last)
    request = PoseRequest(
        checkpoint=checkpoint,
        dataset=options.dataset,
        root=options.root,
        split=options.split,
        predictions=options.predictions,
        pred_json=options.pred_json,
        skip_bad=options.skip_bad,
        batch_size=options.batch_size,
        workers=options.workers,
    )
    with progress_bar("evaluating") as progress:
        evaluation = evaluate_pose(request, progress)
    folder = folder or home.run(_default_name(evaluation))
    write_evaluation(folder, evaluation)
    if evaluation.scores is not None:
        _write_pose_figures(folder / "figures", evaluation)
    print(format_pose_evaluation(evaluation))
    print(f"\nwritten to {folder}")
    if options.pred_json is not None:
        meshes = "meshes that are all zero" if evaluation.predicted.vertices_mm is None else "their meshes"
        print(f"{options.pred_json}: joints in FreiHAND's order, and {meshes}")
    return 0


def _default_name(evaluation: "Evaluation") -> str:
    """The run, or the predictions' file, the dataset if it is not the one of the training, and the split."""
    name, split = evaluation.dataset.name, evaluation.dataset.split
    other_dataset = [name] if name != evaluation.metadata.get("trained_on") else []
    run = re.sub(r"[^A-Za-z0-9_.-]", "_", evaluation.metadata["run"])
    return "-".join([run, *other_dataset, split])


def _write_pose_figures(folder: Path, evaluation: "Evaluation") -> None:
    """Raises HandsimError for an image that cannot be read again."""
    from apps.cli.figures import plot_joint_errors, plot_pck_curves, plot_pose_samples, save_figure

    assert evaluation.scores is not None
    save_figure(plot_pck_curves(evaluation.scores, evaluation.mean_pose), folder / "pck.png")
    save_figure(plot_joint_errors(evaluation.scores, evaluation.mean_pose), folder / "joint_errors.png")
    rows = [
        (title, [_make_sample(evaluation, row, error_mm) for row, error_mm in ranked])
        for title, ranked in choose_samples(evaluation).items()
    ]
    save_figure(plot_pose_samples(rows), folder / "samples.png")


def choose_samples(evaluation: "Evaluation", count: int = _SAMPLES) -> dict[str, list[tuple[int, float]]]:
    """Rows and root-relative errors in mm of the best, the median and the worst hands, none of them twice.

    Frames of one person are much alike, so the hands of each group are of different people if possible.
    """
    from training.evaluation.report import hand_errors_mm

    errors_mm = hand_errors_mm(evaluation.predicted, evaluation.true)
    order = [row for row in np.argsort(errors_mm, kind="stable").tolist() if np.isfinite(errors_mm[row])]
    by_median = sorted(order, key=lambda row: abs(errors_mm[row] - np.nanmedian(errors_mm)))
    each = min(count, -(-len(order) // 3))
    candidates = max(each, min(_MAX_CANDIDATES, int(_CANDIDATE_SHARE * len(order))))
    groups: dict[str, list[tuple[int, float]]] = {}
    taken: set[int] = set()
    for title, rows in (("best", order), ("worst", order[::-1]), ("median", by_median)):
        free = [row for row in rows if row not in taken]
        chosen = _choose_different_people(free[:candidates], evaluation.dataset, each)
        taken.update(chosen)
        groups[title] = [(row, float(errors_mm[row])) for row in chosen]
    return {title: groups[title] for title in ("best", "median", "worst") if groups[title]}


def _choose_different_people(rows: Sequence[int], dataset: "HandDataset", count: int) -> list[int]:
    """The first rows of subjects that no earlier row has; filled up with the first rows."""
    chosen: list[int] = []
    subjects: set[str] = set()
    for row in rows:
        if len(chosen) == count:
            break
        subject = dataset.label(row).subject
        if subject not in subjects:
            chosen.append(row)
            subjects.add(subject)
    return (chosen + [row for row in rows if row not in chosen])[:count]


def _make_sample(evaluation: "Evaluation", row: int, error_mm: float) -> "PoseSample":
    from apps.cli.figures import PoseSample
    from handsim.geometry import apply_affine, crop_affine
    from handsim.skeleton import WRIST
    from training.finetune.data import cut_hand
    from training.finetune.pose_model import CropSettings

    hand = evaluation.dataset[row]
    cut = cut_hand(hand, CropSettings(evaluation.metadata.get("crop_factor", _CROP_FACTOR), _CROP_PX))
    to_crop = crop_affine(cut.square_px, size=1.0)
    return PoseSample(
        caption=f"{error_mm:.1f} mm",
        sample_id=hand.sample_id,
        crop=cut.crop,
        predicted_2d=apply_affine(to_crop, evaluation.predicted.keypoints_2d_px[row]),
        true_2d=cut.keypoints,
        predicted_mm=evaluation.predicted.joints_3d_mm[row],
        true_mm=hand.joints_3d_mm - hand.joints_3d_mm[WRIST],
        valid=hand.valid,
    )


def format_pose_evaluation(evaluation: "Evaluation") -> str:
    """Which run on which dataset, and the scores beside those of the mean pose."""
    from training.evaluation.report import OFFICIAL

    metadata, dataset = evaluation.metadata, evaluation.dataset
    origin = f"predictions of {metadata['run']}"
    if "checkpoint" in metadata:
        name = Path(metadata["checkpoint"]).name
        origin = f"{metadata['run']} ({name}, trunk from {metadata['init']})"
    lines = [f"{origin} on {metadata['hands']:,} hands of {dataset.name} {dataset.split}\n"]
    if metadata.get("skipped_bad"):
        skipped = pluralize(metadata["skipped_bad"], "hand")
        lines.append(
            f"WITHOUT {skipped} that {evaluation.settings['skip_bad']} names: these numbers are not "
            "comparable with published ones\n"
        )
    if metadata.get("outside"):
        outside = pluralize(metadata["outside"], "hand")
        lines.append(
            f"{outside} with fewer than a quarter of their joints in the picture count as all others do\n"
        )
    if evaluation.scores is None:
        hint = _GROUND_TRUTH_HINTS.get(dataset.name, "")
        lines.append(f"no joint of {dataset.split} is annotated, so nothing was measured{hint}")
        return "\n".join(lines)
    lines.append(_format_scores(evaluation.scores, evaluation.mean_pose, dataset.name))
    if (keypoints := evaluation.scores.keypoints) is not None:
        median = f"median {keypoints.median_px:.2f} px"
        lines.append(f"\n2D joints: {keypoints.mean_px:.2f} px from the truth, {median}")
    if evaluation.scores.meshes:
        lines.append(f"\n{_format_meshes(evaluation.scores.meshes, dataset.name)}")
    elif metadata.get("mesh"):
        lines.append(f"meshes were not measured: {metadata['mesh']}")
    if dataset.name in OFFICIAL:
        lines.append(f"* as results on {dataset.name} are reported")
    lines.append(f"mean pose: {metadata['mean_pose']}")
    return "\n".join(lines)


def _format_scores(scores: "SplitScores", mean_pose: "SplitScores | None", dataset: str) -> str:
    from training.evaluation.report import ALIGNMENT_TITLES, OFFICIAL

    rows = []
    for name, score in scores.alignments.items():
        baseline = None if mean_pose is None else mean_pose.alignments[name]
        rows.append(
            [
                ALIGNMENT_TITLES[name] + (" *" if name in OFFICIAL.get(dataset, ()) else ""),
                f"{score.mpjpe_mm:.2f}",
                f"{score.median_mm:.2f}",
                f"{score.auc_0_50:.3f}",
                f"{score.auc_20_50:.3f}",
                "" if baseline is None else f"{baseline.mpjpe_mm:.2f}",
                "" if baseline is None else f"{baseline.auc_0_50:.3f}",
            ]
        )
    header = ["", ">MPJPE mm", ">median mm", ">AUC 0-50", ">AUC 20-50", ">mean pose mm", ">its AUC 0-50"]
    return format_table(header, rows)


def _format_meshes(meshes: "dict[str, MeshScores]", dataset: str) -> str:
    from training.evaluation.report import ALIGNMENT_TITLES, OFFICIAL

    rows = [
        [
            ALIGNMENT_TITLES[name] + (" *" if name in OFFICIAL.get(dataset, ()) else ""),
            *(f"{scores.mpvpe_mm:.2f}", f"{scores.auc_0_50:.3f}", f"{scores.f_5:.3f}", f"{scores.f_15:.3f}"),
        ]
        for name, scores in meshes.items()
    ]
    return format_table(["mesh", ">MPVPE mm", ">AUC 0-50", ">F@5 mm", ">F@15 mm"], rows)
