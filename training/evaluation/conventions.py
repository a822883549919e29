"""What each dataset's own evaluation reports, and which split is the training split of another."""

from typing import Final

ALIGNMENT_TITLES: Final = {
    "root_relative": "root-relative",
    "root_scale": "root and scale aligned",
    "procrustes": "Procrustes",
    "procrustes_proper": "Procrustes, never mirrored",
    "absolute": "absolute, in the camera",
}
"""Alignment -> what it is called."""

OFFICIAL: Final = {
    "freihand": ("procrustes", "absolute"),
    "dexycb": ("absolute", "root_relative", "procrustes"),
    "assemblyhands": ("root_relative",),
    "synthetic": ("root_scale",),
}
"""Dataset -> the alignments (`training.evaluation.scores`) that its papers give.

FreiHAND (arXiv 1909.04349): Procrustes with reflections allowed, MPJPE and AUC of 0-50 mm; its server also
tells the unaligned numbers. DexYCB (arXiv 2104.04631): absolute, root-relative, Procrustes, in mm, AUC of
0-50 mm; frames without a valid joint are none of its samples. AssemblyHands (arXiv 2304.12301):
wrist-relative MPJPE over valid joints. SiMHand (arXiv 2502.15251): root and scale aligned, on all of them;
our synthetic set follows it.
"""


def training_split(dataset: str, split: str) -> str:
    """The split that those who are judged by ``split`` train on: ``s0_test`` -> ``s0_train``.

    The mean-pose baseline is taken of it.
    """
    return f"{split.rsplit('_', 1)[0]}_train" if dataset == "dexycb" else "train"


def judged_split(dataset: str, trained_on: str) -> str:
    """The split that the dataset's papers report for those who train on the split ``trained_on``.

    Of AssemblyHands it is ``val``: the joints of its public test split are withheld.
    """
    if dataset == "dexycb":
        return f"{trained_on.rsplit('_', 1)[0]}_test"
    return {"freihand": "eval", "assemblyhands": "val"}.get(dataset, "test")
