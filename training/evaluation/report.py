"""The scores of a split, by name, and the report that an evaluation writes.

A score has a flat name, ``ALIGNMENT_NUMBER`` as in ``root_relative_mpjpe_mm``; tables, experiments and the
browser find it by that name in ``pose.json``. `METRICS` lists all of them. Errors are in mm, areas under the
PCK curve (AUC) and F-scores are from 0 to 1. Those of meshes begin with ``mesh_``.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, did_you_mean
from handsim.files import write_text_atomically
from handsim.metrics.alignment import align_root, compare_poses
from handsim.metrics.mesh import MeshScores, score_meshes
from handsim.metrics.pose import (
    PCK_0_50,
    PCK_20_50,
    AlignedErrors,
    AlignmentScores,
    KeypointScores,
    joint_errors_mm,
    mean_of_each_hand_mm,
    measure_aligned,
    score_aligned,
    score_keypoints,
)
from handsim.skeleton import JOINT_NAMES
from training.datasets.record import HandDataset
from training.evaluation.hand_errors import HAND_ERRORS_FILE, HandErrors, write_hand_errors
from training.evaluation.predictions import PredictedHands, TrueHands, write_predictions

REPORT_FILE: Final = "pose.json"
PREDICTIONS_FILE: Final = "predictions.parquet"
FORMAT: Final = 1
"""Of ``pose.json``."""

ALIGNMENT_TITLES: Final = {
    "root_relative": "root-relative",
    "root_scale": "root and scale aligned",
    "procrustes": "Procrustes",
    "procrustes_proper": "Procrustes, never mirrored",
    "absolute": "absolute, in the camera",
}
"""How predictions are aligned to the truth before they are scored: name -> title."""
ALIGNMENTS: Final = tuple(ALIGNMENT_TITLES)
"""The fields of `PoseScores`; ``absolute`` needs predictions in the camera frame."""

OFFICIAL: Final = {
    "freihand": ("procrustes", "absolute"),
    "dexycb": ("absolute", "root_relative", "procrustes"),
    "assemblyhands": ("root_relative",),
    "ho3d": ("procrustes", "root_scale"),
    "interhand": ("root_relative",),
    "generic": ("root_relative", "procrustes"),
    "synthetic": ("root_scale",),
}
"""Dataset -> the alignments that its papers report.

FreiHAND (arXiv 1909.04349): Procrustes with reflections allowed, MPJPE and AUC of 0-50 mm; its server also
reports the unaligned numbers. DexYCB (arXiv 2104.04631): absolute, root-relative, Procrustes, in mm, AUC of
0-50 mm; frames without a valid joint are excluded. AssemblyHands (arXiv 2304.12301): wrist-relative MPJPE
over valid joints. HO-3D (arXiv 1907.01481): its server reports Procrustes, and root and scale aligned by the
same bone as here. InterHand2.6M (arXiv 2008.09309): wrist-relative MPJPE over valid joints. SiMHand
(arXiv 2502.15251): root and scale aligned, on all of them; our synthetic set follows it.
"""

_NUMBER_TITLES: Final = {
    "mpjpe_mm": "MPJPE mm",
    "median_mm": "median mm",
    "auc_0_50": "AUC 0-50 mm",
    "auc_20_50": "AUC 20-50 mm",
}
NUMBERS: Final = tuple(_NUMBER_TITLES)
"""The numbers of each alignment."""
MESH_NUMBER_TITLES: Final = {
    "mpvpe_mm": "MPVPE mm",
    "auc_0_50": "AUC 0-50 mm",
    "f_5": "F@5 mm",
    "f_15": "F@15 mm",
}
MESH_ALIGNMENTS: Final = ("procrustes", "absolute")
"""Of meshes (`handsim.metrics.mesh`), as FreiHAND's evaluation reports them."""
_KEYPOINT_TITLES: Final = {"keypoints_2d_mean_px": "2D mean px", "keypoints_2d_median_px": "2D median px"}


@dataclass(frozen=True)
class Metric:
    name: str
    """Flat, as ``root_relative_mpjpe_mm``."""
    title: str
    higher_is_better: bool
    """True of areas under a curve, false of distances."""

    @property
    def digits(self) -> int:
        return 3 if self.higher_is_better else 2


