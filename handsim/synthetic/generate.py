"""What a synthetic world is turned into: poses, crops, whole labelled pictures, or a pool.

Each is made of videos, which do not depend on each other: any of them can be made alone, and are then the
same to the byte. Videos are rendered on threads, one on each core.
"""

import hashlib
import io
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.geometry import (
    CROP_ENLARGEMENT,
    MAX_ENLARGEMENT,
    POOL_ENLARGEMENT,
    box_around,
    mirror_points,
    rescale_keypoints,
)
from handsim.hand import Hand, Side, make_hand_id
from handsim.pool import ItemRecord, PoolWriter
from handsim.processes import available_cores
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import crop_intrinsics, project, squares_around, unit_keypoints
from handsim.synthetic.config import Floats, SyntheticConfig
from handsim.synthetic.video import (
    DETECTOR,
    FRAME_STEP,
    Samples,
    Video,
    compute_geometry,
    make_rng,
    render_frames,
    sample_video,
    synthesise_video,
)

_Result = TypeVar("_Result")

_SOURCE: Final = "synthetic"
_JPEG_QUALITY: Final = 92
_CHUNK_HANDS: Final = 16384
"""Hands whose poses are computed together: bounds memory."""
HIDDEN_FACTOR: Final = 3.0
"""How much larger a detector's error is at hidden joints: it guesses them."""
_MAX_NOISE: Final = 0.5

Progress = Callable[[int, int], None]
"""Called with the number of hands done and of all hands."""


def synthesise(
    config: SyntheticConfig, *, videos: Iterable[int] | None = None, enlargement: float = CROP_ENLARGEMENT
) -> Iterator[Samples]:
    """Render a world, or some of its ``videos`` (by number): the hands of one video after the other.

    Crops are ``enlargement`` times as long as the box of the joints. The same config gives the same bytes,
    whichever other videos are rendered.
    """
    numbers = range(config.videos) if videos is None else videos
    yield from _map_videos(partial(synthesise_video, config, enlargement), numbers)


def _map_videos(render: Callable[[int], _Result], videos: Iterable[int]) -> Iterator[_Result]:
    """``render`` of each of ``videos`` (by number), in their order.

    One video on each core, rather than every core on each step of one video: torch's threads wait for each
    other after every step, which costs a quarter on an idle machine and most of the speed on a busy one.
    """
    import torch

    # A thread's number is its own, but threads that start later begin with it: put back at the end.
    torch_threads = torch.get_num_threads()
    cores = available_cores()
    numbers = iter(videos)
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as threads:
        futures: deque[Future[_Result]] = deque()
        try:
            while True:
                for index in islice(numbers, cores + 1 - len(futures)):
                    futures.append(threads.submit(render, index))
                if not futures:
                    return
                yield futures.popleft().result()
        finally:
            for future in futures:
                future.cancel()
            torch.set_num_threads(torch_threads)


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
    """[21] the joint lies in the picture, and no object or other part of the hand before it."""
    box_px: NDArray[np.float32]
    """[4] tight box of the joints; may reach outside the picture."""
    side: Side
    person: int
    video: int
    frame: int


def synthesise_labelled(
    config: SyntheticConfig, *, crop_enlargement: float | None = None, videos: Iterable[int] | None = None
) -> Iterator[LabelledPicture]:
    """Render a world, or some of its ``videos`` (by number), in the order of videos and frames.

    Pictures are the camera's whole ones, of ``config.view.picture_px``; or, with ``crop_enlargement``, square
    crops of ``config.size_px`` around the joints' box, that many times as long as its longer side. Hands,
    poses and views are those of `synthesise`; but nothing is mirrored. The same arguments give the same
    bytes.
    """
    if crop_enlargement is not None and crop_enlargement < 1:
        raise HandsimError(f"crop_enlargement is {crop_enlargement}; below 1 it would cut the hand off")
    numbers = range(config.videos) if videos is None else videos
    for pictures in _map_videos(partial(_render_labelled, config, crop_enlargement), numbers):
        yield from pictures


