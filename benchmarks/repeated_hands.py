"""Homes with as many hands as a measurement of speed takes, quickly: true poses, and few pictures."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.cli.console import load_or_fit_embedding
from handsim.hand import Hand, make_hand_id
from handsim.home import Home
from handsim.pool import Pool, PoolWriter
from handsim.processes import available_cores
from handsim.synthetic import SyntheticConfig, synthesise, synthesise_poses
from index import Catalog, mine
from index.mining import write_pairs

_SOURCE = "repeated"
_RENDERED_VIDEOS = 40
_HANDS_PER_VIDEO = 8
_JPEG_QUALITY = 92


def make_pool(home: Home, hands: int, size_px: int, seed: int = 0) -> Pool:
    """A pool of at least so many hands, each with its own pose but the picture of one of a few hundred.

    Pictures are decoded, warped and trained on as any; that they show other poses is nothing to speed.
    """
    videos = -(-hands // _HANDS_PER_VIDEO)
    rendered = SyntheticConfig(
        videos=min(_RENDERED_VIDEOS, videos), hands_per_video=_HANDS_PER_VIDEO, seed=seed, size_px=size_px
    )
    jpegs = [_jpeg(image) for samples in synthesise(rendered) for image in samples.images]
    poses = synthesise_poses(videos, _HANDS_PER_VIDEO, seed)
    with PoolWriter(home.pool, crop_size_px=size_px) as writer:
        for number, keypoints in enumerate(poses.keypoints):
            video, frame = f"{poses.video[number]:06d}", int(poses.frame[number])
            hand = Hand(
                hand_id=make_hand_id(_SOURCE, video, frame, 0),
                source=_SOURCE,
                video=video,
                frame=frame,
                side="right",
                score=1.0,
                box_px=np.zeros(4, np.float32),
                keypoints=keypoints,
                file=f"{_SOURCE}/{video}/{frame:06d}",
            )
            writer.add(hand, jpegs[number % len(jpegs)])
    return Pool.open(home.pool)


def build_index(home: Home, pool: Pool, catalog: Catalog) -> None:
    """An index of its poses, if there is none."""
    if not catalog.versions():
        catalog.build(pool, load_or_fit_embedding(home, pool)[0])


def mine_table(pool: Pool, catalog: Catalog, path: Path) -> None:
    """The positives of all hands, as `handsim mine` writes them."""
    with catalog.current() as version:
        write_pairs(path, mine(version, pool.hand_ids, workers=available_cores()), version.info)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image).save(written, format="JPEG", quality=_JPEG_QUALITY)
    return written.getvalue()