METRICS: Final = {
    **{
        f"{alignment}_{number}": Metric(
            f"{alignment}_{number}", f"{title}, {aligned}", number.startswith("auc_")
        )
        for alignment, aligned in ALIGNMENT_TITLES.items()
        for number, title in _NUMBER_TITLES.items()
    },
    **{
        f"mesh_{alignment}_{number}": Metric(
            f"mesh_{alignment}_{number}",
            f"{title}, mesh, {ALIGNMENT_TITLES[alignment]}",
            higher_is_better=number != "mpvpe_mm",
        )
        for alignment in MESH_ALIGNMENTS
        for number, title in MESH_NUMBER_TITLES.items()
    },
    **{name: Metric(name, title, higher_is_better=False) for name, title in _KEYPOINT_TITLES.items()},
}
"""All metrics of an evaluation, by name."""


def find_metric(name: str) -> Metric:
    """The metric of that name; raises HandsimError for an unknown name and suggests the nearest one."""
    if name not in METRICS:
        raise HandsimError(f"there is no metric {name}{did_you_mean(name, sorted(METRICS))}")
    return METRICS[name]


def training_split(dataset: str, split: str) -> str:
    """The split to train on for an evaluation on ``split``: ``s0_test`` -> ``s0_train``."""
    return f"{split.rsplit('_', 1)[0]}_train" if dataset == "dexycb" else "train"


def evaluation_split(dataset: str, train_split: str) -> str:
    """The split on which the dataset's papers report estimators that were trained on ``train_split``.

    For AssemblyHands it is ``val``: the joints of its public test split are withheld.
    """
    if dataset == "dexycb":
        return f"{train_split.rsplit('_', 1)[0]}_test"
    return {"freihand": "eval", "assemblyhands": "val", "ho3d": "evaluation"}.get(dataset, "test")


