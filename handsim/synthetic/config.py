"""What a synthetic world is like: everything that is random in it, and its range.

Two worlds that differ in these numbers (other people, other cameras, other rooms) differ as two data sets do.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.synthetic.prototypes import PROTOTYPES

BACKGROUNDS = ("wall", "blurred", "clutter", "boards", "foliage")
Range = tuple[float, float]
"""Lowest and highest, or mean and standard deviation."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PeopleConfig:
    """Whose hands they are."""

    count: int = 0
    """How many people there are; video v shows person v modulo count. 0: a new person in every video."""
    hand_length_mm: Range = (186.0, 11.0)
    """Mean and standard deviation of an adult's hand, wrist joint to the tip of the middle finger."""
    child_share: float = 0.08
    """Share of children, whose hands are 0.70 to 0.88 times as long and plumper."""
    tone: Range = (0.0, 1.0)
    """Range of the skin's tone: 0 the lightest, 1 the darkest."""


@dataclass(frozen=True)
class MotionConfig:
    """What the hands do."""

    prototypes: tuple[str, ...] = tuple(PROTOTYPES)
    """Names of the hand shapes that videos move between."""
    frames_per_pose: float = 7.0
    """Mean number of sampled frames (one a second) from one key pose to the next."""
    blend_share: float = 0.35
    """Share of the key poses that lie between two prototypes."""
    jitter_deg: float = 6.0
    """Standard deviation by which a key pose departs from its prototype, per joint angle."""
    wobble_deg: float = 1.5
    """Standard deviation of the smooth unrest of each joint angle along a video."""
    holding_share: float = 0.2
    """Share of the videos in which the hand holds something (and keeps to grasping shapes)."""
    left_share: float = 0.5
    """Share of the videos that show a left hand."""


@dataclass(frozen=True)
class ViewConfig:
    """Where the camera is and which."""

    picture_px: tuple[int, int] = (640, 480)
    """Width and height of the camera's picture."""
    focal_px: Range = (480.0, 900.0)
    """Range of the focal length; wide lenses have short ones."""
    distance_mm: Range = (350.0, 900.0)
    """Range of the wrist's distance from the camera."""
    palm_share: float = 0.4
    """Share of the videos that look mostly at the palm."""
    back_share: float = 0.4
    """Share of the videos that look mostly at the back; the rest look at the hand from any side."""
    turn_deg: float = 28.0
    """Standard deviation of the hand's turn about its long axis away from palm or back."""
    tilt_deg: float = 20.0
    """Standard deviation of the tilt of the fingers towards or away from the camera."""
    roll_deg: float = 45.0
    """Standard deviation of the hand's rotation in the picture; 0 has the fingers up."""
    drift_deg: float = 10.0
    """Standard deviation by which turn, tilt and roll wander along a video."""


@dataclass(frozen=True)
class SceneConfig:
    """Light, clothes, things and rooms."""

    backgrounds: tuple[str, ...] = BACKGROUNDS
    """Kinds of background, each as likely as the other."""
    sleeve_share: float = 0.6
    """Share of the videos in which a sleeve covers the forearm."""
    passing_share: float = 0.15
    """Share of the videos in which something passes between camera and hand."""
    key_light: Range = (0.55, 1.25)
    """Range of the strength of the main light."""
    ambient_light: Range = (0.30, 0.65)
    """Range of the strength of the light from everywhere."""
    blur_px: Range = (0.25, 0.75)
    """Range of the standard deviation of the lens's blur, in pixels of the crop."""
    noise: Range = (0.002, 0.022)
    """Range of the standard deviation of the sensor's noise; 1 is white."""


@dataclass(frozen=True)
class SyntheticConfig:
    """A synthetic world, and how many of its videos to render."""

    videos: int = 150
    hands_per_video: int = 20
    """Frames in each video; each shows one hand."""
    seed: int = 0
    """The same seed gives the same bytes; another one gives other people, motions, views and rooms."""
    size_px: int = 128
    """Side of the square crop, a multiple of 8."""
    people: PeopleConfig = field(default_factory=PeopleConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    scene: SceneConfig = field(default_factory=SceneConfig)

    def __post_init__(self) -> None:
        for name, value, least in (
            ("videos", self.videos, 0),
            ("hands_per_video", self.hands_per_video, 1),
            ("seed", self.seed, 0),
            ("people.count", self.people.count, 0),
        ):
            if value < least:
                raise HandsimError(f"{name} is {value}; it must be at least {least}")
        if self.size_px < 32 or self.size_px % 8:
            raise HandsimError(f"size_px is {self.size_px}; it must be a multiple of 8, at least 32")
        if self.motion.frames_per_pose <= 0:
            raise HandsimError(f"frames_per_pose is {self.motion.frames_per_pose}; it must be above 0")
        _check_known("prototype", self.motion.prototypes, tuple(PROTOTYPES))
        _check_known("background", self.scene.backgrounds, BACKGROUNDS)
        for name, share in (
            ("child_share", self.people.child_share),
            ("blend_share", self.motion.blend_share),
            ("holding_share", self.motion.holding_share),
            ("left_share", self.motion.left_share),
            ("palm_share + back_share", self.view.palm_share + self.view.back_share),
            ("sleeve_share", self.scene.sleeve_share),
            ("passing_share", self.scene.passing_share),
        ):
            if not 0 <= share <= 1:
                raise HandsimError(f"{name} is {share}; a share lies between 0 and 1")
        for name, (low, high) in (
            ("tone", self.people.tone),
            ("focal_px", self.view.focal_px),
            ("distance_mm", self.view.distance_mm),
            ("key_light", self.scene.key_light),
            ("ambient_light", self.scene.ambient_light),
            ("blur_px", self.scene.blur_px),
            ("noise", self.scene.noise),
        ):
            if not 0 <= low <= high:
                raise HandsimError(f"{name} is ({low}, {high}); a range is (low, high) with 0 <= low <= high")
        if self.view.distance_mm[0] < 250:
            raise HandsimError(
                f"distance_mm starts at {self.view.distance_mm[0]}; a hand needs at least 250 mm"
            )


def _check_known(noun: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        name = repr(unknown[0]) if unknown else "none at all"
        raise HandsimError(f"{name} is not a {noun}; known are {', '.join(known)}")
