"""Which embedding finds the best positives: errors in 3D of mined pairs, as a table in Markdown.

    python -m benchmarks.positives --out positives.json

Synthetic hands without pictures: every video shows another person. For each normalisation, in 2D and 2.5D, as
hands are held and up to a turn in the picture, an embedding is fitted and the nearest hand of another video
found, exactly; its error is measured by `index.pairs_3d`. Keypoints are exact, or as far off as those of a
detector: each coordinate by a share of the hand's box, z by more.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import format_table
from benchmarks.clock import say
from handsim import Hand, Pool, PoolWriter
from handsim.embedding import NORMALISATIONS, PoseEmbedding
from handsim.files import write_text_atomically
from handsim.geometry import CROP_ENLARGEMENT
from handsim.hand import make_hand_id
from handsim.synthetic import synthesise_poses
from index import ExactIndex
from index.pairs_3d import PairMeans, Report3D, measure_pairs_3d

DETECTORS: Final = {"exact": (0.0, 0.0), "3 % off, z 3 %": (0.03, 0.03), "3 % off, z 9 %": (0.03, 0.09)}
"""Name -> standard deviation of x and y, and of z, in sizes of the hand's box."""


def write_pool(path: Path, options: argparse.Namespace, noise: tuple[float, float]) -> Pool:
    """Hands without pictures, with their joints."""
    poses = synthesise_poses(options.videos, options.hands_per_video, options.seed)
    keypoints = _add_noise(poses.keypoints, noise, options.seed)
    box = np.array([0, 0, 1, 1], dtype=np.float32)
    with PoolWriter(path, part_hands=len(keypoints)) as writer:
        for row, (video, frame) in enumerate(zip(poses.video.tolist(), poses.frame.tolist(), strict=True)):
            hand_id = make_hand_id("synthetic", str(video), frame, 0)
            joints = poses.joints_mm[row]
            hand = Hand(
                hand_id, "synthetic", str(video), frame, "right", 1.0, box, keypoints[row], joints_mm=joints
            )
            writer.add(hand)
    return Pool.open(path)


def _add_noise(keypoints: NDArray[np.float32], noise: tuple[float, float], seed: int) -> NDArray[np.float32]:
    sigma = np.array([noise[0], noise[0], noise[1]]) / CROP_ENLARGEMENT
    moved = keypoints + sigma * np.random.default_rng(seed).standard_normal(keypoints.shape)
    moved[:, 0, 2] = 0  # z is relative to the wrist, whatever the detector
    return moved.astype(np.float32)


def measure(pool: Pool, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The report of every embedding, with its settings."""
    reports = []
    for normalisation, depth, up_to_turn in product(NORMALISATIONS, (False, True), (False, True)):
        embedding = PoseEmbedding.fit(
            pool, options.components, normalisation, depth=depth, up_to_turn=up_to_turn
        )
        report = measure_pairs_3d(ExactIndex(pool, embedding), pool, sample=options.sample).report
        settings = {"normalisation": normalisation, "depth": depth, "up_to_turn": up_to_turn}
        say(f"{settings}: {report.mined.aligned_mm:.1f} mm")
        reports.append(settings | {"report": report})
    return reports


def tabulate(reports: list[dict[str, Any]]) -> str:
    """One line for each embedding, then random pairs and the oracle."""
    first: Report3D = reports[0]["report"]
    rows = [
        [
            "2.5D" if each["depth"] else "2D",
            "up to turn" if each["up_to_turn"] else "as held",
            each["normalisation"],
            *_cells(each["report"].mined),
            f"{each['report'].negatives_nearer:.2%}",
        ]
        for each in reports
    ]
    rows += [
        ["random", "", "", *_cells(first.random), ""],
        ["oracle", "as held", "", *_cells(first.oracle), ""],
    ]
    header = ["pairs", "", "normalisation", ">mm", ">xy", ">depth", ">PA", ">negatives nearer"]
    return format_table(header, rows)


def _cells(means: PairMeans) -> list[str]:
    return [f"{each:.1f}" for each in (means.aligned_mm, means.xy_mm, means.depth_mm, means.procrustes_mm)]


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--hands-per-video", type=int, default=12)
    parser.add_argument("--sample", type=int, default=1500, help="hands that are asked for")
    parser.add_argument("--components", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write all numbers."""
    options = parse()
    numbers: dict[str, Any] = {}
    for name, noise in DETECTORS.items():
        with tempfile.TemporaryDirectory() as folder:
            reports = measure(write_pool(Path(folder) / "pool", options, noise), options)
        print(f"\nkeypoints {name}\n{tabulate(reports)}\n", flush=True)
        numbers[name] = [each | {"report": asdict(each["report"])} for each in reports]
        write_text_atomically(options.out, json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
