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

Example = int | tuple[int, ...]
"""What a question can be about: a hand of the index, or a pose as in `Question.pose`."""
Condition = Literal[
    "other_video",
    "one_per_video",
    "sources",
    "labels",
    "lists",
    "not_lists",
    "side",
    "max_distance",
    "diversity",
]
ReadLists = Callable[[tuple[str, ...]], frozenset[int]]
"""Gives the hands of named lists, see `HandLists.union`."""


@dataclass(frozen=True)
class Question:
    """A search for hands like one hand, like several and unlike others, or like a pose.

    Raises HandsimError for values out of bounds, and for two subjects at once.
    """

    hand: int | None = None
    """A hand of the index."""
    like: tuple[Example, ...] = ()
    """More like these."""
    unlike: tuple[Example, ...] = ()
    """Less like these."""
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
    lists: tuple[str, ...] = ()
    """Only hands of one of these named lists; empty: whatever lists they are on."""
    not_lists: tuple[str, ...] = ()
    """No hand of these lists."""
    side: Side | None = None
    """Only of this side, the subject's own."""
    max_distance: float | None = None
    """None further away than this."""
    diversity: float = 0.0
    """0: the nearest hands; towards 1: near hands that differ from each other."""
    stacked: bool = True
    """Whether answers of one video are shown as one card; it leaves none out."""

    def __post_init__(self) -> None:
        if not MIN_K <= self.k <= MAX_K:
            raise HandsimError(f"k is {self.k}; ask for {MIN_K} to {MAX_K} hands")
        if sum((self.hand is not None, bool(self.like), self.pose is not None)) > 1:
            raise HandsimError(
                "A search is about one hand, about examples or about a pose, not about several at once"
            )
        if len(self.like) + len(self.unlike) > MAX_EXAMPLES:
            raise HandsimError(f"At most {MAX_EXAMPLES} hands can be examples; take the mark off some")
        if self.unlike and not self.like:
            raise HandsimError("'less like these' goes with 'more like these'; mark a hand with + as well")
        if self.diversity and self.like:
            raise HandsimError("Diversity does not go with examples; leave one of them out")
        if self.diversity and self.one_per_video:
            raise HandsimError("Diversity does not go with One per video; leave one of them out")
        for pose in self.poses:
            if len(pose) != 2 * JOINT_COUNT or max(map(abs, pose)) > _POSE_LIMIT:
                raise HandsimError(
                    f"A pose is {2 * JOINT_COUNT} numbers from {-_POSE_LIMIT} to {_POSE_LIMIT}, "
                    "in thousandths of the crop's width"
                )
        self.options(lambda names: frozenset())

    @property
    def subject(self) -> tuple[object, ...]:
        """What the question is about, without the conditions."""
        return self.hand, self.like, self.unlike, self.pose

    @property
    def examples(self) -> tuple[Example, ...]:
        """All that the question is about: one hand or pose, or the examples with + and then those with -."""
        subject = self.pose if self.hand is None else self.hand
        return (*self.like, *self.unlike) if subject is None else (subject,)

    @property
    def hands(self) -> list[int]:
        """The hands of the index among the examples."""
        return [example for example in self.examples if isinstance(example, int)]

    @property
    def poses(self) -> list[tuple[int, ...]]:
        return [example for example in self.examples if not isinstance(example, int)]

    @property
    def has_video(self) -> bool:
        """Whether a video is asked about, of which no hand need be found: a pose belongs to none."""
        return self.hand is not None or any(isinstance(example, int) for example in self.like)

    @property
    def is_empty(self) -> bool:
        return self.hand is None and not self.like and self.pose is None

    @property
    def conditions(self) -> list[Condition]:
        """The conditions that leave hands out."""
        return [
            name
            for name, neutral in _NEUTRAL.items()
            if getattr(self, name) != neutral and (name != "other_video" or self.has_video)
        ]

    def without(self, condition: Condition) -> "Question":
        return replace(self, **{condition: _NEUTRAL[condition]})  # type: ignore[arg-type]  # of its type

    def options(self, read_lists: ReadLists) -> SearchOptions:
        """How to search; raises HandsimError for a list that is not there, or that holds no hand."""
        selection = Filter(
            sources=self.sources or None,
            labels=self.labels or None,
            sides=None if self.side is None else (self.side,),
            hands=read_lists(self.lists) if self.lists else None,
            not_hands=read_lists(self.not_lists) if self.not_lists else None,
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

    def with_mark(self, example: Example, *, like: bool) -> "Question":
        """The same conditions with one more example; a second mark of the same kind takes the first off.

        The hand or pose of the question becomes the first example. The last one with + cannot be taken off.
        """
        liked = self.like or self.examples
        if like:
            liked, unliked = _toggle(liked, example), _remove(self.unlike, example)
        else:
            liked, unliked = _remove(liked, example), _toggle(self.unlike, example)
        if not liked:
            return self
        return replace(self, hand=None, like=liked, unlike=unliked, pose=None, diversity=0.0)

    def with_examples(self, hands: tuple[int, ...], *, like: bool) -> "Question":
        """The same conditions, and more like these hands, or also less like these.

        More like these leaves earlier examples with + behind; those with - stay. Raises HandsimError for more
        examples than may be, and for less like these without anything to be like.
        """
        if like:
            unlike = tuple(example for example in self.unlike if example not in hands)
            return replace(self, hand=None, like=hands, unlike=unlike, pose=None, diversity=0.0)
        liked = tuple(example for example in self.like or self.examples if example not in hands)
        unlike = tuple(dict.fromkeys((*self.unlike, *hands)))
        return replace(self, hand=None, like=liked, unlike=unlike, pose=None, diversity=0.0)

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
    def from_params(cls, params: Mapping[str, str]) -> tuple["Question", list[str]]:
        """Read what `to_params` wrote; other names are ignored.

        Also a sentence for each value that is out of bounds and was limited, or could not be used at all.
        """
        question, notes = cls(), []
        for name in cls.param_names():
            if name not in params:
                continue
            text = params[name]
            try:
                value = _CODECS[name][1](text)
                if name in _BOUNDS:
                    value, asked = float(np.clip(value, *_BOUNDS[name])), value
                    value = type(asked)(value)
                    if abs(value - asked) > 0:  # false of NaN, which is refused below
                        notes.append(f"{name} is {asked} in the address; {value} is taken.")
                question = replace(question, **{name: value})
            except HandsimError as error:
                unknown = f"There is no hand with the id {text[:40]!r}: an id has 16 hex digits."
                notes.append(unknown if name == "hand" else f"{error}. The address's {name} is left out.")
            except (ValueError, KeyError):
                notes.append(f"{name} = {text[:40]!r} in the address cannot be read, and is left out.")
        return question, notes


_BOUNDS: Final = {"k": (MIN_K, MAX_K), "diversity": (0.0, 1.0)}
_NEUTRAL: Final[dict[Condition, object]] = {
    "other_video": False,
    "one_per_video": False,
    "sources": (),
    "labels": (),
    "lists": (),
    "not_lists": (),
    "side": None,
    "max_distance": None,
    "diversity": 0.0,
}
"""Condition -> the value that leaves no hand out."""


def _remove(examples: tuple[Example, ...], example: Example) -> tuple[Example, ...]:
    return tuple(other for other in examples if other != example)


def _toggle(examples: tuple[Example, ...], example: Example) -> tuple[Example, ...]:
    return _remove(examples, example) if example in examples else (*examples, example)


def pose_keypoints(pose: tuple[int, ...]) -> NDArray[np.float32]:
    """[21, 2] in the crop's unit square."""
    return (np.array(pose, dtype=np.float32) / np.float32(_POSE_STEPS)).reshape(JOINT_COUNT, 2)


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


def _format_example(example: Example) -> str:
    return format_hand_id(example) if isinstance(example, int) else "_".join(map(str, example))


def _parse_example(text: str) -> Example:
    return tuple(map(int, text.split("_"))) if "_" in text else parse_hand_id(text)


_EXAMPLES: Final = _join(_format_example, _parse_example, ".")
_NAMES: Final = _join(str, str, "\n")  # names may contain anything else

_CODECS: Final[dict[str, _Codec]] = {
    "hand": (format_hand_id, parse_hand_id),
    "like": _EXAMPLES,
    "unlike": _EXAMPLES,
    "pose": _join(str, int, "."),
    "k": (str, int),
    "other_video": _FLAG,
    "one_per_video": _FLAG,
    "sources": _NAMES,
    "labels": _NAMES,
    "lists": _NAMES,
    "not_lists": _NAMES,
    "side": (str, {str(side): side for side in SIDES}.__getitem__),
    "max_distance": (str, float),
    "diversity": (str, float),
    "stacked": _FLAG,
}
"""Field -> how its value is written into an address, and how it is read."""
