"""The numbers of SiMHand's published code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor


def read_golden(shared_data: Path) -> dict[str, Tensor]:
    """All of them, float64; the test is skipped where the file is not there."""
    path = shared_data.parent / "golden" / "simhand_reference.npz"
    if not path.is_file():
        pytest.skip(f"the reference's numbers are needed and are not at {path}")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name].astype(np.float64)) for name in arrays.files}
