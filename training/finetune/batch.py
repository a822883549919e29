"""One batch of labelled hands, as the trainer gets it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from handsim.hand import Side


@dataclass(frozen=True, eq=False)
class HandBatch:
    """B labelled hands in their crops, all as right hands."""

    sample_ids: tuple[str, ...]
    """[B] as the dataset names them."""
    sides: tuple[Side, ...]
    """[B] the subjects' own hands; all are told as right ones."""
    crops: Tensor
    """uint8 [B, S, S, 3], RGB."""
    keypoints: Tensor
    """float32 [B, 21, 2] in the crop's unit square; finite everywhere, see `training.finetune.cropping`."""
    joints_mm: Tensor
    """float32 [B, 21, 3] in the camera frame; 0 where not ``valid``."""
    valid: Tensor
    """bool [B, 21] which joints are annotated."""
    squares_px: Tensor
    """float64 [B, 4] where the crops lie in their pictures."""
    intrinsics: Tensor
    """float64 [B, 3, 3] K of the pictures."""
    epoch: int = 0
    """From 0."""
    number: int = 0
    """Of the batch in its epoch, from 0."""
    waited_s: float = 0.0
    """Seconds in which the trainer had no batch."""

    @classmethod
    def joined(cls, parts: Sequence["HandBatch"], epoch: int, number: int, *, pin: bool) -> "HandBatch":
        """One batch of several; with ``pin`` in page-locked memory, from where it reaches a GPU in the
        background."""

        def cat(tensors: Sequence[Tensor]) -> Tensor:
            shape = (sum(len(tensor) for tensor in tensors), *tensors[0].shape[1:])
            return torch.cat(list(tensors), out=torch.empty(shape, dtype=tensors[0].dtype, pin_memory=pin))

        return cls(
            sample_ids=tuple(name for part in parts for name in part.sample_ids),
            sides=tuple(side for part in parts for side in part.sides),
            crops=cat([part.crops for part in parts]),
            keypoints=cat([part.keypoints for part in parts]),
            joints_mm=cat([part.joints_mm for part in parts]),
            valid=cat([part.valid for part in parts]),
            squares_px=cat([part.squares_px for part in parts]),
            intrinsics=cat([part.intrinsics for part in parts]),
            epoch=epoch,
            number=number,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "HandBatch":
        """The same batch with the tensors that a network needs on a device; squares and K stay."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def _with_each(self, move: Callable[[Tensor], Tensor]) -> "HandBatch":
        return replace(
            self,
            crops=move(self.crops),
            keypoints=move(self.keypoints),
            joints_mm=move(self.joints_mm),
            valid=move(self.valid),
        )

    def __len__(self) -> int:
        """B."""
        return len(self.sample_ids)