def _render_labelled(
    config: SyntheticConfig, crop_enlargement: float | None, index: int
) -> list[LabelledPicture]:
    video = sample_video(config, index)
    geometry = compute_geometry([video])
    size_px, intrinsics = config.view.picture_px, np.repeat([video.view.intrinsics], len(video.angles_deg), 0)
    if crop_enlargement is not None:
        size_px = config.size_px, config.size_px
        squares = squares_around(project(geometry.joints_mm, intrinsics), crop_enlargement)
        intrinsics = crop_intrinsics(intrinsics, squares, config.size_px)
    pictures, visible = zip(*render_frames(config, video, geometry, intrinsics, size_px), strict=True)
    frames = zip(chain(*pictures), geometry.joints_mm, intrinsics, chain(*visible), strict=True)
    return [_label_picture(video, number, *frame) for number, frame in enumerate(frames)]


def _label_picture(
    video: Video,
    number: int,
    image: NDArray[np.uint8],
    joints_mm: Floats,
    intrinsics: Floats,
    unhidden: NDArray[np.bool_],
) -> LabelledPicture:
    """A picture of a right hand with its truth, as the camera saw it: a left hand is mirrored back."""
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
        visible=unhidden & inside,
        box_px=box_around(points_px).astype(np.float32),
        side=video.side,
        person=video.person_index,
        video=video.index,
        frame=number * FRAME_STEP,
    )


class SyntheticPoses(NamedTuple):
    """N poses, video after video."""

    keypoints: NDArray[np.float32]
    """[N, 21, 3] as `Hand.keypoints`: the unit square of the crop, of a right hand."""
    video: NDArray[np.int32]
    """[N] number of the video."""
    frame: NDArray[np.int64]
    """[N] frame in the video: one hand a second at 30 fps."""
    joints_mm: NDArray[np.float32]
    """[N, 21, 3] as `Hand.joints_mm`."""


