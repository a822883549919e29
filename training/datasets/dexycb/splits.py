"""Which subjects, cameras and sequences of DexYCB make up each split; numbers count from 0.

Source: the four evaluation setups of the paper (section 5.1) as the official toolkit has them. A subject's
sequences are numbered in the order of their folders' names: five of each of twenty grasped objects.
"""

from dataclasses import dataclass
from typing import Final

from training.datasets.names import check_split

SUBJECTS: Final = (
    "20200709-subject-01",
    "20200813-subject-02",
    "20200820-subject-03",
    "20200903-subject-04",
    "20200908-subject-05",
    "20200918-subject-06",
    "20200928-subject-07",
    "20201002-subject-08",
    "20201015-subject-09",
    "20201022-subject-10",
)
"""Folders of the subjects."""

SERIALS: Final = (
    "836212060125",
    "839512060362",
    "840412060917",
    "841412060263",
    "932122060857",
    "932122060861",
    "932122061900",
    "932122062010",
)
"""Folders of the cameras."""

SEQUENCES_PER_SUBJECT: Final = 100
TAKES_PER_OBJECT: Final = 5


@dataclass(frozen=True)
class SplitRule:
    """What belongs to a split: a frame whose subject, camera and sequence are all among these."""

    subjects: tuple[int, ...]
    """Indices into `SUBJECTS`."""
    cameras: tuple[int, ...]
    """Indices into `SERIALS`."""
    sequences: tuple[int, ...]
    """Indices of a subject's sequences, 0 to 99."""


_ALL_SUBJECTS: Final = tuple(range(len(SUBJECTS)))
_ALL_CAMERAS: Final = tuple(range(len(SERIALS)))
_ALL_SEQUENCES: Final = tuple(range(SEQUENCES_PER_SUBJECT))
_LAST_TAKES: Final = tuple(sequence for sequence in _ALL_SEQUENCES if sequence % TAKES_PER_OBJECT == 4)
_OTHER_TAKES: Final = tuple(sequence for sequence in _ALL_SEQUENCES if sequence % TAKES_PER_OBJECT != 4)


def _of_objects(*objects: int) -> tuple[int, ...]:
    """The sequences that grasp these objects, numbered in the order of a session."""
    return tuple(sequence for sequence in _ALL_SEQUENCES if sequence // TAKES_PER_OBJECT in objects)


SPLITS: Final[dict[str, SplitRule]] = {
    "s0_train": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _OTHER_TAKES),
    "s0_val": SplitRule((0, 1), _ALL_CAMERAS, _LAST_TAKES),
    "s0_test": SplitRule((2, 3, 4, 5, 6, 7, 8, 9), _ALL_CAMERAS, _LAST_TAKES),
    "s1_train": SplitRule((0, 1, 2, 3, 4, 5, 9), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s1_val": SplitRule((6,), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s1_test": SplitRule((7, 8), _ALL_CAMERAS, _ALL_SEQUENCES),
    "s2_train": SplitRule(_ALL_SUBJECTS, (0, 1, 2, 3, 4, 5), _ALL_SEQUENCES),
    "s2_val": SplitRule(_ALL_SUBJECTS, (6,), _ALL_SEQUENCES),
    "s2_test": SplitRule(_ALL_SUBJECTS, (7,), _ALL_SEQUENCES),
    "s3_train": SplitRule(
        _ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18)
    ),
    "s3_val": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(3, 19)),
    "s3_test": SplitRule(_ALL_SUBJECTS, _ALL_CAMERAS, _of_objects(7, 11, 15)),
}
"""s0: unseen takes; s1: unseen subjects; s2: unseen cameras; s3: unseen grasped objects."""


def split_rule(split: str) -> SplitRule:
    """The rule of a split; raises HandsimError for a name that is none."""
    check_split("dexycb", split, SPLITS)
    return SPLITS[split]
