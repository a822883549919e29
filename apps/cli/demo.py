"""``handsim demo``: all of handsim on synthetic hands, ending in a report.

A child process lays the map of the poses out, beside the other steps: UMAP compiles itself for half a minute
before it begins.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import progress_bar
from apps.extras import require_library
from handsim.english import pluralize
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import PipeWorker

if TYPE_CHECKING:
    from PIL.Image import Image

    from apps.browser.map.pose_map import PoseMap
    from handsim.synthetic import SyntheticConfig
    from index import IndexVersion
    from index.evaluation import RetrievalEvaluation

DEMO_HOME: Final = "handsim-demo"
_STEPS: Final = 6
_MONTAGE_QUERIES: Final = 6
_MONTAGE_NEIGHBORS: Final = 6
_WARM_UP_HANDS: Final = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    from handsim.synthetic.config import SyntheticConfig

    world = SyntheticConfig()
    parser.epilog = f"Works in ./{DEMO_HOME} unless --home says otherwise; run again, it reuses the hands."
    parser.add_argument("--videos", type=int, default=world.videos, metavar="N", help="videos (%(default)s)")
    hands = world.hands_per_video
    parser.add_argument(
        "--hands-per-video", type=int, default=hands, metavar="N", help="in each (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=world.seed, help="which hands (%(default)s)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from apps.browser.serve import BrowserSettings
    from apps.cli.browse import HOST, PORT, browse

    for library in ("torch", "streamlit", "umap"):
        require_library(library)
    home = Home.find(options.home or DEMO_HOME)
    report = _run_demo(home, _make_world(options.videos, options.hands_per_video, options.seed))
    commands = _next_commands(home, Pool.open(home.pool))
    print(f"\nOpen {report.resolve()} in a browser. Then try:\n\n{commands}\n")
    if sys.stdin.isatty() and input("Shall the browser open now? [y/N] ").strip().lower() in ("y", "yes"):
        browse(BrowserSettings(home.path.resolve()), HOST, PORT)
    return 0


def _make_world(videos: int, hands_per_video: int, seed: int) -> "SyntheticConfig":
    """Hands seen from the palm or the back, not turned much: few videos are enough to fill this world."""
    from handsim.synthetic.config import SyntheticConfig, ViewConfig

    view = ViewConfig(palm_share=0.5, back_share=0.5, turn_deg=16.0, tilt_deg=12.0, roll_deg=18.0)
    return SyntheticConfig(videos=videos, hands_per_video=hands_per_video, seed=seed, view=view)


def _run_demo(home: Home, config: "SyntheticConfig") -> Path:
    """Synthesise, fit, build, mine, evaluate, draw; returns the path of the report."""
    from apps.cli.evaluate import write_retrieval_evaluation
    from handsim.embedding import PoseEmbedding
    from handsim.synthetic import synthesise_pool
    from index import MinedPairs, mine, open_catalog
    from index.evaluation import evaluate_retrieval
    from index.mining import write_pairs

    started = time.monotonic()
    hands = config.videos * config.hands_per_video
    map_worker = PipeWorker(_serve_projection, hands)
    with _step(1, f"synthesising {pluralize(hands, 'hand')}"):
        with progress_bar("   ") as progress:
            synthesise_pool(home.pool, config, progress=progress)
        pool = Pool.open(home.pool)
    with _step(2, "fitting the pose embedding"):
        embedding = PoseEmbedding.fit(pool)
        embedding.save(home.embedding)
        by_id = np.argsort(pool.hand_ids)  # the order of a map
        map_worker.connection.send(embedding.embed(keypoints=pool.keypoints[by_id]))
    with _step(3, "building the index"), progress_bar("   ") as progress:
        catalog = open_catalog(home.index)
        catalog.build(pool, embedding, progress=progress)
    with catalog.current() as version:
        with _step(4, "mining a match for every hand"), progress_bar("   ") as progress:
            pairs = MinedPairs.concatenate(mine(version, pool.hand_ids, progress=progress))
            write_pairs(home.path / "pairs.parquet", [pairs], version.info)
        with _step(5, "measuring"):
            evaluation = evaluate_retrieval(version, pool)
            write_retrieval_evaluation(home.run("retrieval"), version, evaluation)
        seconds = time.monotonic() - started
        with _step(6, "drawing the report (the map of the poses takes a moment)"):
            pose_map = _make_map(home, version, map_worker.connection.recv())
            map_worker.stop()
            report = home.path / "report.html"
            points = pose_map.places[pose_map.find_rows(pool.hand_ids)] * (1, -1)  # figures have y upwards
            _write_report(report, pool, version, evaluation, points, home, seconds)
    return report


@contextmanager
def _step(number: int, title: str) -> Iterator[None]:
    print(f"{number}/{_STEPS} {title} ...", flush=True)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.1f} s", flush=True)


class _Projected:
    """The places [N, 2] of all hands by rising id, as a projection that was fitted to them."""

    def __init__(self, places: NDArray[np.float32]) -> None:
        self.places = places

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("it was fitted to all hands")


class _Silent:
    """Tells nothing of the progress: a map without its projection takes a moment."""

    def begin_phase(self, name: str) -> None:
        pass

    def update(self, done: int, total: int) -> None:
        pass


def _make_map(home: Home, version: "IndexVersion", places: NDArray[np.float32]) -> "PoseMap":
    """Store the map where the browser finds it; ``places`` [N, 2] are those of all hands by rising id."""
    from apps.browser.map.build import make_map
    from apps.browser.map.pose_map import maps_folder, store_map

    every = len(places)
    pose_map = make_map(
        version, _Silent(), project=lambda _: _Projected(places), max_hands=every, max_fitted=every
    )
    store_map(pose_map, maps_folder(home), version.info)
    return pose_map


def _serve_projection(connection: Connection, hands: int) -> None:
    """Receive vectors [hands, D] and send their places [hands, 2]; UMAP is compiled before they come."""
    from apps.browser.map.projection import PlaneProjection

    size = (min(hands, _WARM_UP_HANDS), 14)
    PlaneProjection(np.random.default_rng(0).normal(size=size).astype(np.float32))
    while True:
        connection.send(PlaneProjection(connection.recv()).places)


def _write_report(
    path: Path,
    pool: Pool,
    version: "IndexVersion",
    evaluation: "RetrievalEvaluation",
    points: NDArray[np.float32],
    home: Home,
    seconds: float,
) -> None:
    """``points`` [N, 2] are the map of the pool's hands, ``seconds`` the duration of all steps before."""
    from apps.cli.figures import plot_explained_variance, plot_pose_distances
    from apps.report import figure_to_html, image_to_html, plot_pose_map, section_to_html, write_report

    measured = evaluation.report
    numbers = [
        (f"{len(pool):,}", f"hands in {pluralize(len(pool.videos.names), 'video')}"),
        (f"{measured.recall_at_1:.1%}", "recall@1 of the index against exact search"),
        (
            f"{measured.precision_at_1 or 0:.1%}",
            f"of nearest hands show the same shape ({_chance_of_same_label(pool):.0%} by chance)",
        ),
        (
            f"{measured.mined_pose_distance or 0:.3f}",
            "joint distance of mined pairs, as a share of the picture's width",
        ),
        (f"{measured.random_pose_distance or 0:.3f}", "joint distance of random pairs"),
        (f"{measured.cross_video_share_unfiltered:.0%}", "nearest hands in another video, without the rule"),
        (f"{measured.explained_variance:.1%}", f"of the pose in {version.embedding.dimension} numbers"),
        (f"{seconds:.0f} s", "to synthesise, index, mine and measure"),
    ]
    sections = [
        section_to_html(
            "Hands posed alike",
            "A query on the left of each row, then its nearest hands in other videos, with their distance "
            "in the pose embedding. These are the matches that pre-training learns from.",
            [image_to_html(_draw_montage(pool, version), "queries and their nearest hands")],
        ),
        section_to_html(
            "The pose space",
            f"UMAP of the {version.embedding.dimension} numbers of every hand; the names are those of the "
            "shapes the synthetic hands move between, grey hands are on their way from one to the next.",
            [figure_to_html(plot_pose_map(points, pool.labels.values()), "map of the poses")],
        ),
        section_to_html(
            "How good are the pairs?",
            "Mined pairs are hands of different people, in different videos, whose joints almost coincide.",
            [
                figure_to_html(
                    plot_pose_distances(evaluation.mined_distances, evaluation.random_distances),
                    "histograms of joint distances of mined and random pairs",
                ),
                figure_to_html(plot_explained_variance(version.embedding), "explained variance by component"),
            ],
        ),
        section_to_html("What to try next", "In this terminal:", commands=_next_commands(home, pool)),
    ]
    subtitle = "Synthetic hands, found by pose: pool, embedding, index, mining, evaluation."
    write_report(path, "handsim demo", subtitle, numbers, sections)


