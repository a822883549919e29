"""What every engine that is measured offers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.video_poses import VideoPoses


class Answer(NamedTuple):
    """The nearest hands of another video, told by their distances."""

    distances: NDArray[np.float32]
    """[Q, k] Euclidean, nearest first; infinity where the engine found no more."""
    fetched: NDArray[np.int64]
    """[Q] how many neighbours had to be fetched to find those of other videos among them."""


Ask = Callable[[NDArray[np.int64], int, int], Answer]
"""Called with (rows of the pool [Q], k, effort)."""


class Engine(ABC):
    """An index of the vectors of a pool in a directory of its own.

    Engines are passed between processes: they hold settings, and nothing that is open.
    """

    name: str
    """What figures and plots call it."""
    effort: str
    """What trades speed for recall."""
    efforts: tuple[int, ...]
    """Its values to try, rising."""

    @abstractmethod
    def build(self, pool: VideoPoses, directory: Path) -> dict[str, float]:
        """Write the index into an empty directory; returns the seconds of its phases."""

    @abstractmethod
    def open(self, pool: VideoPoses, directory: Path) -> AbstractContextManager[Ask]:
        """Open what `build` wrote, ready to be asked."""