def synthesise_poses(
    videos: int, hands_per_video: int, seed: int, config: SyntheticConfig | None = None
) -> SyntheticPoses:
    """The poses of a world: those that `synthesise` renders for the same seed.

    ``config`` says what the world is like; its numbers of videos and hands and its seed are replaced.
    The N = videos x hands_per_video hands of one video follow each other at one a second, so neighbours
    are near-identical. Works in chunks: beyond the result, memory does not grow with N.
    """
    config = replace(config or SyntheticConfig(), videos=videos, hands_per_video=hands_per_video, seed=seed)
    keypoints, joints_mm = np.empty((2, videos * hands_per_video, JOINT_COUNT, 3), dtype=np.float32)
    step = max(1, _CHUNK_HANDS // hands_per_video)
    for first in range(0, videos, step):
        some = [sample_video(config, index) for index in range(first, min(first + step, videos))]
        geometry = compute_geometry(some)
        rows = slice(first * hands_per_video, first * hands_per_video + len(geometry.joints_mm))
        keypoints[rows] = unit_keypoints(geometry.joints_mm, geometry.unit_intrinsics)
        joints_mm[rows] = geometry.joints_mm
    return SyntheticPoses(
        keypoints,
        np.repeat(np.arange(videos, dtype=np.int32), hands_per_video),
        np.tile(np.arange(hands_per_video, dtype=np.int64) * FRAME_STEP, videos),
        joints_mm,
    )


def check_keypoint_noise(noise: float) -> None:
    """Raise HandsimError unless ``noise`` is a share of a hand's size, 0 to 0.5."""
    if not (math.isfinite(noise) and 0 <= noise <= _MAX_NOISE):
        raise HandsimError(
            f"keypoint_noise is {noise}; it is a share of the hand's box, from 0 (exact) to {_MAX_NOISE}"
        )


def check_crop_enlargement(enlargement: float) -> None:
    """Raise HandsimError unless a picture is as wide as SiMHand's crop, and at most 10 times the box."""
    if not CROP_ENLARGEMENT <= enlargement <= MAX_ENLARGEMENT:
        raise HandsimError(
            f"crop_enlargement is {enlargement:g}; pictures are {CROP_ENLARGEMENT:g} to {MAX_ENLARGEMENT:g} "
            f"times as long as the hand's box"
        )


def add_keypoint_noise(
    rng: np.random.Generator, keypoints: NDArray[np.float32], visible: NDArray[np.bool_], noise: float
) -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] in the unit square of crops, moved at random as a detector errs.

    ``noise`` is the standard deviation of each coordinate, as a share of the longer side of the hand's box;
    where a joint is not ``visible`` [N, 21] it is `HIDDEN_FACTOR` times that.
    """
    sigma = noise / CROP_ENLARGEMENT * np.where(visible, 1.0, HIDDEN_FACTOR)
    moved = keypoints + sigma[..., None] * rng.standard_normal(keypoints.shape)
    return moved.astype(np.float32)


def synthesise_pool(
    pool_dir: str | Path,
    config: SyntheticConfig,
    *,
    keypoint_noise: float = 0.0,
    crop_enlargement: float = POOL_ENLARGEMENT,
    progress: Progress | None = None,
) -> None:
    """Render a world into the pool at ``pool_dir``, which is made when it is not there.

    ``crop_enlargement`` is that of a new pool (`handsim.geometry`); one that is there keeps its own.

    Keypoints are exact, or with ``keypoint_noise`` as far off as a detector's (`add_keypoint_noise`); the
    crops are the same. A world whose keypoints are noisy counts as another one.

    A video that the pool has already is not rendered again: running twice adds nothing, a killed run goes on
    where it stopped, and more ``videos`` of the same world are added to those that are there, in pictures
    that show as much as theirs. Raises HandsimError for a noise or an enlargement out of its bounds, and when
    the pool has crops of another size or is being written by another process.
    """
    check_keypoint_noise(keypoint_noise)
    check_crop_enlargement(crop_enlargement)
    total = config.videos * config.hands_per_video
    world = _fingerprint(config, keypoint_noise)
    with PoolWriter(pool_dir, crop_size_px=config.size_px, crop_enlargement=crop_enlargement) as writer:
        keys = {make_hand_id(_SOURCE, _video_name(world, i), -1, 0, world): i for i in range(config.videos)}
        missing = {key: index for key, index in keys.items() if key not in writer.known_items}
        done = total - len(missing) * config.hands_per_video
        rendered = synthesise(config, videos=missing.values(), enlargement=writer.crop_enlargement)
        for key, samples in zip(missing, rendered, strict=True):
            hands = _hands(samples, world, config, keypoint_noise, writer.crop_enlargement)
            writer.add_item(ItemRecord(key, pictures=len(hands), hands=len(hands)), hands)
            done += len(hands)
            if progress is not None:
                progress(done, total)


def _hands(
    samples: Samples, world: str, config: SyntheticConfig, keypoint_noise: float, enlargement: float
) -> list[tuple[Hand, bytes]]:
    """The hands of one video, as they are written to the pool."""
    keypoints = rescale_keypoints(samples.keypoints, enlargement, CROP_ENLARGEMENT)
    if keypoint_noise:
        rng = make_rng(config, DETECTOR, int(samples.video[0]))
        keypoints = add_keypoint_noise(rng, keypoints, samples.visible, keypoint_noise)
    hands = []
    for row in range(len(samples)):
        video, frame = _video_name(world, int(samples.video[row])), int(samples.frame[row])
        side: Side = "left" if samples.side[row] == "left" else "right"
        hand = Hand(
            hand_id=make_hand_id(_SOURCE, video, frame, 0, world),
            source=_SOURCE,
            video=video,
            frame=frame,
            side=side,
            score=1.0,
            box_px=samples.box_px[row],
            keypoints=keypoints[row],
            label=samples.label[row],
            file=f"{_SOURCE}/{video}/{frame:06d}",
            joints_mm=samples.joints_mm[row],
            visible=samples.visible[row],
        )
        jpeg = io.BytesIO()
        Image.fromarray(samples.images[row]).save(jpeg, format="JPEG", quality=_JPEG_QUALITY)
        hands.append((hand, jpeg.getvalue()))
    return hands


def _video_name(world: str, index: int) -> str:
    """With a part of the world's digest: videos of two worlds in one pool are different videos."""
    return f"{world[:4]}-{index:06d}"


def _fingerprint(config: SyntheticConfig, keypoint_noise: float) -> str:
    """Digest of everything that decides what a video shows; how many videos there are does not."""
    content = repr(replace(config, videos=0))
    if keypoint_noise:
        content += f" keypoint_noise={keypoint_noise}"
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
