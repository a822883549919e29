"""A question to the index as a value: what a page asks, and what its address says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import SIDES, Side, format_hand_id, parse_hand_id
from handsim.skeleton import JOINT_COUNT
from index import Filter, SearchOptions

FEWEST: Final = 1
MOST: Final = 200
"""Answers that can be asked for."""
MOST_EXAMPLES: Final = 32
"""Hands marked + or -."""
_POSE_STEPS: Final = 1000
"""Keypoints in the address are whole numbers of this part of the crop's width."""
_POSE_LIMIT: Final = 10 * _POSE_STEPS

Condition = Literal["other_video", "one_per_video", "sources", "labels", "side", "max_distance", "diversity"]


@dataclass(frozen=True)
class Question:
    """Which hands are looked for: those like a hand, like several and unlike others, or like a pose.

    Raises HandsimError for values out of their bounds, and for two subjects at once.
    """

    hand: int | None = None
    """A hand of the index."""
    like: tuple[int, ...] = ()
    """Hands of the index: more like these."""
    unlike: tuple[int, ...] = ()
    """Hands of the index: less like these."""
    pose: tuple[int, ...] | None = None
    """42 numbers, x and y of each joint in thousandths of the crop's width, as a right hand."""
    k: int = 24
    """How many answers."""
    other_video: bool = True
    """None of the video of the hand, or hands, asked about."""
    one_per_video: bool = False
    """At most one from each video."""
    sources: tuple[str, ...] = ()
    """Only of these collections; empty: of all."""
    labels: tuple[str, ...] = ()
    """Only of these classes."""
    side: Side | None = None
    """Only of this side, the subject's own."""
    max_distance: float | None = None
    """None further than this."""
    diversity: float = 0.0
    """0 the nearest; towards 1 near ones unlike each other."""

    def __post_init__(self) -> None:
        if not FEWEST <= self.k <= MOST:
            raise HandsimError(f"k is {self.k}; between {FEWEST} and {MOST} hands can be looked at")
        if sum((self.hand is not None, bool(self.like), self.pose is not None)) > 1:
            raise HandsimError(
                "ask about one hand, about examples or about a pose, not about several at once"
            )
        if len(self.like) + len(self.unlike) > MOST_EXAMPLES:
            raise HandsimError(f"At most {MOST_EXAMPLES} hands can be examples; take the mark off some")
        if self.unlike and not self.like:
            raise HandsimError("'less like these' goes with 'more like these'; mark a hand with + as well")
        if self.diversity and self.like:
            raise HandsimError("Diversity does not go with examples; leave one of them out")
        if self.diversity and self.one_per_video:
            raise HandsimError("Diversity does not go with One per video; leave one of them out")
        if self.pose is not None and (
            len(self.pose) != 2 * JOINT_COUNT or max(map(abs, self.pose)) > _POSE_LIMIT
        ):
            raise HandsimError(f"a pose is {2 * JOINT_COUNT} numbers of thousandths of a crop's width")
        self.options()

    @property
    def subject(self) -> tuple[object, ...]:
        """What is asked about, without the conditions."""
        return self.hand, self.like, self.unlike, self.pose

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked about yet."""
        return self.hand is None and not self.like and self.pose is None

    def options(self) -> SearchOptions:
        """The conditions as the index takes them."""
        wanted = Filter(
            sources=self.sources or None,
            labels=self.labels or None,
            sides=None if self.side is None else (self.side,),
        )
        return SearchOptions(
            filter=None if wanted == Filter() else wanted,
            one_per_video=self.one_per_video,
            max_distance=self.max_distance,
            diversity=self.diversity,
            with_payload=True,
        )

    @property
    def conditions(self) -> list[Condition]:
        """Those that leave hands out."""
        plain = Question(other_video=False)
        names: tuple[Condition, ...] = (
            *("other_video", "one_per_video", "sources"),
            *("labels", "side", "max_distance", "diversity"),
        )
        return [name for name in names if getattr(self, name) != getattr(plain, name)]

    def without(self, condition: Condition) -> "Question":
        """The same question without one condition."""
        plain = Question(other_video=False)
        return replace(self, **{condition: getattr(plain, condition)})

    @classmethod
    def names(cls) -> list[str]:
        """What an address may say."""
        return [field.name for field in fields(cls)]

    def about(self, hand: int) -> "Question":
        """The same conditions, asked about a hand."""
        return replace(self, hand=hand, like=(), unlike=(), pose=None)

    def about_pose(self, pose: tuple[int, ...]) -> "Question":
        """The same conditions, asked about a pose."""
        return replace(self, hand=None, like=(), unlike=(), pose=pose)

    def marked(self, hand: int, *, like: bool) -> "Question":
        """The same conditions, asked with one more example; a second mark of the same kind takes it off.

        The hand that was asked about becomes the first example; the last one liked stays.
        """
        liked = self.like if self.hand is None else (self.hand,)
        unliked = self.unlike
        if like:
            liked = _toggled(liked, hand)
            unliked = tuple(other for other in unliked if other != hand)
        else:
            unliked = _toggled(unliked, hand)
            liked = tuple(other for other in liked if other != hand)
        if not liked:
            return self
        return replace(self, hand=None, like=liked, unlike=unliked, pose=None, diversity=0.0)

    def keypoints(self) -> NDArray[np.float32]:
        """[21, 2] in the crop's unit square, of a question about a pose."""
        assert self.pose is not None
        unit = np.array(self.pose, dtype=np.float32) / np.float32(_POSE_STEPS)
        return unit.reshape(JOINT_COUNT, 2)

    def as_params(self) -> dict[str, str]:
        """What the address says: only what differs from the defaults."""
        plain, told = Question(), {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(plain, field.name):
                told[field.name] = _as_text(field.name, value)
        return told

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> "Question":
        """Read what `as_params` wrote; raises HandsimError for an address that says something else."""
        known = {name: _from_text(name, params[name]) for name in cls.names() if name in params}
        return cls(**known)  # type: ignore[arg-type]  # each is of its field's type


def quantise_keypoints(keypoints: NDArray[np.floating]) -> tuple[int, ...]:
    """`Question.pose` of keypoints [21, 2 or 3] in the crop's unit square."""
    steps = np.rint(np.asarray(keypoints, dtype=np.float64)[:, :2] * _POSE_STEPS)
    return tuple(int(step) for step in steps.ravel())


def _toggled(hands: Sequence[int], hand: int) -> tuple[int, ...]:
    return tuple(other for other in hands if other != hand) if hand in hands else (*hands, hand)


_TEXTS: Final = ("sources", "labels")
_SEPARATOR: Final = "\n"
"""Between names, which may hold anything else."""


def _as_text(name: str, value: object) -> str:
    if name == "hand" and isinstance(value, int):
        return format_hand_id(value)
    if name in ("like", "unlike") and isinstance(value, tuple):
        return ".".join(map(format_hand_id, value))
    if name == "pose" and isinstance(value, tuple):
        return ".".join(map(str, value))
    if name in _TEXTS and isinstance(value, tuple):
        return _SEPARATOR.join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _from_text(name: str, text: str) -> object:
    try:
        if name == "hand":
            return parse_hand_id(text)
        if name in ("like", "unlike"):
            return tuple(map(parse_hand_id, text.split(".")))
        if name == "pose":
            return tuple(map(int, text.split(".")))
        if name in _TEXTS:
            return tuple(text.split(_SEPARATOR))
        if name in ("other_video", "one_per_video"):
            return {"yes": True, "no": False}[text]
        if name == "side":
            return dict(zip(map(str, SIDES), SIDES, strict=True))[text]
        return int(text) if name == "k" else float(text)
    except (ValueError, KeyError) as error:
        raise HandsimError(f"the address says {name} = {text[:40]!r}, which cannot be read") from error
