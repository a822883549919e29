"""FreiHAND's ``pred.json``, as its evaluation server and its ``eval.py`` read it.

A list of two: the joints [N, 21, 3] and the mesh's vertices [N, 778, 3] of all N evaluation pictures in the
order of their numbers, in metres in the camera frame. No mesh is estimated here: all vertices are zero, so
every score of the mesh is that of the all-zero prediction, and means nothing.
"""

import json
import os
from pathlib import Path
from typing import Final

import numpy as np

from handsim.errors import HandsimError
from training.datasets.record import MM_PER_M
from training.evaluation.hands import PredictedHands

VERTICES: Final = 778
"""Of MANO's mesh."""
_DECIMALS: Final = 6
"""Of a metre: micrometres."""


def check_submittable(dataset: str, split: str, path: Path) -> None:
    """Raise HandsimError for any other split than FreiHAND's evaluation, and where there is no folder."""
    if not path.parent.is_dir():
        raise HandsimError(f"{path} cannot be written, as there is no folder {path.parent}; make it first")
    if (dataset, split) != ("freihand", "eval"):
        raise HandsimError(
            f"--pred-json is what FreiHAND's server takes, of its split eval; this is {split} of {dataset}"
            "; leave it out, or evaluate --dataset freihand --split eval"
        )


def write_submission(path: Path, predicted: PredictedHands) -> None:
    """Write ``pred.json``; raises HandsimError for hands that were not placed in their camera.

    Samples are put in the order of their names, which is that of FreiHAND's pictures.
    """
    if predicted.camera_3d_mm is None:
        raise HandsimError(
            "FreiHAND takes joints in the camera frame and these predictions are relative to the wrist; "
            "predict with an estimator of `handsim finetune`, which places hands by the pictures' K"
        )
    order = np.argsort(np.array(predicted.sample_ids), kind="stable")
    joints_m = (predicted.camera_3d_mm[order].astype(np.float64) / MM_PER_M).round(_DECIMALS)
    no_mesh = [[0.0, 0.0, 0.0]] * VERTICES
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            file.write(f"[{json.dumps(joints_m.tolist())}, [")
            for number in range(len(order)):  # the zeros of all at once would be 9 million objects
                file.write(f"{', ' if number else ''}{json.dumps(no_mesh)}")
            file.write("]]")
        os.replace(temporary, path)
    except OSError as error:
        raise HandsimError(f"{path} cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
