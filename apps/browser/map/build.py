"""Making the map of an index version: ``python -m apps.browser.map.build VERSION --home DIR``.

UMAP is fitted to a sample of the hands and places the others among them. This takes minutes, so it is a job
in its own process (see `apps.browser.jobs`). Memory: the sample's vectors and one batch of hands at a time.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from apps.browser.jobs import JobReporter, Jobs, run_job
from apps.browser.map.pose_map import PoseMap, maps_folder, remove_obsolete, store_map
from apps.browser.map.projection import PlaneProjection, fit_unit_square
from apps.browser.serve import BrowserSettings
from apps.cli.console import EncoderFolders
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool.reader import Categorical
from handsim.processes import module_command
from index import IndexVersion, SearchOptions, open_catalog
from index.points import PointBatch

JOB: Final = "map"
MAX_FITTED: Final = 10_000
"""Hands that the projection is fitted to; it places the others among them."""
MAX_HANDS: Final = 2_000_000
"""Hands on a map; of a larger index, a random part."""
PHASES: Final = ("Reading the hands", "Fitting the map", "Placing hands and measuring distances")
"""Of the job, in their order."""
_NICENESS: Final = 5
"""Searches go first."""
_SEED: Final = 0
_BATCH_BYTES: Final = 2**26
_LARGEST_BATCH: Final = 20_000
_QUERIES_AT_ONCE: Final = 2_000


class Reporter(Protocol):
    """Takes what is told of the progress, as `JobReporter`."""

    def begin_phase(self, name: str) -> None:
        """One of `PHASES`."""

    def update(self, done: int, total: int) -> None:
        """Of the phase's hands."""


class Projection(Protocol):
    """Places of vectors in the plane, as `PlaneProjection`."""

    places: NDArray[np.float32]
    """[n, 2], of the vectors that it is fitted to."""

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places [n, 2] of other vectors [n, D]."""
        ...


def make_map(
    version: IndexVersion,
    reporter: Reporter,
    *,
    project: Callable[[NDArray[np.float32]], Projection] = PlaneProjection,
    max_hands: int = MAX_HANDS,
    max_fitted: int = MAX_FITTED,
) -> PoseMap:
    """Place a version's hands, and measure the distance of each to the nearest hand of another video."""
    rng = np.random.default_rng(_SEED)
    reporter.begin_phase(PHASES[0])
    hand_ids = _draw_sample(_read_ids(version, reporter), max_hands, rng)
    sample = np.flatnonzero(np.isin(hand_ids, _draw_sample(hand_ids, max_fitted, rng)))
    vectors = _read_vectors(version, hand_ids[sample])
    reporter.begin_phase(PHASES[1])
    projection = project(vectors)
    places = np.empty((len(hand_ids), 2), dtype=np.float32)
    places[sample] = projection.places
    distances = np.full(len(hand_ids), np.nan, dtype=np.float32)
    sources: list[str] = []
    videos: list[str] = []
    labels: list[str | None] = []
    reporter.begin_phase(PHASES[2])
    for rows, batch in _scroll_hands(version, hand_ids):
        others = ~np.isin(rows, sample)
        if others.any():
            places[rows[others]] = projection.transform(batch.vectors[others])
        for start in range(0, len(rows), _QUERIES_AT_ONCE):
            part = slice(start, start + _QUERIES_AT_ONCE)
            distances[rows[part]] = _distances_to_other_videos(version, batch, part)
            reporter.update(int(rows[part][-1]) + 1, len(hand_ids))
        # Interned: equal strings of all hands are one.
        sources += (sys.intern(payload["source"]) for payload in batch.payloads)
        videos += (sys.intern(payload["video"]) for payload in batch.payloads)
        labels += (payload["label"] and sys.intern(payload["label"]) for payload in batch.payloads)
    return PoseMap(
        version.info.name,
        version.info.checksum,
        len(version),
        hand_ids,
        fit_unit_square(places),
        distances,
        Categorical.of(sources),
        Categorical.of(videos),
        Categorical.of(labels),
    )


def _read_ids(version: IndexVersion, reporter: Reporter) -> NDArray[np.uint64]:
    """[N], ascending."""
    batches, count = [], 0
    for batch in version.scroll(with_payload=False):
        batches.append(batch.hand_ids)
        count += len(batch)
        reporter.update(count, len(version))
    return np.concatenate(batches)


def _draw_sample(hand_ids: NDArray[np.uint64], most: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """At most so many of them, ascending."""
    if len(hand_ids) <= most:
        return hand_ids
    return np.sort(rng.choice(hand_ids, most, replace=False, shuffle=False))


def _batch_size(version: IndexVersion) -> int:
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * version.info.dimension)))


def _read_vectors(version: IndexVersion, hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, D], in batches, because a look-up takes more memory than its result."""
    step = _batch_size(version)
    return np.concatenate(
        [version.vectors(hand_ids[start : start + step]) for start in range(0, len(hand_ids), step)]
    )


def _scroll_hands(
    version: IndexVersion, hand_ids: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.intp], PointBatch]]:
    """The hands [N] with vectors and payloads, in batches: their rows in ``hand_ids``, and the batch."""
    for batch in version.scroll(with_vectors=True, batch=_batch_size(version)):
        is_on_map = np.isin(batch.hand_ids, hand_ids)
        if is_on_map.any():
            selected = batch.select(is_on_map)
            yield np.searchsorted(hand_ids, selected.hand_ids), selected


def _distances_to_other_videos(version: IndexVersion, batch: PointBatch, part: slice) -> NDArray[np.float32]:
    """[n], to the nearest hand of another video; NaN if there is none."""
    videos = [payload["video"] for payload in batch.payloads[part]]
    nearest = version.search(batch.vectors[part], 1, not_videos=videos, options=SearchOptions())
    return np.where(nearest.is_found[:, 0], nearest.distances[:, 0], np.float32(np.nan))


def start_job(jobs: Jobs, settings: BrowserSettings, version: str) -> None:
    """Start making a version's map; raises HandsimError while one is made, or if it cannot be stored."""
    command = module_command("apps.browser.map.build", version, "--home", str(settings.home))
    if settings.index is not None:
        command += ["--index", settings.index]
    try:
        maps_folder(Home(settings.home), settings.index).mkdir(parents=True, exist_ok=True)
        jobs.start(JOB, command)
    except OSError as error:
        raise HandsimError(f"the map cannot be made: {error.strerror}: {error.filename}") from error


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="apps.browser.map.build")
    parser.add_argument("version")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index")
    options = parser.parse_args(arguments)
    os.nice(_NICENESS)
    home = Home(options.home)
    return run_job(home.jobs, JOB, partial(_make_and_store, home, options))


def _make_and_store(home: Home, options: argparse.Namespace, reporter: JobReporter) -> dict[str, Any]:
    folder = maps_folder(home, options.index)
    with open_catalog(options.index or home.index, folders=EncoderFolders(home)) as catalog:
        with catalog.open(options.version) as version:
            pose_map = make_map(version, reporter)
            store_map(pose_map, folder, version.info)
        remove_obsolete(folder, catalog.versions())
    return {"version": pose_map.version, "hands": len(pose_map)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
