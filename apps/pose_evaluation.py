"""An evaluation of estimated poses as a run: numbers and predictions in files, figures beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from apps.figures.pose import joint_errors, pck_curves
from apps.figures.pose_samples import DrawnSample, pose_samples
from apps.figures.style import save
from apps.table import table
from handsim.geometry import apply_affine, crop_affine
from handsim.skeleton import WRIST
from training.datasets.record import HandDataset
from training.evaluation.conventions import ALIGNMENT_TITLES, OFFICIAL
from training.evaluation.report import Evaluation
from training.evaluation.scores import SplitScores, hand_errors_mm
from training.finetune.cropping import CropSettings, cut_hand

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
    cut = cut_hand(hand, CropSettings(evaluation.facts["crop_factor"], _DRAWN_PX))
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
    facts, dataset = evaluation.facts, evaluation.dataset
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
    return table(header, rows)
