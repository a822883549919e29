"""The size of hands: a network tells joints in reference-bone lengths, and this makes millimetres of them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.metrics.alignment import SHORTEST_MM
from handsim.skeleton import JOINT_NAMES, REFERENCE_BONE
from training.datasets.record import HandDataset

MOST_HANDS: Final = 2000
"""Hands whose labels are read for the mean, spread evenly, because those of one person follow each other."""


def mean_bone_length_mm(dataset: HandDataset, rows: NDArray[np.integer]) -> float:
    """Mean length of the bone from wrist to middle_mcp over ``rows`` of a dataset, `MOST_HANDS` at most.

    Hands without both ends of the bone, or whose bone has no length, do not count. Raises HandsimError where
    none of them counts.
    """
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_HANDS)).round().astype(np.int64)]
    labels = [dataset.label(row) for row in spread.tolist()]
    joints = np.stack([label.joints_3d_mm for label in labels]).astype(np.float64)
    valid = np.stack([label.valid for label in labels])
    lengths, usable = bone_lengths_mm(joints, valid)
    if not usable.any():
        root, end = (JOINT_NAMES[joint] for joint in REFERENCE_BONE)
        if not valid.any():
            why = "no valid joint"
        elif not valid[:, list(REFERENCE_BONE)].all(axis=1).any():
            why = f"no valid {root} and {end}"
        else:
            why = f"a bone from {root} to {end} of length 0"
        raise HandsimError(
            f"all {len(labels):,} hands looked at in split {dataset.split} of {dataset.name} have {why}, by "
            f"which their size is told; mend the labels, or choose another split"
        )
    return float(lengths[usable].mean())


def bone_lengths_mm(
    joints_mm: NDArray[np.float64], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lengths [N] of the reference bone of joints [N, 21, 3], and which of them [N] can be scaled by.

    A length is 0 where an end of the bone is not ``valid`` [N, 21].
    """
    root, end = REFERENCE_BONE
    annotated = valid[:, root] & valid[:, end]
    bones = np.where(annotated[:, None], joints_mm[:, end] - joints_mm[:, root], 0)
    lengths = np.linalg.norm(bones, axis=1)
    return lengths, lengths >= SHORTEST_MM
