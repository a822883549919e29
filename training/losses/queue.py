"""A queue of the projections of earlier steps, as further negatives: many of them on a small machine.

MoCo (He et al., CVPR 2020, arXiv 1911.05722) fills one from a second encoder that follows the first one
slowly. This is the memory of XBM (Wang et al., CVPR 2020, arXiv 1912.06798), from the encoder itself: what
was projected some steps ago lies where today's encoder would put it, but for its drift. That is small after
the first steps; where it is not (the beginning from random weights, a high learning rate, a queue of many
steps), old projections are negatives that are too easy. No gradient reaches them.
"""

from typing import Any

import torch
from torch import Tensor

from training.losses.distributed import gather
from training.losses.near_negatives import Hands


class ProjectionQueue:
    """The newest projections of all processes, newest first; equal in every process."""

    projections: Tensor | None = None
    """[Q, M]; None while it is empty."""
    points: Tensor | None = None
    """[Q, 21, 2] or [Q, D] what the loss makes weights from; None where it makes none."""
    hands: Hands | None = None
    """[Q]."""

    def __init__(self, size: int) -> None:
        """Of ``size`` projections at most, each of one view of a hand; 0 for none."""
        self._size = size
        self._version = 0

    def follow(self, version: int) -> None:
        """Empty it if the hands' vectors are of another index ``version`` from now on.

        Distances between vectors of two embeddings mean nothing.
        """
        if version != self._version:
            self.projections = self.points = self.hands = None
        self._version = version

    @torch.no_grad()
    def push(self, projections: Tensor, points: Tensor | None, hands: Hands) -> None:
        """Add the projections [n, M] of each process, with the same for each as is there; drop the oldest."""
        if not self._size:
            return
        self.projections = self._joined(projections, self.projections)
        self.points = None if points is None else self._joined(points, self.points)
        olds = (None, None, None) if self.hands is None else self.hands.tensors
        self.hands = Hands(*map(self._joined, hands.tensors, olds))

    def _joined(self, new: Tensor, old: Tensor | None) -> Tensor:
        new = gather(new)
        return (new if old is None else torch.cat([new, old]))[: self._size]

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        hands = {} if self.hands is None else vars(self.hands)
        return {
            "version": self._version,
            "projections": self.projections,
            "points": self.points,
            "hands": dict(hands),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue with what was saved, on a device; all but the newest are dropped where it is smaller."""
        self._version = state["version"]

        def load(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)[: self._size]

        self.projections, self.points = load(state["projections"]), load(state["points"])
        names = ("hand_ids", "videos", "vectors")
        tensors = [load(state["hands"].get(name)) for name in names]
        known = [tensor for tensor in tensors if tensor is not None]
        self.hands = Hands(*known) if len(known) == len(names) else None
