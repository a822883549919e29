"""Making a map of an index version; takes minutes, so that it is a job of its own process.

Vectors laid flat: UMAP fitted to some of them, and asked for the places of the others.

The job that makes a map, in its process: ``python -m apps.browser.map.build VERSION --home DIR``.
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
from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, remove_obsolete, save_map
from apps.browser.serve import BrowserSettings
from apps.cli.console import EncoderFolders
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool.reader import Categorical
from handsim.processes import module_command
from index import IndexVersion, SearchOptions, open_catalog
from index.points import PointBatch

_NEIGHBORS: Final = 15
_SEED_PLACING: Final = 0
_FEWEST: Final = 32
"""Of fewer hands no graph of neighbours is worth a name; they are laid along their principal axes."""


class Placer:
    """Places in the plane such that neighbours stay neighbours (UMAP, McInnes et al. 2018)."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Fit to vectors [n, D]."""
        self._umap: Any = None
        self.fitted: NDArray[np.float32]
        """[n, 2], of the vectors it was fitted to."""
        if len(vectors) < _FEWEST:
            self._mean = vectors.mean(axis=0)
            self._axes = _principal_axes(vectors - self._mean)
            self.fitted = self._along_axes(vectors)
        else:
            from umap import UMAP  # seconds to import

            self._umap = UMAP(n_neighbors=_NEIGHBORS, random_state=_SEED_PLACING, n_jobs=1)
            self.fitted = np.asarray(self._umap.fit_transform(vectors), dtype=np.float32)

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, 2] of further vectors [n, D]; the same whenever asked for the same n together."""
        if self._umap is None:
            return self._along_axes(vectors)
        if len(vectors) == len(self.fitted):
            # UMAP takes so many for the hands that it was fitted to and moves those along: so not at once.
            half = len(vectors) // 2
            return np.concatenate([self.place(vectors[:half]), self.place(vectors[half:])])
        return np.asarray(self._umap.transform(vectors), dtype=np.float32)

    def _along_axes(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        places: NDArray[np.float32] = (vectors - self._mean) @ self._axes
        return places


def into_unit_square(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same places [N, 2] turned so that they spread most from left to right, moved, and scaled alike in
    x and y, to fill the unit square from its middle."""
    centred = places.astype(np.float64) - places.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    low, high = turned.min(axis=0), turned.max(axis=0)
    side = float((high - low).max()) or 1.0
    unit: NDArray[np.float64] = (turned - (low + high) / 2) / side + 0.5
    return np.clip(unit, 0, 1).astype(np.float32)


