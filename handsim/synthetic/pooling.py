"""A pool of synthetic hands: what the demo, the tests and the benchmarks run on."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image

from handsim.hand import Hand, Side, make_hand_id
from handsim.pool import ItemRecord, PoolWriter
from handsim.synthetic.config import SyntheticConfig
from handsim.synthetic.filming import film
from handsim.synthetic.world import Samples

SOURCE = "synthetic"
JPEG_QUALITY = 92

Progress = Callable[[int, int], None]
"""Called with the hands done and all there are to do."""


def synthesise_pool(
    pool_dir: str | Path,
    config: SyntheticConfig,
    *,
    progress: Progress | None = None,
) -> None:
    """Film a world into the pool at ``pool_dir``, made when it is not there.

    A video that the pool has already is not filmed again: running twice adds nothing, a killed run goes on
    where it stopped, and more ``videos`` of the same world are added to those that are there. Raises
    HandsimError when the pool has crops of another size or is being written by another process.
    """
    total = config.videos * config.hands_per_video
    world = _fingerprint(config)
    with PoolWriter(pool_dir, crop_size_px=config.size_px) as writer:
        keys = {make_hand_id(SOURCE, _video_name(world, i), -1, 0, world): i for i in range(config.videos)}
        missing = {key: index for key, index in keys.items() if key not in writer.known_items}
        done = total - len(missing) * config.hands_per_video
        for key, samples in zip(missing, film(config, missing.values()), strict=True):
            hands = _hands(samples, world)
            writer.add_item(ItemRecord(key, pictures=len(hands), hands=len(hands)), hands)
            done += len(hands)
            if progress is not None:
                progress(done, total)


def _hands(samples: Samples, world: str) -> list[tuple[Hand, bytes]]:
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
            keypoints=samples.keypoints[row],
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


def _fingerprint(config: SyntheticConfig) -> str:
    """Digest of everything that decides what a video shows; how many videos there are does not."""
    return hashlib.blake2b(repr(replace(config, videos=0)).encode(), digest_size=16).hexdigest()
