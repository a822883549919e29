"""A pool of synthetic hands: what the demo, the tests and the benchmarks run on."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.hand import Hand, Side, make_hand_id
from handsim.pool import ItemRecord, PoolWriter
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.detection import as_detected, check_keypoint_noise
from handsim.synthetic.filming import film
from handsim.synthetic.video import DETECTOR, stream
from handsim.synthetic.world import Samples

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
