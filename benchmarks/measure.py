"""Measuring one engine, each part in a process of its own: nothing is warm from before, or counts twice."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.clock import Clock, timed
from benchmarks.engines.engine import Ask, Engine
from benchmarks.engines.exact import ExactEngine
from benchmarks.memory import MemoryWatch
from benchmarks.video_poses import VideoPoses
from handsim.metrics.retrieval import recall_at_k

LEAST_RECALL = 0.99
_TOP = 10
_SAMPLE = 3000
_WALKED_VIDEOS = 160
_BATCH = 1024
_LONGEST_S = 15.0
"""No rate is measured for longer: what an engine has answered by then tells it."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Questions:
    """What all engines are asked."""

    sample: NDArray[np.int64]
    """[S] rows of random hands."""
    truth: NDArray[np.float32]
    """[S, 10] the distances of their nearest hands of other videos, by exact search."""
    walk: NDArray[np.int64]
    """[W] rows of all hands of random videos, one after the other: the order in which a pool is mined."""
    own_video_nearer: dict[str, float]
    """How many hands of its own video are nearer to one of the sample than its nearest of another video."""

    @classmethod
    def draw(cls, folder: Path, seed: int) -> "Questions":
        """Draw them from a saved pool, and answer the sample exactly."""
        pool = VideoPoses.open(folder)
        random = np.random.default_rng(seed)
        rows = random.choice(len(pool), min(_SAMPLE, len(pool)), replace=False)
        videos = random.permutation(pool.video[-1] + 1)[:_WALKED_VIDEOS]
        with ExactEngine().open(pool, folder) as ask:
            truth = ask(rows, _TOP, 0).distances
        nearer = [_own_video_within(pool, row, far) for row, far in zip(rows, truth[:, 0], strict=True)]
        return cls(
            rows,
            truth,
            walk=np.flatnonzero(np.isin(pool.video, videos)),
            own_video_nearer={
                "mean": round(float(np.mean(nearer)), 1),
                "p99": float(np.percentile(nearer, 99)),
            },
        )


@dataclass(frozen=True)
class Level:
    """What an engine gives with one effort."""

    effort: int
    """How hard it looked."""
    recall_at_1: float
    """Share of the sample whose nearest hand of another video it found."""
    recall_at_10: float
    """Share of the ten nearest that it found, asked for ten."""
    per_second: float
    """Hands asked for in batches, one neighbour each."""
    per_processor_second: float
    """The same for each second of one core: what other programs on the machine change less."""
    fetched_mean: float
    """Neighbours fetched for a hand, to have one of another video among them."""
    fetched_most: int
    """The most that any hand took."""


def in_fresh_process(work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Run a function in a process that has done nothing before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *args, **kwargs).result()


def build(engine: Engine, folder: Path, directory: Path) -> dict[str, Any]:
    """Time, memory and disk of building."""
    pool = VideoPoses.open(folder)
    with MemoryWatch() as watch, Clock() as clock:
        phases = engine.build(pool, directory)
    return {
        "build_seconds": round(clock.seconds, 1),
        "build_processor_seconds": round(clock.processor_seconds, 1),
        "build_phases_seconds": {name: round(phase, 1) for name, phase in phases.items()},
        "build_memory": watch.figures(),
        "megabytes_on_disk": round(sum(file.stat().st_blocks for file in directory.rglob("*")) * 512 / 1e6),
    }


def first_answer(engine: Engine, folder: Path, directory: Path) -> float:
    """Seconds from opening to the first answer."""
    pool = VideoPoses.open(folder)
    row = np.array([len(pool) // 2])
    with Clock() as clock, engine.open(pool, directory) as ask:
        ask(row, _TOP, engine.efforts[0])
    return round(clock.seconds, 3)


def evict(directory: Path) -> None:
    """Have the page cache forget the files of a directory, as after starting the machine."""
    for file in (path for path in directory.rglob("*") if path.is_file()):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)  # what is not on the disk yet cannot be forgotten
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def answers(engine: Engine, folder: Path, directory: Path, questions: Questions) -> dict[str, Any]:
    """Rate and recall at every effort, and what the fastest that recalls enough gives."""
    pool = VideoPoses.open(folder)
    with engine.open(pool, directory) as ask:
        levels = [_level(ask, effort, questions) for effort in engine.efforts]
        enough = [level for level in levels if level.recall_at_1 >= LEAST_RECALL]
        best = max(enough, key=lambda level: level.per_second) if enough else levels[-1]
        return {
            "effort": engine.effort,
            "levels": [asdict(level) for level in levels],
            f"recall_at_1_of_{LEAST_RECALL}": bool(enough),
            "best": asdict(best),
            "whole_pool_minutes": round(len(pool) / best.per_second / 60, 1),
            "single": _singles(ask, best.effort, questions.sample),
        }


def _own_video_within(pool: VideoPoses, row: int, distance: float) -> int:
    first, last = np.searchsorted(pool.video, (pool.video[row], pool.video[row] + 1))
    apart = np.linalg.norm(pool.vectors[first:last] - pool.vectors[row], axis=1)
    return int((apart < distance).sum()) - 1


def _level(ask: Ask, effort: int, questions: Questions) -> Level:
    wide = ask(questions.sample, _TOP, effort)
    first = ask(questions.sample, 1, effort)
    rate, rate_per_core = _rate(ask, effort, questions.walk)
    return Level(
        effort=effort,
        recall_at_1=round(recall_at_k(first.distances, questions.truth, 1), 4),
        recall_at_10=round(recall_at_k(wide.distances, questions.truth, _TOP), 4),
        per_second=round(rate, 1),
        per_processor_second=round(rate_per_core, 1),
        fetched_mean=round(float(first.fetched.mean()), 1),
        fetched_most=int(first.fetched.max()),
    )


def _rate(ask: Ask, effort: int, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Hands a second in batches, and hands for each second of a core."""
    done, latest = 0, time.perf_counter() + _LONGEST_S
    with Clock() as clock:
        while done < len(rows) and time.perf_counter() < latest:
            done += len(ask(rows[done : done + _BATCH], 1, effort).distances)
    return done / clock.seconds, done / clock.processor_seconds


def _singles(ask: Ask, effort: int, rows: NDArray[np.int64]) -> dict[str, float]:
    """The rate of asking one by one, and how long an answer takes."""
    seconds: list[float] = []
    for row in rows:
        seconds.append(timed(partial(ask, row[None], 1, effort))[0])
        if sum(seconds) > _LONGEST_S:
            break
    figures = {f"p{share}_ms": round(float(np.percentile(seconds, share)) * 1e3, 3) for share in (50, 95, 99)}
    return {"per_second": round(len(seconds) / sum(seconds), 1), **figures}
