"""The file in which ``handsim dataset check`` names bad labels, and a split without them.

``bad.json``: ``format`` 1, ``dataset``, and ``splits``: for each split that was read ``split``, ``hands``
(how many it has), ``read`` (of how many the labels were read), ``fingerprint`` (of labels spread over the
split), and ``bad``: ``index``, ``sample_id``, ``reasons`` and ``excess`` of each named hand. People may
delete entries of hands that they find sound. A list is for the very splits that it names: others are refused.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.files import write_text_atomically
from training.datasets.record import HandDataset, HandLabel, LabelledHand

FORMAT: Final = 1
_FINGERPRINT_HANDS: Final = 32
_CHECK_AGAIN: Final = "write it again with `handsim dataset check --all-labels`"


@dataclass(frozen=True)
class BadHand:
    index: int
    """In its split."""
    sample_id: str
    reasons: tuple[str, ...]
    """The clearest first."""
    excess: float
    """How many times its bound the clearest quantity is."""


@dataclass(frozen=True)
class SplitBadList:
    """The bad hands of a split."""

    split: str
    hands: int
    read: int
    """Of how many hands the labels were read."""
    fingerprint: str
    """See `fingerprint_of`."""
    bad: tuple[BadHand, ...]
    """The worst first."""


def fingerprint_of(dataset: HandDataset) -> str:
    """16 hex digits of the names and joints of hands spread over a split; labels that are unreadable count,
    too."""
    digest = hashlib.blake2b(digest_size=8)
    count = min(len(dataset), _FINGERPRINT_HANDS)
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int).tolist():
        try:
            label = dataset.label(index)
        except HandsimError:
            digest.update(b"unreadable")
        else:
            digest.update(label.sample_id.encode())
            digest.update(np.nan_to_num(label.joints_3d_mm).tobytes())
    return digest.hexdigest()


def write_bad_list(path: Path, dataset: str, splits: Sequence[SplitBadList]) -> None:
    content = {"format": FORMAT, "dataset": dataset, "splits": [asdict(split) for split in splits]}
    write_text_atomically(path, json.dumps(content, indent=1) + "\n")


@dataclass(frozen=True)
class BadList:
    """What a file says."""

    path: Path
    splits: dict[str, SplitBadList]
    """By their names."""

    def rows(self, dataset: HandDataset) -> NDArray[np.int64]:
        """Rising indices of the hands of a split that the list names.

        Raises HandsimError for a list of other hands: another split or version of the labels.
        """
        path, split, hands = self.path, dataset.split, len(dataset)
        if split not in self.splits:
            raise HandsimError(
                f"{path} has nothing on split {split}, only on {', '.join(self.splits) or 'none'}; write "
                f"one with `handsim dataset check {dataset.name} ROOT --split {split} --all-labels`"
            )
        listed = self.splits[split]
        if listed.hands != hands:
            raise HandsimError(
                f"{path} is of a split {split} of {listed.hands:,} hands, and this one has {hands:,}; "
                f"{_CHECK_AGAIN}"
            )
        if listed.fingerprint != fingerprint_of(dataset):
            raise HandsimError(
                f"{path} is of other labels than split {split} of this {dataset.name} has; {_CHECK_AGAIN}"
            )
        for hand in listed.bad:
            if not 0 <= hand.index < hands or dataset.label(hand.index).sample_id != hand.sample_id:
                raise HandsimError(f"{path}: hand {hand.index} is not {hand.sample_id}; {_CHECK_AGAIN}")
        return np.unique(np.array([hand.index for hand in listed.bad], dtype=np.int64))


def read_bad_list(path: Path, dataset: str) -> BadList:
    """The lists of a file; raises HandsimError for a file of another kind or dataset."""
    if not path.is_file():
        raise NotThereError(f"there is no list {path}; `handsim dataset check` writes one, bad.json")
    try:
        content = json.loads(path.read_text())
        version, name = content["format"], content["dataset"]
        splits = (
            {split["split"]: _read_split(split) for split in content["splits"]} if version == FORMAT else {}
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)[:80]
        raise HandsimError(f"{path} is no list of bad labels ({what}); {_CHECK_AGAIN}") from error
    if version != FORMAT:
        raise HandsimError(f"{path} has format {version}, this handsim reads {FORMAT}; {_CHECK_AGAIN}")
    if name != dataset:
        raise HandsimError(f"{path} is a list of {name}, and this is {dataset}; {_CHECK_AGAIN}")
    return BadList(path, splits)


def _read_split(content: dict[str, Any]) -> SplitBadList:
    bad = tuple(
        BadHand(int(hand["index"]), str(hand["sample_id"]), tuple(hand["reasons"]), float(hand["excess"]))
        for hand in content["bad"]
    )
    return SplitBadList(
        str(content["split"]), int(content["hands"]), int(content["read"]), str(content["fingerprint"]), bad
    )


def bad_rows(path: Path, dataset: HandDataset) -> NDArray[np.int64]:
    """`BadList.rows` of a file for a split of its dataset."""
    return read_bad_list(path, dataset.name).rows(dataset)


class HandSubset:
    """A `HandDataset` of some hands of another, in its order."""

    def __init__(self, dataset: HandDataset, rows: NDArray[np.integer]) -> None:
        """``rows`` [n] are indices of the dataset."""
        self.name, self.split = dataset.name, dataset.split
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows)

    def label(self, index: int) -> HandLabel:
        return self._dataset.label(int(self._rows[index]))

    def __getitem__(self, index: int) -> LabelledHand:
        return self._dataset[int(self._rows[index])]


def without_rows(dataset: HandDataset, rows: NDArray[np.integer]) -> HandDataset:
    """The dataset without some of its hands; raises HandsimError where none is left."""
    if not len(rows):
        return dataset
    kept = np.setdiff1d(np.arange(len(dataset)), rows)
    if not len(kept):
        raise HandsimError(
            f"the list names all {len(dataset):,} hands of {dataset.split}, so none is left; look at them "
            "(worst.png) and delete entries of sound ones"
        )
    return HandSubset(dataset, kept)
