"""Filming many videos of a synthetic world: a thread a core, each rendering a video alone.

Pictures for labelled sets: hands as the camera took them, each with its whole truth.

Unlike in `world` nothing is mirrored: a left hand is in its picture, and in the camera frame, as a left hand.

Poses without pictures: as many hands as an index should be tried with, in seconds and without torch.

Keypoints as a detector gives them: near the truth, and less near where it cannot see.

A pool of synthetic hands: what the demo, the tests and the benchmarks run on.
"""

import hashlib
import io
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, box_around, mirror_points
from handsim.hand import Hand, Side, make_hand_id
from handsim.pool import ItemRecord, PoolWriter
from handsim.processes import available_cores
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import crop_intrinsics, project, squares_around, unit_keypoints
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.video import (
    DETECTOR,
    FRAME_STEP,
    GRAIN,
    Samples,
    Sight,
    Video,
    sample_surroundings,
    sample_video,
    see,
    stream,
    synthesise_video,
)

Filmed = TypeVar("Filmed")


def synthesise(
    config: SyntheticConfig, *, batch_size: int = 64, videos: Iterable[int] | None = None
) -> Iterator[Samples]:
    """Film a world, or some of its ``videos`` (by number), in batches of ``batch_size`` or, at last, fewer.

    The same config gives the same bytes, whatever the batch size and whichever other videos are filmed.
    """
    if batch_size < 1:
        raise HandsimError(f"batch_size is {batch_size}; it must be at least 1")
    waiting: list[Samples] = []
    for filmed in film(config, range(config.videos) if videos is None else videos):
        waiting.append(filmed)
        if sum(map(len, waiting)) >= batch_size:
            joined = _join(waiting)
            whole = len(joined) // batch_size * batch_size
            for first in range(0, whole, batch_size):
                yield joined[first : first + batch_size]
            waiting = [joined[whole:]]
    if sum(map(len, waiting)):
        yield _join(waiting)


def film(config: SyntheticConfig, videos: Iterable[int]) -> Iterator[Samples]:
    """The ``videos`` of a world (by number), each whole, in their order."""
    return film_each(partial(synthesise_video, config), videos)


def film_each(film_video: Callable[[int], Filmed], videos: Iterable[int]) -> Iterator[Filmed]:
    """What ``film_video`` makes of each of ``videos`` (by number), in their order.

    A video a core, rather than every core on each step of one video: torch's threads wait for each other
    after every step, which costs a quarter on an idle machine and most of the speed on a busy one.
    """
    import torch

    # The number a thread sets is its own, but also what threads after it begin with: put back at the end.
    torch_threads = torch.get_num_threads()
    cores = available_cores()
    left = iter(videos)
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        filming: deque[Future[Filmed]] = deque()
        try:
            while True:
                for index in islice(left, cores + 1 - len(filming)):
                    filming.append(threads.submit(film_video, index))
                if not filming:
                    return
                yield filming.popleft().result()
        finally:
            for future in filming:
                future.cancel()
            torch.set_num_threads(torch_threads)


def _join(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    return Samples(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Samples)
        }
    )


Floats = NDArray[np.float64]

PIXELS_AT_ONCE: Final = 4 * 640 * 640
"""Pixels of a video that are rendered together: bounds a core's memory to some 500 MB."""


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """One hand in one picture, never mirrored, and its truth."""

    image: NDArray[np.uint8]
    """[H, W, 3] RGB."""
    keypoints_2d_px: NDArray[np.float32]
    """[21, 2] in the picture's pixels: ``joints_3d_mm`` projected by ``intrinsics``; may lie outside."""
    joints_3d_mm: NDArray[np.float32]
    """[21, 3] in the camera frame: x right, y down, z into the picture."""
    intrinsics: Floats
    """[3, 3] K of this picture, in its pixels."""
    visible: NDArray[np.bool_]
    """[21] the joint lies in the picture, and no thing or other part of the hand before it."""
    box_px: NDArray[np.float32]
    """[4] tight box of the joints; may reach outside the picture."""
    side: Side
    """Which hand it is."""
    person: int
    """Number of the person in the world."""
    video: int
    """Number of the video in the world."""
    frame: int
    """Frame in the video."""


def synthesise_labelled(
    config: SyntheticConfig, *, crop_enlargement: float | None = None, videos: Iterable[int] | None = None
) -> Iterator[LabelledPicture]:
    """Film a world, or some of its ``videos`` (by number), in the order of videos and frames.

    Pictures are the camera's whole ones, of ``config.view.picture_px``; or, with ``crop_enlargement``, square
    crops of ``config.size_px`` around the joints' box, so many times as long as its longer side. Hands, poses
    and views are those of `synthesise`. The same arguments give the same bytes.
    """
    if crop_enlargement is not None and crop_enlargement < 1:
        raise HandsimError(f"crop_enlargement is {crop_enlargement}; below 1 it would cut the hand off")
    numbers = range(config.videos) if videos is None else videos
    for pictures in film_each(partial(_film_video, config, crop_enlargement), numbers):
        yield from pictures


