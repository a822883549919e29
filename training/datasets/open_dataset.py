"""Labelled datasets by their names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError, NotThereError, did_you_mean
from training.datasets import (
    assemblyhands,
    coco_wholebody,
    dexycb,
    freihand,
    generic,
    hint,
    ho3d,
    interhand,
    synthetic,
)
from training.datasets.record import StoredDataset, check_split

DATASETS: Final[Mapping[str, tuple[Callable[[Path, str], StoredDataset], tuple[str, ...]]]] = {
    "freihand": (freihand.FreiHAND, freihand.SPLITS),
    "dexycb": (dexycb.DexYCB, tuple(dexycb.SPLITS)),
    "assemblyhands": (assemblyhands.AssemblyHands, assemblyhands.SPLITS),
    "ho3d": (ho3d.HO3D, ho3d.SPLITS),
    "interhand": (interhand.InterHand, interhand.SPLITS),
    "coco_wholebody": (coco_wholebody.CocoWholeBody, coco_wholebody.SPLITS),
    "hint": (hint.HInt, hint.SPLITS),
    "generic": (generic.GenericHands, generic.SPLITS),
    "synthetic": (synthetic.SyntheticHands, synthetic.SPLITS),
}
"""Name -> the dataset's class, and its splits."""
ONLY_IN_2D: Final = ("coco_wholebody", "hint")
"""Datasets that have no joints in 3D."""
WHOLE_DATASETS: Final[Mapping[str, tuple[str, ...]]] = {
    "dexycb": ("s0_train", "s0_val", "s0_test"),
    "freihand": ("train", "val", "eval"),
    "assemblyhands": ("train", "val"),
}
"""The splits of a whole dataset, where these are not all: some overlap, and the joints of the public test
split of AssemblyHands are withheld."""

_HAS: Final[Mapping[str, str]] = {
    "freihand": "training_K.json",
    "dexycb": "calibration",
    "assemblyhands": "annotations",
    "ho3d": "train.txt",
    "interhand": "annotations",
    "coco_wholebody": "annotations",
    "hint": "TEST_newdays_img",
    "generic": generic.LABELS_FILE,
    "synthetic": synthetic.METADATA_FILE,
}
"""What the folder of a dataset is known by, where people give the one above or below."""


def open_dataset(name: str, root: str | Path, split: str) -> StoredDataset:
    """Open one split of a dataset that is in ``root`` as it was downloaded.

    Raises HandsimError for an unknown name or split, with the nearest known one, and for a damaged or
    incomplete dataset; NotThereError where there is no such folder or it holds something else.
    """
    check_split(name, split, known_splits(name))
    folder = Path(root)
    if not folder.is_dir():
        raise NotThereError(f"{folder} is not a folder; give the one that {name} was extracted in")
    dataset, _ = DATASETS[name]
    try:
        return dataset(folder, split)
    except NotThereError as error:
        if (other := _find_neighbour(folder, _HAS[name])) is None:
            raise
        raise NotThereError(f"{folder} is not the folder of {name}, but {other} is: give that") from error


def check_has_3d(name: str) -> None:
    """Raise HandsimError for a dataset that has 2D joints alone."""
    if name in ONLY_IN_2D:
        others = ", ".join(other for other in DATASETS if other not in ONLY_IN_2D)
        raise HandsimError(f"{name} has joints in 2D alone, and these are needed in 3D: take {others}")


def _find_neighbour(folder: Path, has: str) -> Path | None:
    """The folder one level up or down that has the file or folder ``has``, where this one has not."""
    if (folder / has).exists():
        return None
    above = folder.absolute().parent
    if (above / has).exists():
        return above
    return next((path.parent for path in sorted(folder.glob(f"*/{has}"))), None)


def known_splits(name: str) -> tuple[str, ...]:
    """The splits of a dataset; raises HandsimError for an unknown name."""
    if name not in DATASETS:
        raise HandsimError(
            f"there is no dataset {name}{did_you_mean(name, DATASETS)}; there are {', '.join(DATASETS)}"
        )
    return DATASETS[name][1]
