"""A question to the index as a value: its subject, its conditions, and its form in an address.

An address holds only what differs from the defaults, so it can be shared as a link: ``?hand=03ab...&k=7``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import SIDES, Side, format_hand_id, parse_hand_id
from handsim.skeleton import JOINT_COUNT
from index import Filter, SearchOptions

MIN_K: Final = 1
MAX_K: Final = 200
"""Answers that a question may ask for."""
MAX_EXAMPLES: Final = 32
"""Hands marked + or -."""
_POSE_STEPS: Final = 1000
"""A pose has whole numbers, in this fraction of the crop's width."""
_POSE_LIMIT: Final = 10 * _POSE_STEPS

Condition = Literal["other_video", "one_per_video", "sources", "labels", "side", "max_distance", "diversity"]


@dataclass(frozen=True)
class Question:
    """A search for hands like one hand, like several and unlike others, or like a pose.

    Raises HandsimError for values out of bounds, and for two subjects at once.
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
    """None from the video of the hand or hands in the question."""
    one_per_video: bool = False
    """At most one from each video."""
    sources: tuple[str, ...] = ()
    """Only from these collections; empty: from all."""
    labels: tuple[str, ...] = ()
    """Only with these labels; empty: with any."""
    side: Side | None = None
    """Only of this side, the subject's own."""
    max_distance: float | None = None
    """None further away than this."""
    diversity: float = 0.0
    """0: the nearest hands; towards 1: near hands that differ from each other."""

    def __post_init__(self) -> None:
        if not MIN_K <= self.k <= MAX_K:
            raise HandsimError(f"k is {self.k}; ask for {MIN_K} to {MAX_K} hands")
        if sum((self.hand is not None, bool(self.like), self.pose is not None)) > 1:
            raise HandsimError(
                "ask about one hand, about examples or about a pose, not about several at once"
            )
        if len(self.like) + len(self.unlike) > MAX_EXAMPLES:
            raise HandsimError(f"At most {MAX_EXAMPLES} hands can be examples; take the mark off some")
        if self.unlike and not self.like:
            raise HandsimError("'less like these' goes with 'more like these'; mark a hand with + as well")
        if self.diversity and self.like:
            raise HandsimError("Diversity does not go with examples; leave one of them out")
        if self.diversity and self.one_per_video:
            raise HandsimError("Diversity does not go with One per video; leave one of them out")
        if self.pose is not None and (
            len(self.pose) != 2 * JOINT_COUNT or max(map(abs, self.pose)) > _POSE_LIMIT
        ):
            raise HandsimError(
                f"a pose is {2 * JOINT_COUNT} numbers from {-_POSE_LIMIT} to {_POSE_LIMIT}, "
                "in thousandths of the crop's width"
            )
        self.options()

    @property
    def subject(self) -> tuple[object, ...]:
        """What the question is about, without the conditions."""
        return self.hand, self.like, self.unlike, self.pose

    @property
    def is_empty(self) -> bool:
        return self.hand is None and not self.like and self.pose is None

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that leave hands out."""
        return [name for name, neutral in _NEUTRAL.items() if getattr(self, name) != neutral]

    def without(self, condition: Condition) -> "Question":
        return replace(self, **{condition: _NEUTRAL[condition]})  # type: ignore[arg-type]  # of its type

    def options(self) -> SearchOptions:
        selection = Filter(
            sources=self.sources or None,
            labels=self.labels or None,
            sides=None if self.side is None else (self.side,),
        )
        return SearchOptions(
            filter=None if selection == Filter() else selection,
            one_per_video=self.one_per_video,
            max_distance=self.max_distance,
            diversity=self.diversity,
            with_payload=True,
        )

    def with_hand(self, hand: int) -> "Question":
        return replace(self, hand=hand, like=(), unlike=(), pose=None)

    def with_pose(self, pose: tuple[int, ...]) -> "Question":
        return replace(self, hand=None, like=(), unlike=(), pose=pose)

    def with_mark(self, hand: int, *, like: bool) -> "Question":
        """The same conditions with one more example; a second mark of the same kind takes the first off.

        The hand of the question becomes the first example. The last example with + cannot be taken off.
        """
        liked = self.like if self.hand is None else (self.hand,)
        if like:
            liked, unliked = _toggle(liked, hand), _remove(self.unlike, hand)
        else:
            liked, unliked = _remove(liked, hand), _toggle(self.unlike, hand)
        if not liked:
            return self
        return replace(self, hand=None, like=liked, unlike=unliked, pose=None, diversity=0.0)

    def with_examples(self, hands: tuple[int, ...], *, like: bool) -> "Question":
        """The same conditions, and more like these hands, or also less like these.

        More like these leaves earlier examples with + behind; those with - stay. Raises HandsimError for more
        examples than may be, and for less like these without anything to be like.
        """
        if like:
            unlike = tuple(hand for hand in self.unlike if hand not in hands)
            return replace(self, hand=None, like=hands, unlike=unlike, pose=None, diversity=0.0)
        liked = self.like if self.hand is None else (self.hand,)
        liked = tuple(hand for hand in liked if hand not in hands)
        unlike = tuple(dict.fromkeys((*self.unlike, *hands)))
        return replace(self, hand=None, like=liked, unlike=unlike, pose=None, diversity=0.0)

    def keypoints(self) -> NDArray[np.float32]:
        """[21, 2] in the crop's unit square, for a question about a pose."""
        assert self.pose is not None
        unit = np.array(self.pose, dtype=np.float32) / np.float32(_POSE_STEPS)
        return unit.reshape(JOINT_COUNT, 2)

    @classmethod
    def param_names(cls) -> list[str]:
        """The parameters that an address may have."""
        return [field.name for field in fields(cls)]

    def to_params(self) -> dict[str, str]:
        """The address's parameters: only what differs from the defaults."""
        values, defaults = vars(self), vars(Question())
        return {
            name: to_text(values[name])
            for name, (to_text, _) in _CODECS.items()
            if values[name] != defaults[name]
        }

    @classmethod
    def from_params(cls, params: Mapping[str, str]) -> "Question":
        """Read what `to_params` wrote; ignore other names. Raises HandsimError for unreadable values."""
        values: dict[str, Any] = {}
        for name in cls.param_names():
            if name in params:
                try:
                    values[name] = _CODECS[name][1](params[name])
                except (ValueError, KeyError) as error:
                    raise HandsimError(
                        f"the address says {name} = {params[name][:40]!r}, which cannot be read"
                    ) from error
        return cls(**values)


