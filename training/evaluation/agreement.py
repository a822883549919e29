"""How far an estimator and MediaPipe agree in 3D on hands of a pool whose true joints nobody knows.

Beside joints in the picture MediaPipe's joint network gives "world landmarks": the joints in metres, in the
camera's axes, of a hand of the size that it takes for true. They are an estimate, too: where both are wrong
in the same way they agree, and where they differ nobody knows which is right. So this is a distance between
two estimates, never an error.

Both look at the picture that the pool stores of a hand, around the pool's keypoints, and the estimator's
joints are laid onto MediaPipe's. Beside them stands the mean of MediaPipe's hands, given for every hand: what
agrees no better says nothing of the hand that it looks at. Intervals are over videos, which in a pool of
photographs are people.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.networks import HandNetworks, square_around_joints
from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, rescale_keypoints
from handsim.metrics.bootstrap import bootstrap_interval, sum_by_person
from handsim.metrics.pose import AlignedErrors, mean_pose_mm, measure_aligned
from handsim.pool import Pool
from handsim.pool.crops import decode_crop
from training.finetune.pose_model import PoseModel

ALIGNMENTS: Final = ("root_relative", "root_scale", "procrustes_proper")
"""How the estimator's joints are laid onto MediaPipe's: names in `AlignedErrors`."""
LEAST_PRESENCE: Final = 0.5
"""Where MediaPipe is less sure that there is a hand, its joints are not compared."""
_BATCH: Final = 64

Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """A mean over joints and hands, in mm of MediaPipe's hands."""

    mean_mm: float
    interval_mm: tuple[float, float] | None
    """At 95 %, over videos; None for fewer than two of them."""


@dataclass(frozen=True)
class Agreement:
    """What `measure_agreement` measured; `dataclasses.asdict` of it is JSON."""

    hands: int
    videos: int
    left_out: dict[str, int]
    """Hands of the sample that were not compared, by the reason."""
    estimator: dict[str, Distance]
    """By `ALIGNMENTS`."""
    mean_hand: dict[str, Distance]
    """The same of the mean of MediaPipe's hands."""


def measure_agreement(
    pool: Pool,
    model: PoseModel,
    networks: HandNetworks,
    *,
    sample: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Agreement:
    """Compare ``sample`` random hands of a pool (all, if it has fewer); the same seed takes the same hands.

    Raises HandsimError for an estimator that needs K, for networks without world landmarks, for a damaged
    picture, and where no hand can be compared.
    """
    if model.needs_camera:
        raise HandsimError(
            "the estimator's head needs the camera's K, which a pool does not know; take one with another "
            "head (--estimator.head detnet or simple)"
        )
    usable = np.flatnonzero(pool.is_usable & pool.has_crops)
    rows = np.sort(np.random.default_rng(seed).choice(usable, min(sample, len(usable)), replace=False))
    left_out: Counter[str] = Counter()
    compared, ours, theirs = list[int](), list[Floats](), list[Floats]()
    for start in range(0, len(rows), _BATCH):
        seen = _look(pool, rows[start : start + _BATCH], networks, left_out)
        if seen:
            compared += [hand.row for hand in seen]
            theirs += [hand.world_mm for hand in seen]
            ours += list(_estimate(model, seen))
        if progress:
            progress(min(start + _BATCH, len(rows)), len(rows))
    if not compared:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise HandsimError(
            f"no hand of {pool.path} can be compared: "
            f"{reasons or 'none has a picture, all its joints and a side'}"
        )
    valid = np.ones((len(compared), len(theirs[0])), np.bool_)
    world = np.stack(theirs)
    videos = [pool.videos[row] or "" for row in compared]
    mean = np.broadcast_to(mean_pose_mm(world, valid), world.shape)
    return Agreement(
        hands=len(compared),
        videos=len(set(videos)),
        left_out=dict(left_out),
        estimator=_distances(measure_aligned(np.stack(ours), world, valid), videos),
        mean_hand=_distances(measure_aligned(mean, world, valid), videos),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """A hand that MediaPipe saw."""

    row: int
    picture: NDArray[np.uint8]
    keypoints_px: NDArray[np.float32]
    """[21, 2] of the pool, in the picture."""
    world_mm: Floats
    """[21, 3]."""


def _look(pool: Pool, rows: NDArray[np.int64], networks: HandNetworks, left_out: Counter[str]) -> list[_Seen]:
    seen = []
    for row in rows.tolist():
        hand_id = int(pool.hand_ids[row])
        picture = decode_crop(pool.stored_jpeg(hand_id), hand_id)
        in_square = rescale_keypoints(pool.keypoints[row, :, :2], CROP_ENLARGEMENT, pool.crop_enlargement)
        keypoints_px = in_square * np.float32(len(picture))
        landmarks = networks.predict_joints(picture, square_around_joints(keypoints_px))
        if landmarks.world_mm is None:
            raise HandsimError(
                "this model gives no world landmarks; leave --model out to take MediaPipe's own"
            )
        if landmarks.presence < LEAST_PRESENCE:
            left_out["in which MediaPipe sees no hand"] += 1
        else:
            seen.append(_Seen(row, picture, keypoints_px, landmarks.world_mm.astype(np.float64)))
    return seen


def _estimate(model: PoseModel, seen: Sequence[_Seen]) -> Floats:
    """Joints [N, 21, 3] in mm relative to the wrist."""
    sizes = [(len(hand.picture), len(hand.picture)) for hand in seen]
    squares = [model.square(hand.keypoints_px, size) for hand, size in zip(seen, sizes, strict=True)]
    predictions = model.predict([hand.picture for hand in seen], np.stack(squares))
    return predictions.joints_3d_mm.astype(np.float64)


def _distances(errors: AlignedErrors, videos: Sequence[str]) -> dict[str, Distance]:
    distances = {}
    for name in ALIGNMENTS:
        sums = sum_by_person(getattr(errors, name), videos)
        distances[name] = Distance(sums.mean, bootstrap_interval([sums]))
    return distances
