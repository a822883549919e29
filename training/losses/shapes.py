"""Whether what a loss is given fits together, before a process waits for another one that has failed."""

from collections.abc import Mapping

import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.losses.gathering import gather, ranks
from training.losses.weighting import Weighting


def check_projections(z1: Tensor, z2: Tensor, negatives: Tensor | None) -> None:
    """Raise HandsimError unless z1 and z2 are [N, M], N at least 1, and negatives [R, M]."""
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise HandsimError(
            f"the projections are {list(z1.shape)} and {list(z2.shape)}; "
            f"both views' are [N, M], row by row one pair"
        )
    if 0 in z1.shape:
        raise HandsimError(
            f"the projections are {list(z1.shape)}; a loss needs at least one pair of one number"
        )
    if negatives is not None and (negatives.ndim != 2 or negatives.shape[1] != z1.shape[1]):
        raise HandsimError(
            f"negatives are {list(negatives.shape)}; beside projections of {z1.shape[1]} numbers they are "
            f"[R, {z1.shape[1]}]"
        )


def check_keypoints(name: str, keypoints: Tensor | None, hands: int) -> Tensor:
    """The keypoints; raises HandsimError unless they are there and [hands, 21, 2]."""
    needed = f"[{hands}, {JOINT_COUNT}, 2]"
    if keypoints is None:
        raise HandsimError(f"weights are made from keypoints, and {name} is missing; give it as {needed}")
    if keypoints.shape != (hands, JOINT_COUNT, 2):
        raise HandsimError(f"{name} is {list(keypoints.shape)}; it is {needed}, x and y of each joint")
    return keypoints


def check_alike_over_ranks(z1: Tensor, negatives: Tensor | None, weighting: Weighting) -> None:
    """Raise HandsimError, in every process, unless all have given batches of one size and one kind."""
    if ranks() == 1:
        return
    told: Mapping[str, int] = {
        "pairs": z1.shape[0],
        "numbers in a projection": z1.shape[1],
        "negatives": 0 if negatives is None else len(negatives),
        "weighted kinds of pairs": weighting.positives + 2 * weighting.negatives,
    }
    everyone = gather(torch.tensor([list(told.values())], device=z1.device)).tolist()
    for name, numbers in zip(told, zip(*everyone, strict=True), strict=True):
        if len(set(numbers)) > 1:
            raise HandsimError(
                f"the processes have {', '.join(map(str, numbers))} {name}; "
                f"give each as many, and leave out a last batch that is shorter"
            )
