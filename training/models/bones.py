"""Bones of hands, as tensors."""

from typing import Final

import torch
from torch import Tensor

from handsim.skeleton import PARENTS, WRIST

_SHORTEST: Final = 1e-6


def bone_directions(joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [B, 21, 3] from each joint's parent to the joint, and bool [B, 21] where there is one.

    ``joints`` [B, 21, 3] are finite; ``valid`` [B, 21] says which count. The wrist has no parent: its vector
    is 0, as DetNet has it, and there wherever the wrist is valid. Bones without both ends, or shorter than
    1e-6 of the unit, have no direction: theirs is 0 and not there.
    """
    parents = torch.tensor([max(parent, WRIST) for parent in PARENTS], device=joints.device)
    bones = joints - joints[:, parents]
    lengths = torch.linalg.vector_norm(bones, dim=-1)
    there = valid & valid[:, parents] & (lengths > _SHORTEST)
    directions = (bones / lengths.clamp(min=_SHORTEST)[..., None]).where(there[..., None], 0.0)
    there[:, WRIST] = valid[:, WRIST]
    return directions, there
