"""``handsim mine``: the positives of every hand, as Parquet or as the JSON of Hand100M."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from apps.cli.cluster import add_cluster_argument, read_cluster_options
from apps.cli.console import find_catalog, find_home, progress_bar
from handsim.embedding import can_embed_hands
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from handsim.pool.duplicates import DuplicateGroups
from index import IndexVersion, MiningPolicy, mine
from index.hand100m import write_hand100m
from index.mining import MinedPairs, MiningTally, read_hands_of_pool, write_pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    policy = MiningPolicy()
    parser.add_argument(
        "--top-k", type=int, default=policy.top_k, metavar="K", help="positives of each hand (%(default)s)"
    )
    parser.add_argument("--max-distance", type=float, metavar="D", help="no positives further than this")
    line = "no positives nearer than this: they are the same picture (%(default)s)"
    parser.add_argument("--min-distance", type=float, default=policy.min_distance, metavar="D", help=line)
    line = "allow positives that `handsim pool duplicates` found to be duplicates"
    parser.add_argument("--keep-duplicates", action="store_true", help=line)
    parser.add_argument("--one-per-video", action="store_true", help="at most one positive from a video")
    parser.add_argument("--same-video", action="store_true", help="allow positives from the same video")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that mine (default: one per core)",
    )
    add_cluster_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the pairs")
    parser.add_argument(
        "--format",
        choices=("parquet", "hand100m"),
        default="parquet",
        help="one row for each pair, or the JSON that SiMHand's own code trains on (%(default)s)",
    )
    parser.add_argument(
        "--crops", type=Path, metavar="DIR", help="with hand100m: write its crops here, as JPEG"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.crops and options.format != "hand100m":
        raise HandsimError("--crops goes with --format hand100m; a pool keeps its crops in tar files already")
    if not options.out.parent.is_dir():
        raise NotThereError(f"{options.out.parent} is not a directory; make it, or name another --out")
    home = find_home(options)
    policy = MiningPolicy(
        top_k=options.top_k,
        other_video=not options.same_video,
        one_per_video=options.one_per_video,
        max_distance=options.max_distance,
        min_distance=options.min_distance,
        keep_duplicates=options.keep_duplicates,
    )
    pool = Pool.open(home.pool)
    duplicates = None if policy.keep_duplicates else DuplicateGroups.load(home.pool)
    stale = duplicates and duplicates.describe_staleness(pool)
    if stale:
        print(stale, file=sys.stderr)
    tally = MiningTally(policy)
    with find_catalog(options) as catalog, catalog.current() as version, progress_bar("mining") as progress:
        read_hands_of_pool(version, pool)
        is_minable = _minable(pool, version, options.format)
        hands = pool.hand_ids[is_minable]
        batches = mine(
            version,
            hands,
            policy,
            duplicates=duplicates,
            workers=options.workers,
            cluster=read_cluster_options(options),
            say=tqdm.write,
            progress=progress,
        )
        counted = _require_any(tally, batches, pool)
        if options.format == "parquet":
            written = pluralize(write_pairs(options.out, counted, version.info), "pair")
        else:
            count = write_hand100m(options.out, pool, counted, with_picture=bool(options.crops))
            written = pluralize(count, "annotation")
    if options.crops:
        _write_crops(pool, options.crops)
    print(f"{written} of {pluralize(len(hands), 'hand')} in {options.out}")
    if partly := int((pool.has_side & ~is_minable).sum()):
        print(f"left out: {pluralize(partly, 'hand')} with unlabelled joints")
    if line := pool.describe_unknown_sides():
        print(line)
    if left_out := tally.describe_left_out():
        print(f"left out as positives: {left_out}")
    if options.crops and not pool.has_crops.all():
        print(f"left out: {pluralize(int((~pool.has_crops).sum()), 'hand')} without a picture")
    if lack := tally.describe_lack(pool):
        print(f"only {lack}", file=sys.stderr)
    return 0


def _minable(pool: Pool, version: IndexVersion, file_format: str) -> NDArray[np.bool_]:
    """[N] the pool's hands that the index takes; Hand100M has no unlabelled joints."""
    if file_format == "hand100m":
        return pool.is_usable
    return can_embed_hands(version.embedding.unlabelled, pool)


def _require_any(tally: MiningTally, batches: Iterator[MinedPairs], pool: Pool) -> Iterator[MinedPairs]:
    """The batches, counted; where none of their hands has a positive, an error in place of the file."""
    yield from tally.count(batches)
    if tally.hands and not tally.with_positive:
        raise HandsimError(tally.describe_lack(pool))


def _write_crops(pool: Pool, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    hand_ids = pool.hand_ids[pool.has_crops & pool.is_usable].tolist()
    with progress_bar("writing crops", "crop") as progress:
        for done, hand_id in enumerate(hand_ids, start=1):
            (directory / f"{format_hand_id(hand_id)}.jpg").write_bytes(pool.crop_jpeg(hand_id))
            progress(done, len(hand_ids))
