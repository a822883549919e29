"""Labelled datasets by their names.

The worlds that synthetic hands are filmed in: YAML files that fill a `SyntheticConfig`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError, NotThereError, did_you_mean
from handsim.synthetic import SyntheticConfig
from training.datasets import assemblyhands, dexycb, freihand, synthetic
from training.datasets.record import StoredDataset, check_split
from training.runs.recipes import SHIPPED, Recipes


@dataclass(frozen=True)
class _Known:
    open: Callable[[Path, str], StoredDataset]
    splits: tuple[str, ...]


DATASETS: Final[Mapping[str, _Known]] = {
    "freihand": _Known(freihand.FreiHAND, freihand.SPLITS),
    "dexycb": _Known(dexycb.DexYCB, tuple(dexycb.SPLITS)),
    "assemblyhands": _Known(assemblyhands.AssemblyHands, assemblyhands.SPLITS),
    "synthetic": _Known(synthetic.SyntheticHands, synthetic.SPLITS),
}


def open_dataset(name: str, root: str | Path, split: str) -> StoredDataset:
    """One split of a dataset that lies in ``root`` as it was downloaded.

    Raises HandsimError for an unknown name or split, naming the nearest one, and for a damaged or
    half-downloaded set; NotThereError where there is no such folder or it holds something else.
    """
    check_split(name, split, known_splits(name))
    folder = Path(root)
    if not folder.is_dir():
        raise NotThereError(f"{folder} is no folder; give the one that {name} was extracted in")
    return DATASETS[name].open(folder, split)


def known_splits(name: str) -> tuple[str, ...]:
    """The splits of a dataset; raises HandsimError for an unknown name."""
    if name not in DATASETS:
        raise HandsimError(
            f"there is no dataset {name}{did_you_mean(name, DATASETS)}; there are {', '.join(DATASETS)}"
        )
    return DATASETS[name].splits


WORLDS: Final = Recipes(SyntheticConfig, SHIPPED / "worlds", "handsim synth", "world")
"""Those that come with handsim, and how any is read."""
