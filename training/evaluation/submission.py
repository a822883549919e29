"""FreiHAND's ``pred.json``: what its evaluation server and its ``eval.py`` take, written and read.

It is a list of two: the joints [N, 21, 3] and the mesh's vertices [N, 778, 3] of all N images of a split in
the order of their numbers, in metres in the camera frame. handsim's estimators give no mesh: vertices are
then written as zeros, whose scores mean nothing, and zeros or an empty list are read as no mesh.
"""

import json
from pathlib import Path
from typing import Final

import numpy as np

from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing
from handsim.skeleton import JOINT_COUNT, WRIST
from handsim.synthetic.camera import project
from training.datasets.freihand import stream_points_mm
from training.datasets.record import MM_PER_M, HandDataset
from training.evaluation.predictions import PredictedHands

SUFFIX: Final = ".json"
"""Of predictions in this format; others are Parquet."""
_VERTICES: Final = 778
"""Of MANO's mesh."""
_DECIMALS: Final = 6
"""Of a metre: micrometres."""


def check_submittable(dataset: str, split: str, path: Path) -> None:
    """Raise HandsimError for any split but FreiHAND's evaluation, and for a missing folder."""
    if not path.parent.is_dir():
        raise HandsimError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if (dataset, split) != ("freihand", "eval"):
        raise HandsimError(
            f"--pred-json is for FreiHAND's server, and its split eval; this is {split} of {dataset}"
            "; leave it out, or evaluate --dataset freihand --split eval"
        )


def write_submission(path: Path, predicted: PredictedHands) -> None:
    """Write ``pred.json``; raises HandsimError for hands without joints in the camera frame.

    Samples are sorted by name, which is the order of FreiHAND's images.
    """
    if predicted.camera_3d_mm is None:
        raise HandsimError(
            "FreiHAND takes joints in the camera frame and these predictions are relative to the wrist; "
            "predict with an estimator of `handsim finetune`, which gets positions from the images' K"
        )
    order = np.argsort(np.array(predicted.sample_ids), kind="stable")
    joints_m = (predicted.camera_3d_mm[order].astype(np.float64) / MM_PER_M).round(_DECIMALS)
    meshes_mm = predicted.vertices_mm
    no_mesh = np.zeros((_VERTICES, 3), np.float32)
    try:
        with replacing(path) as temporary, temporary.open("w") as file:
            file.write(f"[{json.dumps(joints_m.tolist())}, [")
            for number, row in enumerate(order.tolist()):  # all at once would be 9 million objects
                mesh_mm = no_mesh if meshes_mm is None else meshes_mm[row]
                mesh_m = (mesh_mm.astype(np.float64) / MM_PER_M).round(_DECIMALS)
                file.write(f"{', ' if number else ''}{json.dumps(mesh_m.tolist())}")
            file.write("]]")
    except OSError as error:
        raise HandsimError(f"{path} cannot be written ({error.strerror or error})") from error


def read_submission(path: Path, dataset: HandDataset) -> PredictedHands:
    """Predictions for a split of FreiHAND, in the order of its images.

    2D joints are projections, where all hands are in front of the camera, else unknown. Raises NotThereError
    where there is no file, HandsimError for one in another format and for another number of hands.
    """
    if dataset.name != "freihand":
        raise HandsimError(
            f"{path} is read as FreiHAND's pred.json, and this is {dataset.name}; give predictions of other "
            "datasets as Parquet, as `handsim evaluate pose` writes them"
        )
    if not path.is_file():
        raise NotThereError(
            f"there are no predictions {path}; --predictions takes a file, Parquet or pred.json"
        )
    labels = sorted((dataset.label(row) for row in range(len(dataset))), key=lambda label: label.sample_id)
    format_ = (
        f"pred.json is [joints, vertices] of the {len(labels):,} images of split {dataset.split}, in the "
        "order of their numbers and in metres"
    )
    points = list(stream_points_mm(path, "item.item", format_))
    hands, meshes = points[: len(labels)], points[len(labels) :]
    if len(hands) < len(labels) or any(len(hand) != JOINT_COUNT for hand in hands):
        count = sum(len(hand) == JOINT_COUNT for hand in points)
        raise HandsimError(f"{path} has {JOINT_COUNT} joints of {count:,} hands; {format_}")
    if len(meshes) not in (0, len(labels)) or len({len(mesh) for mesh in meshes}) > 1:
        raise HandsimError(f"{path} has vertices of {len(meshes):,} hands, or not as many of each; {format_}")
    joints_mm = np.stack(hands)
    keypoints = np.full((*joints_mm.shape[:2], 2), np.nan, np.float32)
    if (joints_mm[..., 2] > 0).all():
        for row, label in enumerate(labels):
            keypoints[row] = project(joints_mm[row].astype(np.float64), label.intrinsics)
    has_meshes = any(mesh.any() for mesh in meshes)
    return PredictedHands(
        tuple(label.sample_id for label in labels),
        tuple(label.side for label in labels),
        joints_mm - joints_mm[:, [WRIST]],
        joints_mm,
        keypoints,
        np.full(joints_mm.shape[:2], np.nan, np.float32),
        np.stack(meshes) if has_meshes else None,
    )