@dataclass(frozen=True)
class SplitScores:
    alignments: dict[str, AlignmentScores]
    """By their names in `ALIGNMENTS`; without ``absolute`` where predictions are not in the camera frame."""
    errors_mm: dict[str, NDArray[np.float64]]
    """Errors [N, 21] of all joints by the same names, NaN where not measured."""
    keypoints: KeypointScores | None
    """Of the 2D joints; None for predictions without 2D joints."""
    meshes: dict[str, MeshScores] = field(default_factory=dict)
    """By `MESH_ALIGNMENTS`; empty where predictions or truth have no mesh."""

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers by the names in `METRICS`."""
        numbers = {
            f"{name}_{number}": float(getattr(scores, number))
            for name, scores in self.alignments.items()
            for number in NUMBERS
        }
        if self.keypoints is not None:
            numbers["keypoints_2d_mean_px"] = self.keypoints.mean_px
            numbers["keypoints_2d_median_px"] = self.keypoints.median_px
        for name, mesh in self.meshes.items():
            numbers |= {f"mesh_{name}_{number}": value for number, value in asdict(mesh).items()}
        return numbers

    @property
    def measured(self) -> dict[str, dict[str, int]]:
        """How many hands, and how many of their joints, each alignment was measured on."""
        return {
            name: {"hands": scores.hands, "joints": scores.joints} for name, scores in self.alignments.items()
        }

    @property
    def joints_mm(self) -> dict[str, dict[str, float | None]]:
        """Mean error of each joint by alignment and name; None for a joint that is never annotated."""
        return {
            name: dict(zip(JOINT_NAMES, scores.joint_mpjpe_mm, strict=True))
            for name, scores in self.alignments.items()
        }

    @property
    def curves(self) -> dict[str, Any]:
        """The PCK curves by range and alignment, with their thresholds."""
        return {
            f"pck_{name}": {
                "thresholds_mm": thresholds.thresholds_mm.round(6).tolist(),
                **{key: list(getattr(scores, f"pck_{name}")) for key, scores in self.alignments.items()},
            }
            for name, thresholds in (("0_50", PCK_0_50), ("20_50", PCK_20_50))
        }


def score_split(predicted: PredictedHands, true: TrueHands) -> SplitScores:
    """Score predictions against the truth of the same hands in the same order.

    Raises HandsimError as `score_poses` and `score_meshes` do.
    """
    in_camera = predicted.camera_3d_mm is not None
    joints = predicted.joints_3d_mm if predicted.camera_3d_mm is None else predicted.camera_3d_mm
    errors = measure_aligned(joints, true.joints_3d_mm, true.valid)
    keypoints = None
    if not np.isnan(predicted.keypoints_2d_px).all():
        keypoints = score_keypoints(predicted.keypoints_2d_px, true.keypoints_2d_px, true.valid)
    scores = _split_scores(errors, keypoints, in_camera=in_camera)
    if predicted.vertices_mm is None or true.vertices_mm is None:
        return scores
    return replace(scores, meshes=score_meshes(predicted.vertices_mm, true.vertices_mm))


def score_mean_pose(mean_pose_mm: NDArray[np.float64], true: TrueHands) -> SplitScores:
    """Score one pose [21, 3], in mm in the camera frame, as the prediction for every hand.

    Raises HandsimError as `score_poses` does.
    """
    poses_mm = np.broadcast_to(mean_pose_mm, (len(true), *mean_pose_mm.shape))
    return _split_scores(measure_aligned(poses_mm, true.joints_3d_mm, true.valid), None, in_camera=True)


def _split_scores(errors: AlignedErrors, keypoints: KeypointScores | None, *, in_camera: bool) -> SplitScores:
    scores = score_aligned(errors)
    names = [name for name in ALIGNMENTS if in_camera or name != "absolute"]
    return SplitScores(
        {name: getattr(scores, name) for name in names},
        {name: getattr(errors, name) for name in names},
        keypoints,
    )


def hand_errors_mm(predicted: PredictedHands, true: TrueHands) -> NDArray[np.float64]:
    """Mean root-relative error [N] of each hand, to rank hands by; NaN where no joint can be measured."""
    poses = compare_poses(predicted.joints_3d_mm, true.joints_3d_mm, true.valid)
    return mean_of_each_hand_mm(joint_errors_mm(align_root(poses)))


@dataclass(frozen=True, eq=False)
class Evaluation:
    dataset: HandDataset
    """The split that was evaluated on."""
    predicted: PredictedHands
    """In the order of the split."""
    true: TrueHands
    """Of the same hands."""
    scores: SplitScores | None
    """None where no joint of the split is annotated."""
    mean_pose: SplitScores | None
    """Scores of the mean pose of the training split; None where that split or the truth is not available."""
    settings: dict[str, Any]
    """What was requested, as plain values."""
    metadata: dict[str, Any]
    """Where the predictions and the mean pose come from, and how many hands there are, as plain values."""


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write the predictions and the errors of all hands, then ``pose.json``, into a run's folder.

    The folder is made, if it is not there.

    ``pose.json`` has ``settings`` and ``facts`` (the metadata), ``metrics`` and those of the ``mean_pose`` by
    flat names (empty without truth or without training split), then counts, single joints and curves by
    alignment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    origin = {name: value for name, value in evaluation.metadata.items() if name != "training"}
    write_predictions(folder / PREDICTIONS_FILE, evaluation.predicted, {**evaluation.settings, **origin})
    scores, mean_pose = evaluation.scores, evaluation.mean_pose
    if scores is not None:
        true = evaluation.true
        mean_pose_mm = {} if mean_pose is None else mean_pose.errors_mm
        errors = HandErrors(true.sample_ids, true.subjects, scores.errors_mm, mean_pose_mm)
        write_hand_errors(folder / HAND_ERRORS_FILE, errors)
    report: dict[str, Any] = {
        "format": FORMAT,
        "settings": evaluation.settings,
        "facts": evaluation.metadata,
        "metrics": scores.metrics if scores else {},
        "mean_pose": mean_pose.metrics if mean_pose else {},
        "measured": scores.measured if scores else {},
        "joint_mpjpe_mm": scores.joints_mm if scores else {},
        "mean_pose_joint_mpjpe_mm": mean_pose.joints_mm if mean_pose else {},
        "curves": scores.curves if scores else {},
        "mean_pose_curves": mean_pose.curves if mean_pose else {},
    }
    write_text_atomically(folder / REPORT_FILE, json.dumps(report, indent=1) + "\n")
