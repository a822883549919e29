"""Indexes of synthetic poses, built, opened and asked for the nearest hand of another video, side by side.

    python -m benchmarks.index --points 2000000 --engine edge --engine faiss --engine exact --plot index.png
    python -m benchmarks.index --points 2000000 --engine faiss --bulk

Prints JSON. Every engine gets the same vectors and the same questions, in one run; each part runs in a
process of its own. FAISS knows no videos: it is asked for more neighbours until one of another video is among
them. Exact search is measured on what it answers in some seconds, and extrapolated to the whole pool. What
building takes up on a server is not seen: memory and disk told there are the client's.
"""

import argparse
import json
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.bare_engine import overhead
from benchmarks.clock import Clock, say
from benchmarks.engines.bulk import mine_pool, ratios, whole_job
from benchmarks.engines.catalog import CatalogEngine
from benchmarks.engines.engine import Engine
from benchmarks.engines.exact import ExactEngine
from benchmarks.engines.faiss import FaissHnsw, FaissIvf
from benchmarks.measure import Questions, in_fresh_process
from benchmarks.memory import MemoryWatch
from benchmarks.video_poses import VideoPoses
from handsim.metrics.retrieval import recall_at_k
from handsim.processes import available_cores
from index import IndexSettings

_LIBRARIES = ("qdrant-edge-py", "qdrant-client", "faiss-cpu", "numba", "numpy")


def make_pool(folder: Path, points: int, seed: int, still: int, min_motion: float | None = None) -> None:
    """Synthesise a pool and save it, or what ``--min-motion`` leaves of it."""
    poses = VideoPoses.make(points, seed, still)
    (poses if min_motion is None else poses.moving(min_motion)).save(folder)


def mine_all(
    engine: CatalogEngine, folder: Path, directory: Path, questions: Questions, ef: int
) -> dict[str, Any]:
    """Find the positive of every hand of the pool."""
    pool = VideoPoses.open(folder)
    with MemoryWatch() as watch, Clock() as clock:
        pairs = engine.mine(pool, directory, ef)
    return {
        "ef": ef,
        "hands_per_second": round(len(pool) / clock.seconds),
        "seconds": round(clock.seconds, 1),
        "cores": round(clock.processor_seconds / clock.seconds, 2),
        "recall_at_1": recall_at_k(pairs.distances[questions.sample], questions.truth, 1),
        "memory": watch.figures(),
    }


def measure_engine(engine: Engine, folder: Path, directory: Path, questions: Questions) -> dict[str, Any]:
    """All figures of one engine, in the order in which a user would meet them."""
    directory.mkdir()
    figures: dict[str, Any] = {"engine": engine.name}
    figures |= in_fresh_process(measure.build, engine, folder, directory)
    figures |= in_fresh_process(measure.answers, engine, folder, directory, questions)
    figures["first_answer_seconds"] = in_fresh_process(measure.first_answer, engine, folder, directory)
    measure.evict(directory)
    figures["first_answer_cold_seconds"] = in_fresh_process(measure.first_answer, engine, folder, directory)
    if isinstance(engine, CatalogEngine):
        ef = figures["best"]["effort"]
        figures["mining"] = in_fresh_process(mine_all, engine, folder, directory, questions, ef)
        if engine.url is None:
            figures["our_calls"] = in_fresh_process(overhead, folder, directory, questions.walk)
        engine.drop()
    return figures


def measure_all(engines: list[Engine], options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Every engine on the same pool."""
    folder = work / "pool"
    say(f"{options.points:,} poses")
    in_fresh_process(make_pool, folder, options.points, options.seed, options.still, options.min_motion)
    say("exact answers to a sample")
    questions = in_fresh_process(Questions.draw, folder, options.seed)
    figures = []
    for engine in engines:
        say(engine.name)
        figures.append(measure_engine(engine, folder, work / engine.name, questions))
        figures[-1]["whole_job"] = whole_job(figures[-1], len(VideoPoses.open(folder)))
    bulk: dict[str, Any] = {}
    if options.bulk:
        say("bulk")
        bulk = {"bulk": in_fresh_process(mine_pool, folder, questions)}
        bulk["bulk"]["over_best_whole_job"] = ratios(bulk["bulk"], figures)
    return {
        "points": len(VideoPoses.open(folder)),
        "dimension": VideoPoses.open(folder).embedding.dimension,
        "frames_held_still": options.still,
        "own_video_nearer": questions.own_video_nearer,
        "cores": available_cores(),
        "libraries": {name: installed(name) for name in _LIBRARIES},
        "engines": figures,
        **bulk,
    }


def chosen_engines(options: argparse.Namespace) -> list[Engine]:
    """The engines asked for, with the same graph where they have one."""
    settings = IndexSettings(m=options.m, ef_construct=options.ef_construct)
    known: dict[str, list[Engine]] = {
        "edge": [CatalogEngine(settings)],
        "server": [CatalogEngine(settings, "server", options.server)],
        "faiss": [FaissHnsw(options.m, options.ef_construct), FaissIvf()],
        "exact": [ExactEngine()],
    }
    return [engine for name in options.engine or ["edge"] for engine in known[name]]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = IndexSettings()
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--still",
        type=int,
        default=10,
        choices=[1, 2, 5, 10, 20],
        help="frames in which a hand is held still",
    )
    parser.add_argument(
        "--min-motion", type=float, metavar="SHARE", help="leave out what did not move, as an ingest does"
    )
    parser.add_argument("--engine", action="append", choices=["edge", "server", "faiss", "exact"])
    line = "mine the pool without an index, too, against building an engine's and asking for every hand"
    parser.add_argument("--bulk", action="store_true", help=line)
    parser.add_argument(
        "--server", metavar="URL", help="an index that is not there yet, and is dropped again"
    )
    parser.add_argument("--m", type=int, default=defaults.m)
    parser.add_argument("--ef-construct", type=int, default=defaults.ef_construct)
    parser.add_argument("--work", type=Path, help="a new directory to work in, and to keep")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw recall against rate")
    options = parser.parse_args(arguments)
    if "server" in (options.engine or []) and not options.server:
        parser.error("--engine server needs --server URL")
    return options


def main() -> None:
    """Measure, print, draw."""
    options = parse()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary) / "work"
        work.mkdir(parents=True)
        figures = measure_all(chosen_engines(options), options, work)
    print(json.dumps(figures, indent=1))
    if options.plot:
        # Only now: the processes that are measured import this module, too, and shall not pay for it.
        from apps.cli.figures import save_figure
        from benchmarks.index_figure import recall_against_rate

        save_figure(recall_against_rate(figures), options.plot)


if __name__ == "__main__":
    main()