def _film_video(config: SyntheticConfig, crop_enlargement: float | None, index: int) -> list[LabelledPicture]:
    # Only pixels need torch.
    import torch

    from handsim.synthetic.ray_march import TILE
    from handsim.synthetic.render import joints_in_sight, render

    video = sample_video(config, index)
    scene = sample_surroundings(config, video)
    sight = see([video])
    (width, height), intrinsics = _frame(config, video, sight, crop_enlargement)
    # The renderer makes squares of whole tiles; what hangs over on the right and below is cut off.
    square_px = -(-max(width, height) // TILE) * TILE
    step = max(1, PIXELS_AT_ONCE // square_px**2)
    taken: list[LabelledPicture] = []
    for first in range(0, config.hands_per_video, step):
        some = slice(first, min(first + step, config.hands_per_video))
        with torch.no_grad():
            pictures = render(
                video,
                scene,
                sight.posture[some],
                intrinsics[some],
                some,
                square_px,
                (config.seed, GRAIN, index),
            )
        joints = sight.joints_mm[some]
        in_sight = joints_in_sight(pictures, joints, intrinsics[some], video.person.shape)
        images = pictures.images[:, :height, :width]
        taken += [
            _as_seen(video, first + row, images[row], joints[row], intrinsics[first + row], in_sight[row])
            for row in range(len(joints))
        ]
    return taken


def _frame(
    config: SyntheticConfig, video: Video, sight: Sight, crop_enlargement: float | None
) -> tuple[tuple[int, int], Floats]:
    """Width and height of a video's pictures, and the K [frames, 3, 3] of each, as for a right hand."""
    intrinsics = np.repeat(video.view.intrinsics[None], len(sight.joints_mm), axis=0)
    if crop_enlargement is None:
        return config.view.picture_px, intrinsics
    squares = squares_around(project(sight.joints_mm, intrinsics), crop_enlargement)
    return (config.size_px, config.size_px), crop_intrinsics(intrinsics, squares, config.size_px)


def _as_seen(
    video: Video,
    row: int,
    image: NDArray[np.uint8],
    joints_mm: Floats,
    intrinsics: Floats,
    in_sight: NDArray[np.bool_],
) -> LabelledPicture:
    """A frame rendered as for a right hand, as the camera saw it: a left hand is mirrored back."""
    height, width = image.shape[:2]
    points_px, k = project(joints_mm, intrinsics), intrinsics.copy()
    inside = ((points_px >= 0) & (points_px < [width, height])).all(axis=1)
    if video.side == "left":
        image, points_px = image[:, ::-1], mirror_points(points_px, width)
        joints_mm = joints_mm * [-1, 1, 1]
        k[0, 2] = width - k[0, 2]
    return LabelledPicture(
        image=np.ascontiguousarray(image),
        keypoints_2d_px=points_px.astype(np.float32),
        joints_3d_mm=joints_mm.astype(np.float32),
        intrinsics=k,
        visible=in_sight & inside,
        box_px=box_around(points_px).astype(np.float32),
        side=video.side,
        person=video.person_index,
        video=video.index,
        frame=row * FRAME_STEP,
    )


CHUNK_HANDS = 16384


class SyntheticPoses(NamedTuple):
    """N poses, video after video."""

    keypoints: NDArray[np.float32]
    """[N, 21, 3] as `Hand.keypoints`: the unit square of the crop, as seen for a right hand."""
    video: NDArray[np.int32]
    """[N] number of the video."""
    frame: NDArray[np.int64]
    """[N] frame in the video: one hand a second at 30 fps."""


def synthesise_poses(
    videos: int, hands_per_video: int, seed: int, config: SyntheticConfig | None = None
) -> SyntheticPoses:
    """The poses of a world: those that `synthesise` renders for the same seed.

    ``config`` tells what the world is like; its numbers of videos and hands and its seed are replaced.
    The N = videos x hands_per_video hands of one video follow each other at one a second, so neighbours
    are near-identical. Works in chunks: beyond the result, memory does not grow with N.
    """
    config = replace(config or SyntheticConfig(), videos=videos, hands_per_video=hands_per_video, seed=seed)
    keypoints = np.empty((videos * hands_per_video, JOINT_COUNT, 3), dtype=np.float32)
    step = max(1, CHUNK_HANDS // hands_per_video)
    for first in range(0, videos, step):
        some = [sample_video(config, index) for index in range(first, min(first + step, videos))]
        sight = see(some)
        start = first * hands_per_video
        keypoints[start : start + len(sight.joints_mm)] = unit_keypoints(
            sight.joints_mm, sight.unit_intrinsics
        )
    return SyntheticPoses(
        keypoints,
        np.repeat(np.arange(videos, dtype=np.int32), hands_per_video),
        np.tile(np.arange(hands_per_video, dtype=np.int64) * FRAME_STEP, videos),
    )


HIDDEN_FACTOR: Final = 3.0
"""How much further off a detector is at joints that something hides: it guesses them."""
MOST_NOISE: Final = 0.5


def check_keypoint_noise(noise: float) -> None:
    """Raises HandsimError for what is no share of a hand's size."""
    if not (math.isfinite(noise) and 0 <= noise <= MOST_NOISE):
        raise HandsimError(
            f"keypoint_noise is {noise}; it is a share of the hand's box, from 0 (exact) to {MOST_NOISE}"
        )


def as_detected(
    rng: np.random.Generator, keypoints: NDArray[np.float32], visible: NDArray[np.bool_], noise: float
) -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] in the unit square of crops (`Hand.keypoints`), each moved at random.

    ``noise`` is the standard deviation of each coordinate, as a share of the longer side of the hand's box;
    where a joint is not ``visible`` [N, 21] it is `HIDDEN_FACTOR` times that.
    """
    sigma = noise / CROP_ENLARGEMENT * np.where(visible, 1.0, HIDDEN_FACTOR)
    moved = keypoints + sigma[..., None] * rng.standard_normal(keypoints.shape)
    return moved.astype(np.float32)


SOURCE = "synthetic"
JPEG_QUALITY = 92

Progress = Callable[[int, int], None]
"""Called with the hands done and all there are to do."""


def synthesise_pool(
    pool_dir: str | Path,
    config: SyntheticConfig,
    *,
    keypoint_noise: float = 0.0,
    progress: Progress | None = None,
) -> None:
    """Film a world into the pool at ``pool_dir``, made when it is not there.

    Keypoints are exact, or with ``keypoint_noise`` as far off as a detector's (`detection.as_detected`); the
    crops are the same. A world whose keypoints are noisy counts as another one.

    A video that the pool has already is not filmed again: running twice adds nothing, a killed run goes on
    where it stopped, and more ``videos`` of the same world are added to those that are there. Raises
    HandsimError for a noise out of its bounds, and when the pool has crops of another size or is being
    written by another process.
    """
    check_keypoint_noise(keypoint_noise)
    total = config.videos * config.hands_per_video
    world = _fingerprint(config, keypoint_noise)
    with PoolWriter(pool_dir, crop_size_px=config.size_px) as writer:
        keys = {make_hand_id(SOURCE, _video_name(world, i), -1, 0, world): i for i in range(config.videos)}
        missing = {key: index for key, index in keys.items() if key not in writer.known_items}
        done = total - len(missing) * config.hands_per_video
        for key, samples in zip(missing, film(config, missing.values()), strict=True):
            hands = _hands(samples, world, _keypoints(samples, config, keypoint_noise))
            writer.add_item(ItemRecord(key, pictures=len(hands), hands=len(hands)), hands)
            done += len(hands)
            if progress is not None:
                progress(done, total)


def _keypoints(samples: Samples, config: SyntheticConfig, noise: float) -> NDArray[np.float32]:
    """Those of one video [N, 21, 3], as the pool gets them."""
    if noise == 0:
        return samples.keypoints
    rng = stream(config, DETECTOR, int(samples.video[0]))
    return as_detected(rng, samples.keypoints, samples.visible, noise)


def _hands(samples: Samples, world: str, keypoints: NDArray[np.float32]) -> list[tuple[Hand, bytes]]:
    hands = []
    for row in range(len(samples)):
        video, frame = _video_name(world, int(samples.video[row])), int(samples.frame[row])
        side: Side = "left" if samples.side[row] == "left" else "right"
        hand = Hand(
            hand_id=make_hand_id(SOURCE, video, frame, 0, world),
            source=SOURCE,
            video=video,
            frame=frame,
            side=side,
            score=1.0,
            box_px=samples.box_px[row],
            keypoints=keypoints[row],
            label=samples.label[row],
            file=f"{SOURCE}/{video}/{frame:06d}",
        )
        jpeg = io.BytesIO()
        Image.fromarray(samples.images[row]).save(jpeg, format="JPEG", quality=JPEG_QUALITY)
        hands.append((hand, jpeg.getvalue()))
    return hands


def _video_name(world: str, index: int) -> str:
    """Videos of two worlds in one pool are different videos."""
    return f"{world[:4]}-{index:06d}"


def _fingerprint(config: SyntheticConfig, keypoint_noise: float) -> str:
    """Digest of everything that decides what a video shows; how many videos there are does not."""
    told = repr(replace(config, videos=0)) + (f" keypoint_noise={keypoint_noise}" if keypoint_noise else "")
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
