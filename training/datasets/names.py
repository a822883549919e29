"""Names that people write: of datasets and of their splits."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Final

from handsim.errors import HandsimError

_NEAR: Final = 0.5
"""Share of the letters that two words have in common, for one to be meant by the other."""


def check_split(dataset: str, split: str, known: Iterable[str]) -> None:
    """Raise HandsimError, naming the nearest one, for a split that is none of a dataset's."""
    splits = tuple(known)
    if split not in splits:
        raise HandsimError(
            f"{dataset} has no split {split}{nearest(split, splits)}; it has {', '.join(splits)}"
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """What to add to an error about an unknown word: ``, did you mean train?``; empty if none is near.

    Of equally near ones it is the first.
    """
    likeness = {name: SequenceMatcher(None, word, name).ratio() for name in known}
    best = max(likeness, key=likeness.__getitem__)
    return f", did you mean {best}?" if likeness[best] >= _NEAR else ""
