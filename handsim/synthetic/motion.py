"""How a hand moves along a video: from key pose to key pose, holding each for a while, never quite still."""

from typing import Final

import numpy as np

from handsim.synthetic.config import Floats, MotionConfig
from handsim.synthetic.hand_model import ANGLE_INDEX, ANGLES, DIP_PER_PIP, clip_to_limits
from handsim.synthetic.prototypes import GRASPING, PROTOTYPES, Prototype

_LABEL_REACH_DEG: Final = 11.0
"""A hand this close to a prototype (root mean square over the angles) is labelled with it."""
_SHAPE_ANGLES: Final = slice(0, ANGLE_INDEX["cup"])
"""The angles that make the hand's shape: all of fingers and thumb."""
_WRIST_DEVIATION_DEG: Final = (16.0, 7.0)


def _prototype_angles(prototype: Prototype) -> Floats:
    """Joint angles [24] in degrees of a prototype, the wrist straight."""
    fingers = (prototype.index, prototype.middle, prototype.ring, prototype.little)
    angles = [value for f in fingers for value in (f.spread, f.mcp, f.pip, DIP_PER_PIP * f.pip)]
    thumb = prototype.thumb
    angles += [thumb.out, thumb.lift, thumb.roll, thumb.mcp, thumb.ip, prototype.cup, 0.0, 0.0]
    return clip_to_limits(np.array(angles))


PROTOTYPE_ANGLES: Final = {name: _prototype_angles(prototype) for name, prototype in PROTOTYPES.items()}
"""Name to angles [24] in degrees."""


def sample_motion(
    rng: np.random.Generator, config: MotionConfig, frames: int, *, holding: bool = False
) -> Floats:
    """Draw the joint angles [frames, 24] in degrees of a video, all within their limits."""
    names = config.prototypes
    if holding:
        names = tuple(name for name in names if name in GRASPING) or names
    times = [-float(rng.uniform(0, config.frames_per_pose))]
    while times[-1] < frames:
        times.append(times[-1] + config.frames_per_pose * float(rng.uniform(0.6, 1.4)))
    keys = np.array([_key_pose(rng, config, names) for _ in times])
    # The hand stays in a key pose for a part of the time before it moves on.
    hold_share = float(rng.uniform(0.15, 0.55))
    frame = np.arange(frames)
    key = np.clip(np.searchsorted(times, frame, side="right") - 1, 0, len(times) - 2)
    start, end = np.array(times)[key], np.array(times)[key + 1]
    time = np.clip(((frame - start) / (end - start) - hold_share) / (1 - hold_share), 0, 1)
    progress = _minimum_jerk(time)[:, None]
    angles = keys[key] * (1 - progress) + keys[key + 1] * progress
    wobble = smooth_noise(rng, frames, len(ANGLES), (5.0, 40.0)) * config.wobble_deg
    return clip_to_limits(angles + wobble)


def _key_pose(rng: np.random.Generator, config: MotionConfig, names: tuple[str, ...]) -> Floats:
    """A prototype, or something between two, done in one's own way."""
    angles = PROTOTYPE_ANGLES[names[rng.integers(len(names))]]
    if rng.random() < config.blend_share:
        other = PROTOTYPE_ANGLES[names[rng.integers(len(names))]]
        angles = angles + (other - angles) * rng.uniform(0.2, 0.8)
    # Neighbouring fingers move together: half of a person's own way is common to all four.
    own = rng.standard_normal(len(ANGLES))
    common = rng.standard_normal(4)
    own[:16] = (own[:16] + np.tile(common, 4)) / np.sqrt(2)
    own[0:16:4] *= 0.4
    own[3:16:4] = DIP_PER_PIP * own[2:16:4] + 0.3 * own[3:16:4]
    own[ANGLE_INDEX["cup"] :] = 0
    angles = angles + config.jitter_deg * own
    angles[ANGLE_INDEX["wrist_bend"]] = _WRIST_DEVIATION_DEG[0] * rng.standard_normal()
    angles[ANGLE_INDEX["wrist_lean"]] = _WRIST_DEVIATION_DEG[1] * rng.standard_normal()
    return clip_to_limits(angles)


def nearest_labels(angles_deg: Floats) -> list[str | None]:
    """The prototype that each hand [N, 24] shows, or None where it is close to none."""
    names = list(PROTOTYPE_ANGLES)
    table = np.array([PROTOTYPE_ANGLES[name][_SHAPE_ANGLES] for name in names])
    distances = np.sqrt(((angles_deg[:, None, _SHAPE_ANGLES] - table) ** 2).mean(axis=-1))
    best = distances.argmin(axis=1)
    return [
        names[nearest] if distances[hand, nearest] <= _LABEL_REACH_DEG else None
        for hand, nearest in enumerate(best)
    ]


def smooth_noise(rng: np.random.Generator, frames: int, channels: int, period: tuple[float, float]) -> Floats:
    """Smooth noise [frames, channels] of mean 0 and standard deviation 1: three sine waves a channel.

    ``period`` is the range of the waves' periods in frames.
    """
    periods = np.exp(rng.uniform(np.log(period[0]), np.log(period[1]), (3, channels)))
    phases = rng.uniform(0, 2 * np.pi, (3, channels))
    weights = rng.standard_normal((3, channels))
    time = np.arange(frames)[:, None, None]
    waves = np.sin(2 * np.pi * time / periods + phases)
    noise: Floats = (waves * weights).sum(axis=1) * np.sqrt(2 / 3)
    return noise


def _minimum_jerk(time: Floats) -> Floats:
    """How far a reaching movement is (0 to 1) after a part ``time`` of its time: the path of least jerk.

    Flash and Hogan (1985): 10 p^3 - 15 p^4 + 6 p^5.
    """
    return time**3 * (10 - 15 * time + 6 * time**2)