def _chance_of_same_label(pool: Pool) -> float:
    """The probability that two random labelled hands have the same label."""
    codes = pool.labels.codes[pool.labels.codes >= 0]
    return float(np.square(np.bincount(codes) / max(1, len(codes))).sum())


def _draw_montage(pool: Pool, version: "IndexVersion") -> "Image":
    """Queries of different shapes, each from a video of its own, spread over the pool."""
    from apps.cli.query import Query, draw_montage
    from index import SearchOptions

    shapes, rows = np.unique(pool.labels.codes[::-1], return_index=True)
    rows = np.sort(len(pool) - 1 - rows[shapes >= 0])
    _, first = np.unique(pool.videos.codes[rows], return_index=True)
    spread = np.linspace(0, len(first) - 1, min(_MONTAGE_QUERIES, len(first))).round().astype(int)
    hand_ids = pool.hand_ids[rows[first[spread]]]
    options = SearchOptions(one_per_video=True)
    answers = version.search_hands(hand_ids, _MONTAGE_NEIGHBORS, other_video=True, options=options)
    queries = [Query.from_hand(hand_id, version, pool) for hand_id in hand_ids.tolist()]
    return draw_montage(pool, queries, answers)


def _next_commands(home: Home, pool: Pool) -> str:
    # Its path, where `make demo` runs it out of an environment that is not active.
    program = "handsim" if shutil.which("handsim") else sys.argv[0]
    example = format_hand_id(int(pool.hand_ids[0]))
    return f"""\
{program} browse --home {home.path}
{program} query --hand {example} --other-video --montage answer.png --home {home.path}
{program} mine --top-k 5 --out pairs.parquet --home {home.path}
{program} evaluate retrieval --labels --home {home.path}

{program} models fetch            # then with your own images and videos:
{program} ingest photos/ videos/
{program} index build
{program} query photo.jpg --montage answer.png"""
