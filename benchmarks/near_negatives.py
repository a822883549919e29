"""What a bound on near negatives leaves out, in 3D: `python -m benchmarks.near_negatives --json near.json`.

Synthetic hands without pictures, whose keypoints are as far off as a detector's: each coordinate by a share
of the hand's box. An anchor's positive is the nearest hand of another video, found exactly. For batches of
pairs and several bounds (`training.losses.NearNegatives`, times the median mined distance) it counts
the negatives that are left out, and measures how far they are from the row's hand: the mean over joints, with
wrists and sizes (wrist to middle finger's root, 90 mm) made equal. Prints JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from handsim.embedding import PoseEmbedding
from handsim.files import write_text_atomically
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import unit_keypoints
from handsim.synthetic.generate import add_keypoint_noise
from handsim.synthetic.video import compute_geometry, sample_video
from training.losses import Hands, NearMask, NearNegatives

_PALM_MM: Final = 90.0
_CHUNK: Final = 500

Floats = NDArray[np.floating]


def film(options: argparse.Namespace) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Keypoints [N, 21, 3], aligned joints [N, 21, 3] in mm, and videos [N]."""
    config = SyntheticConfig(
        videos=options.videos, hands_per_video=options.hands_per_video, seed=options.seed
    )
    keypoints, joints = [], []
    for first in range(0, options.videos, _CHUNK):
        videos = range(first, min(first + _CHUNK, options.videos))
        geometry = compute_geometry([sample_video(config, video) for video in videos])
        keypoints.append(unit_keypoints(geometry.joints_mm, geometry.unit_intrinsics))
        relative = geometry.joints_mm - geometry.joints_mm[:, :1]
        size = np.linalg.norm(relative[:, 9], axis=1)[:, None, None]
        joints.append(relative * (_PALM_MM / size))
    exact = np.concatenate(keypoints).astype(np.float32)
    visible = np.ones(exact.shape[:2], dtype=np.bool_)
    noisy = add_keypoint_noise(np.random.default_rng(options.seed), exact, visible, options.noise)
    return noisy, np.concatenate(joints), np.arange(options.videos).repeat(options.hands_per_video)


def find_positives(vectors: Floats, videos: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] the row of the nearest hand of another video."""
    positives = []
    for first in range(0, len(vectors), _CHUNK):
        own = vectors[first : first + _CHUNK]
        distances = torch.cdist(torch.from_numpy(own), torch.from_numpy(vectors)).numpy()
        distances[videos[first : first + _CHUNK, None] == videos] = np.inf
        positives.append(distances.argmin(axis=1))
    return np.concatenate(positives)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The mined pairs, and what each bound leaves out."""
    keypoints, joints_mm, videos = film(options)
    vectors = PoseEmbedding.fit(keypoints).transform(keypoints)
    positives = find_positives(vectors, videos)
    found: dict[float, list[float]] = {within: [] for within in options.within}
    apart: dict[float, list[float]] = {within: [] for within in options.within}
    random = np.random.default_rng(options.seed)
    for _ in range(options.batches):
        anchors = random.choice(len(vectors), options.pairs, replace=False)
        rows = np.concatenate([anchors, positives[anchors]])
        numbers = torch.from_numpy(rows)
        hands = Hands(numbers, torch.from_numpy(videos[rows]), torch.from_numpy(vectors[rows]))
        for within in options.within:
            mask = NearMask(NearNegatives(within), hands, options.pairs)
            logits = torch.zeros(len(rows), len(rows))
            mask.discount(logits, 0)
            row, column = np.nonzero(np.isneginf(logits.numpy()))
            found[within].append(mask.found)
            apart[within] += _distances(joints_mm[rows[row]], joints_mm[rows[column]]).tolist()
    return {
        "settings": {name: value for name, value in vars(options).items() if name != "json"},
        "hands": len(vectors),
        "positives_mm": round(float(_distances(joints_mm, joints_mm[positives]).mean()), 2),
        "bounds": [
            {
                "within": within,
                "left_out_a_row": round(float(np.mean(found[within])), 3),
                "their_mm": round(float(np.mean(apart[within])), 2) if apart[within] else None,
            }
            for within in options.within
        ],
    }


def _distances(first: Floats, second: Floats) -> Floats:
    """[n] mean over joints of the distances between hands [n, 21, 3]."""
    distances: Floats = np.linalg.norm(first - second, axis=-1).mean(axis=-1)
    return distances


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--hands-per-video", type=int, default=6)
    parser.add_argument("--noise", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=64, help="in a batch")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--within", type=float, nargs="+", default=[1.0, 1.25, 1.5, 2.0, 3.0])
    parser.add_argument("--json", type=Path, help="also write it here")
    options = parser.parse_args()
    text = json.dumps(measure(options), indent=1)
    print(text)
    if options.json is not None:
        write_text_atomically(options.json, text + "\n")


if __name__ == "__main__":
    main()
