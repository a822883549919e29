"""Running a ResNet over crops: pictures in, pooled features out, the same ones every time."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim.embedding.image.architectures import Device
from handsim.embedding.image.encoder_file import TrunkWeights
from handsim.errors import HandsimError

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Of RGB in 0..1: what torchvision's ResNets were trained with."""


class Trunk:
    """A ResNet up to its pooled features, ready to run."""

    def __init__(self, weights: TrunkWeights, image_size_px: int, device: Device = "auto") -> None:
        """Put it on the device; raises HandsimError for ``cuda`` where no GPU can be used."""
        if device == "cuda" and not torch.cuda.is_available():
            raise HandsimError("no GPU can be used here; ask for --device cpu, or auto")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        self._size_px = image_size_px
        with torch.device("meta"):
            network = models.get_model(weights.architecture, weights=None)
        network.fc = torch.nn.Identity()
        state = {name: torch.from_numpy(array) for name, array in weights.tensors.items()}
        # assign: the weights replace the network's placeholders. Not strict: counters of batches seen in
        # training are not kept, and have no say.
        network.load_state_dict(state, strict=False, assign=True)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.num_batches_tracked = None
        # Channels last: the convolutions of a CPU run half again as fast.
        self._network = network.to(self._device, memory_format=torch.channels_last).eval()
        self._mean, self._std = (
            torch.tensor(numbers, device=self._device).view(1, 3, 1, 1)
            for numbers in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def features(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        """Pooled features [n, F] of RGB crops [S, S, 3], each resized to the size the trunk looks at.

        Half precision, as they are kept on disk: a hand lands in the same place whether its features
        were kept or not. Raises HandsimError when they are no numbers, or when a GPU's memory is too small.
        """
        try:
            with torch.inference_mode(), _as_a_cpu_would():
                pooled = self._network(self._batch(crops))
        except torch.cuda.OutOfMemoryError as error:
            raise HandsimError(
                f"a batch of {len(crops)} is too much for this GPU's memory; ask for a smaller --batch"
            ) from error
        features: NDArray[np.float16] = pooled.to(torch.float16).cpu().numpy()
        if not np.isfinite(features).all():
            raise HandsimError(
                "the encoder's features are infinite or no numbers; "
                "it was not trained, or its training diverged"
            )
        return features

    def _batch(self, crops: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        alike = len({crop.shape for crop in crops}) == 1
        groups = [np.stack(crops)] if alike else [crop[None] for crop in crops]
        pictures = torch.cat([self._resized(group) for group in groups])
        return ((pictures - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def _resized(self, crops: NDArray[np.uint8]) -> torch.Tensor:
        """Crops [n, S, S, 3] as float32 [n, 3, size, size] in 0..1."""
        pictures = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255
        if pictures.shape[-2:] == (self._size_px, self._size_px):
            return pictures
        size = (self._size_px, self._size_px)
        return functional.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)


def _as_a_cpu_would() -> AbstractContextManager[None]:
    """A GPU left to itself multiplies with 10 bits, and chooses between ways that round differently."""
    return torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False, fp32_precision="ieee"
    )
