"""``handsim demo``: the whole of it on synthetic hands.

The demo: everything handsim does so far, on hands that were never there.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from apps.browser.map.projection import PlaneProjection
from apps.browser.serve import BrowserSettings
from apps.cli.browse import HOST, PORT, browse
from apps.cli.console import progress_bar
from apps.cli.evaluate import write_retrieval_evaluation
from apps.cli.figures import plot_explained_variance, plot_pose_distances
from apps.cli.query import Query, draw_montage
from apps.report import Picture, Section, pose_map, write_report
from handsim.embedding import PoseEmbedding
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, ViewConfig, synthesise_pool
from index import IndexVersion, MinedPairs, SearchOptions, mine, open_catalog
from index.evaluation import RetrievalEvaluation, evaluate_retrieval
from index.mining import write_pairs

MONTAGE_QUERIES: Final = 6
MONTAGE_NEIGHBORS: Final = 6


def demo_world(videos: int, hands_per_video: int, seed: int) -> SyntheticConfig:
    """Hands seen from the palm or the back, not too much turned: a world that a few videos can fill."""
    view = ViewConfig(palm_share=0.5, back_share=0.5, turn_deg=16.0, tilt_deg=12.0, roll_deg=18.0)
    return SyntheticConfig(videos=videos, hands_per_video=hands_per_video, seed=seed, view=view)


def run_demo(home: Home, config: SyntheticConfig) -> Path:
    """Synthesise, fit, build, mine, evaluate, draw; returns the path of the report."""
    started = time.monotonic()
    with _step(1, f"synthesising {config.videos * config.hands_per_video:,} hands"):
        with progress_bar("   ") as progress:
            synthesise_pool(home.pool, config, progress=progress)
        pool = Pool.open(home.pool)
    with _step(2, "fitting the pose embedding"):
        embedding = PoseEmbedding.fit(pool)
        embedding.save(home.embedding)
    with _step(3, "building the index"):
        catalog = open_catalog(home.index)
        catalog.build(pool, embedding)
    with catalog.current() as version:
        with _step(4, "mining a positive for every hand"):
            pairs = MinedPairs.concatenate(mine(version, pool.hand_ids))
            write_pairs(home.path / "pairs.parquet", [pairs], version.info)
        with _step(5, "measuring"):
            evaluation = evaluate_retrieval(version, pool)
            write_retrieval_evaluation(home.run("retrieval"), version, evaluation)
        with _step(6, "drawing the report (the first map of poses takes a moment)"):
            report = home.path / "report.html"
            _write(report, pool, version, evaluation, home, time.monotonic() - started)
    return report


def _write(
    path: Path,
    pool: Pool,
    version: IndexVersion,
    evaluation: RetrievalEvaluation,
    home: Home,
    seconds: float,
) -> None:
    measured = evaluation.report
    numbers = [
        (f"{len(pool):,}", f"hands in {len(pool.videos.names):,} videos"),
        (f"{measured.recall_at_1:.1%}", "recall@1 of the index against exact search"),
        (
            f"{measured.precision_at_1 or 0:.1%}",
            f"of nearest hands show the same shape ({_same_label_by_chance(pool):.0%} by chance)",
        ),
        (f"{measured.mined_pose_distance or 0:.3f}", "joint distance of mined pairs, in crop widths"),
        (f"{measured.random_pose_distance or 0:.3f}", "joint distance of random pairs"),
        (f"{measured.cross_video_share_unfiltered:.0%}", "nearest hands in another video, without the rule"),
        (f"{measured.explained_variance:.1%}", f"of the pose in {version.embedding.dimension} numbers"),
        (f"{seconds:.0f} s", "to synthesise, index, mine and measure"),
    ]
    places = PlaneProjection(version.embedding.embed(keypoints=pool.keypoints)).places
    sections = [
        Section(
            "Hands posed alike",
            "A query on the left of each row, then its nearest hands in other videos, with their distance "
            "in the pose embedding. These are the positives that pre-training learns from.",
            [Picture.of_image(_montage(pool, version), "queries and their nearest hands with skeletons")],
        ),
        Section(
            "The pose space",
            f"UMAP of the {version.embedding.dimension} numbers of every hand; the names are those of the "
            "shapes the synthetic hands move between, grey hands are on their way from one to the next.",
            [Picture.of_figure(pose_map(places, pool.labels.values()), "map of the poses")],
        ),
        Section(
            "How good are the pairs?",
            "Mined pairs are hands of different people, in different videos, whose joints almost coincide.",
            [
                Picture.of_figure(
                    plot_pose_distances(evaluation.mined_distances, evaluation.random_distances),
                    "histograms of joint distances of mined and random pairs",
                ),
                Picture.of_figure(
                    plot_explained_variance(version.embedding), "explained variance by component"
                ),
            ],
        ),
        Section("What to try next", "In this terminal:", commands=next_steps(home, pool)),
    ]
    subtitle = "Synthetic hands, found by pose: pool, embedding, index, mining, evaluation."
    write_report(path, "handsim demo", subtitle, numbers, sections)


def _same_label_by_chance(pool: Pool) -> float:
    """How often two random labelled hands have the same label."""
    shares = np.bincount(pool.labels.codes[pool.labels.codes >= 0]) / max(1, (pool.labels.codes >= 0).sum())
    return float(np.square(shares).sum())


def _montage(pool: Pool, version: IndexVersion) -> Image.Image:
    """Queries of as many shapes, each from a video of its own, spread over the pool."""
    shapes, rows = np.unique(pool.labels.codes[::-1], return_index=True)
    rows = np.sort(len(pool) - 1 - rows[shapes >= 0])
    _, first = np.unique(pool.videos.codes[rows], return_index=True)
    spread = np.linspace(0, len(first) - 1, min(MONTAGE_QUERIES, len(first))).round().astype(int)
    hand_ids = pool.hand_ids[rows[first[spread]]]
    spread_out = SearchOptions(one_per_video=True)
    answers = version.search_hands(hand_ids, MONTAGE_NEIGHBORS, other_video=True, options=spread_out)
    queries = [Query.from_hand(hand_id, version, pool) for hand_id in hand_ids.tolist()]
    return draw_montage(pool, queries, answers)


def next_steps(home: Home, pool: Pool) -> str:
    """What to try next, as commands."""
    flag = f"--home {home.path}"
    example = format_hand_id(int(pool.hand_ids[0]))
    return "\n".join(
        [
            browse_command(home),
            f"{_program()} query --hand {example} --other-video --montage answer.png {flag}",
            f"{_program()} mine --top-k 5 --out pairs.parquet {flag}",
            f"{_program()} evaluate retrieval --labels {flag}",
            "",
            f"{_program()} models fetch            # then with your own pictures and videos:",
            f"{_program()} ingest photos/ videos/",
            f"{_program()} index build",
            f"{_program()} query photo.jpg --montage answer.png",
        ]
    )


def browse_command(home: Home) -> str:
    """The command that shows a home in a web browser."""
    return f"{_program()} browse --home {home.path}"


def _program() -> str:
    """How `handsim` is called here: `make demo` runs it out of an environment that is not activated."""
    return "handsim" if shutil.which("handsim") else sys.argv[0]


@contextmanager
def _step(number: int, what: str) -> Iterator[None]:
    print(f"{number}/6 {what} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.1f} s", flush=True)


DEMO_HOME: Final = "handsim-demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    world = SyntheticConfig()
    parser.epilog = f"Works in ./{DEMO_HOME} unless --home says otherwise; run again, it reuses the hands."
    parser.add_argument("--videos", type=int, default=world.videos, metavar="N", help="videos (%(default)s)")
    parser.add_argument(
        "--hands-per-video",
        type=int,
        default=world.hands_per_video,
        metavar="N",
        help="hands in each (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=world.seed, help="which hands (%(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    home = Home.find(options.home or DEMO_HOME)
    config = demo_world(options.videos, options.hands_per_video, options.seed)
    report = run_demo(home, config)
    print(f"\nOpen {report.resolve()} in a browser. Then try:\n\n{next_steps(home, Pool.open(home.pool))}")
    print(f"\nTo look around and search in it: {browse_command(home)}")
    if sys.stdin.isatty() and input("Shall it open now? [y/N] ").strip().lower() in ("y", "yes"):
        browse(BrowserSettings(home.path.resolve()), HOST, PORT)
    return 0