_NEUTRAL: Final[dict[Condition, object]] = {
    "other_video": False,
    "one_per_video": False,
    "sources": (),
    "labels": (),
    "side": None,
    "max_distance": None,
    "diversity": 0.0,
}
"""Condition -> the value that leaves no hand out."""


def _remove(hands: tuple[int, ...], hand: int) -> tuple[int, ...]:
    return tuple(other for other in hands if other != hand)


def _toggle(hands: tuple[int, ...], hand: int) -> tuple[int, ...]:
    return _remove(hands, hand) if hand in hands else (*hands, hand)


def quantise_keypoints(keypoints: NDArray[np.floating]) -> tuple[int, ...]:
    """`Question.pose` for keypoints [21, 2 or 3] in the crop's unit square."""
    steps = np.rint(np.asarray(keypoints, dtype=np.float64)[:, :2] * _POSE_STEPS)
    return tuple(int(step) for step in steps.ravel())


PRESETS: Final = {"Flat": "flat", "Fist": "fist", "Point": "point", "Pinch": "pinch", "OK": "ok"}
"""Name on the page -> prototype of the synthetic hands."""


@cache
def make_preset(name: str) -> tuple[int, ...]:
    """`Question.pose` of a preset: an average adult's right hand, seen from its palm."""
    from handsim.synthetic.camera import PALM_TO_CAMERA, squares_around
    from handsim.synthetic.hand_model import AVERAGE_SHAPE, forward_kinematics
    from handsim.synthetic.motion import PROTOTYPE_ANGLES

    posture = forward_kinematics(AVERAGE_SHAPE, PROTOTYPE_ANGLES[PRESETS[name]][None])
    joints_mm = posture.joints_mm @ PALM_TO_CAMERA.T
    places = joints_mm[..., :2]  # an orthographic view
    square = squares_around(places)[0]
    return quantise_keypoints((places[0] - square[:2]) / np.array(square[2] - square[0]))


_Codec = tuple[Callable[[Any], str], Callable[[str], Any]]


def _join(to_text: Callable[[Any], str], from_text: Callable[[str], Any], separator: str) -> _Codec:
    return (
        lambda values: separator.join(map(to_text, values)),
        lambda text: tuple(map(from_text, text.split(separator))),
    )


_FLAG: Final[_Codec] = (lambda value: "yes" if value else "no", {"yes": True, "no": False}.__getitem__)
_HANDS: Final = _join(format_hand_id, parse_hand_id, ".")
_NAMES: Final = _join(str, str, "\n")  # names may contain anything else

_CODECS: Final[dict[str, _Codec]] = {
    "hand": (format_hand_id, parse_hand_id),
    "like": _HANDS,
    "unlike": _HANDS,
    "pose": _join(str, int, "."),
    "k": (str, int),
    "other_video": _FLAG,
    "one_per_video": _FLAG,
    "sources": _NAMES,
    "labels": _NAMES,
    "side": (str, {str(side): side for side in SIDES}.__getitem__),
    "max_distance": (str, float),
    "diversity": (str, float),
}
"""Field -> how its value is written into an address, and how it is read."""