def _principal_axes(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """[D, 2]; axes that the vectors [n, D] do not have are zero."""
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((centred.shape[1], 2), dtype=np.float32)
    axes[:, : min(2, len(rows))] = rows[:2].T
    return axes


MOST_FITTED: Final = 10_000
"""Hands that the map is fitted to; the others are placed among them."""
MOST_HANDS: Final = 500_000
"""Hands on a map; of a larger index a random part is shown."""
_SEED: Final = 0
_BATCH_BYTES: Final = 2**26
_LARGEST_BATCH: Final = 20_000
_SEARCHED: Final = 2_000
"""Queries at once."""

Flatten = Callable[[NDArray[np.float32]], Placer]


class Progress(Protocol):
    """Who is told how far it is: `apps.browser.jobs.JobReporter`."""

    def begin_phase(self, name: str) -> None: ...

    def update(self, done: int, total: int) -> None: ...


def make_map(
    version: IndexVersion,
    say: Progress,
    *,
    flatten: Flatten = Placer,
    most_hands: int = MOST_HANDS,
    most_fitted: int = MOST_FITTED,
) -> PoseMap:
    """Place a version's hands, and measure how near the nearest hand of another video is.

    At no time are more vectors in memory than those fitted to and one batch.
    """
    rng = np.random.default_rng(_SEED)
    say.begin_phase("Reading the hands")
    hand_ids = _some(_all_ids(version, say), most_hands, rng)
    sample = np.flatnonzero(np.isin(hand_ids, _some(hand_ids, most_fitted, rng)))
    vectors = _vectors(version, hand_ids[sample])
    say.begin_phase(f"Laying out {len(sample):,} hands")
    placer = flatten(vectors)
    places = np.empty((len(hand_ids), 2), dtype=np.float32)
    places[sample] = placer.fitted
    columns = _Columns()
    distances = np.full(len(hand_ids), np.nan, dtype=np.float32)
    say.begin_phase("Placing hands and measuring to their neighbours")
    for rows, batch in _rows_of(version, hand_ids):
        others = ~np.isin(rows, sample)
        if others.any():
            places[rows[others]] = placer.place(batch.vectors[others])
        for start in range(0, len(rows), _SEARCHED):
            part = slice(start, start + _SEARCHED)
            distances[rows[part]] = _to_other_videos(version, batch, part)
            say.update(int(rows[part][-1]) + 1, len(hand_ids))
        columns.add(batch)
    return PoseMap(
        version.info.name,
        version.info.checksum,
        len(version),
        hand_ids,
        into_unit_square(places),
        distances,
        *columns.joined(),
    )


def _all_ids(version: IndexVersion, say: Progress) -> NDArray[np.uint64]:
    """[N], rising."""
    found, read = [], 0
    for batch in version.scroll(with_payload=False):
        found.append(batch.hand_ids)
        read += len(batch)
        say.update(read, len(version))
    return np.concatenate(found)


def _some(hand_ids: NDArray[np.uint64], most: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """At most so many of them, rising."""
    if len(hand_ids) <= most:
        return hand_ids
    return np.sort(rng.choice(hand_ids, most, replace=False, shuffle=False))


def _batch(version: IndexVersion) -> int:
    return max(1, min(_LARGEST_BATCH, _BATCH_BYTES // (4 * version.info.dimension)))


def _vectors(version: IndexVersion, hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, D], a batch at a time, for a look-up takes more memory than what it finds."""
    step = _batch(version)
    return np.concatenate(
        [version.vectors(hand_ids[start : start + step]) for start in range(0, len(hand_ids), step)]
    )


def _rows_of(
    version: IndexVersion, hand_ids: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.intp], PointBatch]]:
    """The chosen hands [N] with all that is known of them, a batch at a time, and their rows."""
    for batch in version.scroll(with_vectors=True, batch=_batch(version)):
        chosen = np.isin(batch.hand_ids, hand_ids)
        if chosen.any():
            part = batch.select(chosen)
            yield np.searchsorted(hand_ids, part.hand_ids), part


def _to_other_videos(version: IndexVersion, batch: PointBatch, part: slice) -> NDArray[np.float32]:
    """[n] distances to the nearest hand of another video; NaN where there is none."""
    videos = [payload["video"] for payload in batch.payloads[part]]
    nearest = version.search(batch.vectors[part], 1, not_videos=videos, options=SearchOptions())
    return np.where(nearest.is_found[:, 0], nearest.distances[:, 0], np.float32(np.nan))


class _Columns:
    """Source, video and label of the hands, as codes, while they come."""

    def __init__(self) -> None:
        self._known: tuple[dict[str, int], ...] = ({}, {}, {})
        self._codes: tuple[list[NDArray[np.int32]], ...] = ([], [], [])

    def add(self, batch: PointBatch) -> None:
        values = zip(
            *((told["source"], told["video"], told["label"]) for told in batch.payloads), strict=True
        )
        for column, known, codes in zip(values, self._known, self._codes, strict=True):
            found = (-1 if value is None else known.setdefault(value, len(known)) for value in column)
            codes.append(np.fromiter(found, np.int32, len(batch)))

    def joined(self) -> list[Categorical]:
        return [
            Categorical(np.concatenate(codes), tuple(known))
            for known, codes in zip(self._known, self._codes, strict=True)
        ]


JOB: Final = "map"
_NICENESS: Final = 5
"""Those who look come first."""


def start_making(jobs: Jobs, settings: BrowserSettings, version: str) -> None:
    """Have a version's map made; raises HandsimError while one is made, or where nothing can be written."""
    command = module_command("apps.browser.map.build", version, "--home", str(settings.home))
    if settings.index is not None:
        command += ["--index", settings.index]
    folder = maps_folder(Home(settings.home), settings.index)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        jobs.start(JOB, command)
    except OSError as error:
        raise HandsimError(f"a map is kept in {folder}, which cannot be written: {error.strerror}") from error


def main(words: Sequence[str]) -> int:
    """Do what `start_making` asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps.browser.map.build")
    parser.add_argument("version")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index")
    options = parser.parse_args(words)
    os.nice(_NICENESS)
    home = Home(options.home)
    return run_job(home.jobs, JOB, partial(_work, home, options))


def _work(home: Home, options: argparse.Namespace, say: JobReporter) -> dict[str, Any]:
    folder = maps_folder(home, options.index)
    with open_catalog(options.index or home.index, folders=EncoderFolders(home)) as catalog:
        with catalog.open(options.version) as version:
            made = make_map(version, say)
            save_map(made, map_file(folder, version.info))
        remove_obsolete(folder, catalog.versions())
    return {"version": made.version, "hands": len(made)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
