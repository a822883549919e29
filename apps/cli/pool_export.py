"""``handsim pool export``: hands of the pool in the formats of other tools."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import find_map_file, maps_folder, read_map_file
from apps.cli.console import check_folder_name, find_catalog, find_home, progress_bar
from apps.cli.selection import add_selection_arguments, check_names, read_selection, tell_absent
from handsim.embedding import can_embed_hands, load_embedding
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.files import refuse_existing
from handsim.pool import Pool
from handsim.pool.export.coco import write_coco
from handsim.pool.export.fiftyone import write_fiftyone
from handsim.pool.export.hands import ExportedHands, Progress
from handsim.pool.export.parquet import Places, principal_plane, write_parquet
from handsim.pool.export.webdataset import FEWEST_SHARDS, SHARD_HANDS, write_webdataset
from index import VersionInfo

_BATCH_HANDS: Final = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--format", choices=_WRITERS, required=True, help="what to write")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="a new file or folder")
    line = "parquet: without the crops, which take ten times the space of all the rest"
    parser.add_argument("--no-pictures", action="store_true", help=line)
    line = f"webdataset: at most so many hands in a shard ({SHARD_HANDS:,})"
    parser.add_argument("--shard-hands", type=int, metavar="N", help=line)
    line = f"webdataset: at least so many shards, one for each process that loads ({FEWEST_SHARDS})"
    parser.add_argument("--shards", type=int, metavar="N", help=line)
    add_selection_arguments(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    _check(options)
    pool = Pool.open(find_home(options).pool)
    selection = read_selection(options)
    check_names(selection, pool)
    tell_absent(selection.among, pool)
    selected = hands = ExportedHands.select(pool, selection)
    if options.format != "parquet":
        hands = selected.with_pictures()
    with progress_bar("exporting") as progress:
        opening = _WRITERS[options.format](options, hands, progress)
    left_out = len(selected) - len(hands)
    note = f" (left out: {left_out:,} without a picture)" if left_out else ""
    print(f"{pluralize(len(hands), 'hand')} in {options.out}{note}; in Python:\n{opening}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise HandsimError for options that do not go together, before any work."""
    for name, value, partner in (
        ("--no-pictures", options.no_pictures or None, "parquet"),
        ("--shard-hands", options.shard_hands, "webdataset"),
        ("--shards", options.shards, "webdataset"),
    ):
        if value is not None and options.format != partner:
            raise HandsimError(f"{name} goes with --format {partner}; leave it out")
        if value is not None and value < 1:
            raise HandsimError(f"{name} is {value}; it is at least 1")
    if options.format == "parquet" and options.out.suffix != ".parquet":
        raise HandsimError(
            f"--out {options.out} does not end in .parquet, by which other tools know the format"
        )
    if options.format != "parquet":
        check_folder_name("--out", options.out)
    refuse_existing(options.out)


def _write_webdataset(options: argparse.Namespace, hands: ExportedHands, progress: Progress) -> str:
    return write_webdataset(
        options.out,
        hands,
        progress,
        shard_hands=options.shard_hands or SHARD_HANDS,
        fewest_shards=options.shards or FEWEST_SHARDS,
    )


def _write_parquet(options: argparse.Namespace, hands: ExportedHands, progress: Progress) -> str:
    places = _find_places(options, hands)
    opening = write_parquet(options.out, hands, progress, places=places, pictures=not options.no_pictures)
    if places is None:
        return (
            f"{opening}\nvector, x and y are empty: the home has neither an index nor an embedding of poses"
        )
    atlas = f"embedding-atlas {shlex.quote(str(options.out))} --image image --x x --y y"
    return f"{opening}\nEmbedding Atlas: {atlas}\nvector, x and y: {places.origin}"


_WRITERS: Final[dict[str, Callable[[argparse.Namespace, ExportedHands, Progress], str]]] = {
    "coco": lambda options, hands, progress: write_coco(options.out, hands, progress),
    "parquet": _write_parquet,
    "webdataset": _write_webdataset,
    "fiftyone": lambda options, hands, progress: write_fiftyone(options.out, hands, progress),
}
"""Each returns how to open what it wrote, in Python."""


def _find_places(options: argparse.Namespace, hands: ExportedHands) -> Places | None:
    """From the current index version, with its map where the browser made one; else from the embedding."""
    home = find_home(options)
    hand_ids = hands.pool.hand_ids[hands.rows]
    try:
        with find_catalog(options) as catalog, catalog.current() as version:
            parts = np.array_split(hand_ids, -(-len(hand_ids) // _BATCH_HANDS))
            vectors = np.concatenate([version.find_vectors(part) for part in parts])
            info = version.info
    except NotThereError:  # no index yet
        if not home.embedding.exists() or (embedding := load_embedding(home.embedding)).kind != "pose":
            return None  # an embedding of pictures would run its encoder, for hours
        is_taken = can_embed_hands(embedding, hands.pool)[hands.rows]
        vectors = np.full((len(hands), embedding.dimension), np.nan, dtype=np.float32)
        vectors[is_taken] = embedding.embed_hands(hands.pool, hands.rows[is_taken])
        return Places(vectors, principal_plane(vectors), f"{home.embedding}, its first two components")
    xy = _find_on_map(maps_folder(home, options.index), info, hand_ids)
    if xy is not None:
        return Places(vectors, xy, f"index version {info.name} and its map")
    return Places(vectors, principal_plane(vectors), f"index version {info.name}, two principal components")


def _find_on_map(folder: Path, info: VersionInfo, hand_ids: NDArray[np.uint64]) -> NDArray[np.float32] | None:
    """Places [M, 2] on the version's map, NaN for a hand that is not on it; None without a map."""
    try:
        file = find_map_file(folder, info)
        if file is None:
            return None
        pose_map = read_map_file(file)
    except HandsimError:  # it cannot be used: the browser says so
        return None
    rows = pose_map.find_rows(hand_ids)
    xy: NDArray[np.float32] = np.where((rows >= 0)[:, None], pose_map.places[rows], np.float32(np.nan))
    return xy
