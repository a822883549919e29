"""``handsim mine``: the matches (positives) of every hand, as Parquet, CSV or the JSON of Hand100M.

They are searched in the index or, with ``--bulk`` and where there is none, among all hands in memory.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from apps.cli.cluster import add_cluster_argument, read_cluster_options
from apps.cli.console import (
    choose_format,
    describe_fit,
    find_catalog,
    find_home,
    load_or_fit_embedding,
    progress_bar,
)
from apps.cli.selection import read_lists, tell_absent
from handsim.embedding import Embedding, can_embed_hands
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from handsim.pool.duplicates import DuplicateGroups
from handsim.pool.selection import Selection
from index import MiningPolicy, VersionInfo, mine
from index.among import search_among
from index.bulk import BulkSearch, Device, mine_in_bulk
from index.hand100m import write_hand100m
from index.mining import MinedPairs, MiningTally, read_hands_of_pool, write_pairs, write_pairs_as_csv

_ENDINGS: Final = {"parquet": ".parquet", "csv": ".csv", "hand100m": ".json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    policy = MiningPolicy()
    parser.add_argument(
        "--top-k",
        type=int,
        default=policy.top_k,
        metavar="K",
        help="matches (positives) of each hand (%(default)s)",
    )
    parser.add_argument("--max-distance", type=float, metavar="D", help="no matches further than this")
    line = "no matches further than this quantile of the nearest ones' distances; 0.5: their median"
    parser.add_argument("--max-quantile", type=float, metavar="Q", help=line)
    line = "no matches nearer than this: they are the same picture (%(default)s)"
    parser.add_argument("--min-distance", type=float, default=policy.min_distance, metavar="D", help=line)
    line = "allow matches that `handsim pool duplicates` found to be duplicates"
    parser.add_argument("--keep-duplicates", action="store_true", help=line)
    parser.add_argument("--one-per-video", action="store_true", help="at most one match from a video")
    parser.add_argument("--same-video", action="store_true", help="allow matches from the same video")
    line = "mine the hands of this list (`handsim list`) among themselves; repeatable"
    parser.add_argument("--list", action="append", metavar="NAME", help=line)
    line = "leave the hands of this list out, as query hands and as matches; repeatable"
    parser.add_argument("--exclude-list", action="append", metavar="NAME", help=line)
    line = "search all hands of the pool in memory, exactly, without an index (default where there is none)"
    parser.add_argument("--bulk", action="store_true", help=line)
    line = "with --bulk: where to search; cuda takes an NVIDIA GPU and handsim[train] (%(default)s)"
    parser.add_argument("--device", choices=get_args(Device), default="cpu", help=line)
    line = "processes that mine, threads with --bulk (default: one per core)"
    parser.add_argument("--workers", type=int, metavar="N", help=line)
    add_cluster_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write the pairs")
    parser.add_argument(
        "--format",
        choices=tuple(_ENDINGS),
        help="parquet or csv: one row for each pair; hand100m: the JSON that SiMHand's own code trains on "
        "(default: by the ending of --out)",
    )
    parser.add_argument(
        "--crops", type=Path, metavar="DIR", help="with hand100m: write its crops here, as JPEG"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    options.format = choose_format(options.out, _ENDINGS, options.format)
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
        max_quantile=options.max_quantile,
        min_distance=options.min_distance,
        keep_duplicates=options.keep_duplicates,
    )
    pool = Pool.open(home.pool)
    duplicates = None if policy.keep_duplicates else DuplicateGroups.load(home.pool)
    stale = duplicates and duplicates.describe_staleness(pool)
    if stale:
        print(stale, file=sys.stderr)
    tally = MiningTally(policy)
    is_listed = _find_listed(options, pool)
    mine_pool = _mine_in_bulk if _is_in_bulk(options) else _mine_index
    is_minable, written = mine_pool(options, pool, is_listed, duplicates, tally)
    if options.crops:
        _write_crops(pool, options.crops)
    print(f"{written} of {pluralize(int(is_minable.sum()), 'hand')} in {options.out}")
    if not is_listed.all():
        print(f"left out by lists: {pluralize(int((~is_listed).sum()), 'hand')}")
    if partly := int((pool.has_side & is_listed & ~is_minable).sum()):
        print(f"left out: {pluralize(partly, 'hand')} with unlabelled joints")
    if line := pool.describe_unknown_sides():
        print(line)
    if left_out := tally.describe_left_out():
        print(f"left out as matches: {left_out}")
    if options.crops and not pool.has_crops.all():
        print(f"left out: {pluralize(int((~pool.has_crops).sum()), 'hand')} without a picture")
    if lack := tally.describe_lack(pool):
        print(f"only {lack}", file=sys.stderr)
    return 0


def _is_in_bulk(options: argparse.Namespace) -> bool:
    """Whether to search without an index; raises HandsimError for options that do not go with the answer."""
    if options.ray is not None and (options.list or options.exclude_list):
        raise HandsimError("hands of lists are mined on this machine alone; leave out --ray, or the lists")
    if not options.bulk and options.index is None and options.ray is None:
        with find_catalog(options) as catalog:
            if not catalog.versions():
                return True
    for name in ("index", "ray"):
        if options.bulk and getattr(options, name) is not None:
            raise HandsimError(
                f"--bulk searches in the memory of this machine; leave out --{name}, or --bulk"
            )
    if options.device != "cpu" and not options.bulk:
        raise HandsimError(
            f"an index is not searched on a GPU; leave out --device {options.device}, or add --bulk"
        )
    return bool(options.bulk)


def _find_listed(options: argparse.Namespace, pool: Pool) -> NDArray[np.bool_]:
    """[N] which hands of the pool the lists let through; raises HandsimError where that is none."""
    included, excluded = (read_lists(options, names) for names in (options.list, options.exclude_list))
    for hands in (included, excluded):
        tell_absent(hands, pool)
    is_listed = Selection(among=included).admits(pool)
    if excluded is not None:
        is_listed &= ~Selection(among=excluded).admits(pool)
    if len(pool) and not is_listed.any():
        raise HandsimError("the lists leave no hand of the pool to mine; name others")
    return is_listed


def _mine_index(
    options: argparse.Namespace,
    pool: Pool,
    is_listed: NDArray[np.bool_],
    duplicates: DuplicateGroups | None,
    tally: MiningTally,
) -> tuple[NDArray[np.bool_], str]:
    """Mine the index that the options name; returns which hands [N] of the pool, and what was written."""
    with find_catalog(options) as catalog, catalog.current() as version, progress_bar("mining") as progress:
        read_hands_of_pool(version, pool)
        is_minable = _minable(pool, version.embedding, options.format) & is_listed
        hand_ids = pool.hand_ids[is_minable]
        if is_listed.all():
            batches = mine(
                version,
                hand_ids,
                tally.policy,
                duplicates=duplicates,
                workers=options.workers,
                cluster=read_cluster_options(options),
                say=tqdm.write,
                progress=progress,
            )
        else:
            search = search_among(version, hand_ids, threads=options.workers)
            batches = mine_in_bulk(search, hand_ids, tally.policy, duplicates=duplicates, progress=progress)
        mined, up_to_turn = _require_any(tally, batches, pool), version.embedding.up_to_turn
        return is_minable, _write(options, pool, mined, version.info, up_to_turn=up_to_turn)


def _mine_in_bulk(
    options: argparse.Namespace,
    pool: Pool,
    is_listed: NDArray[np.bool_],
    duplicates: DuplicateGroups | None,
    tally: MiningTally,
) -> tuple[NDArray[np.bool_], str]:
    """As `_mine_index`, without one: in the embedding that the next index would be built with."""
    home = find_home(options)
    embedding, is_new = load_or_fit_embedding(home, pool)
    if is_new:
        print(describe_fit(home, embedding))
    is_minable = _minable(pool, embedding, options.format) & is_listed
    with progress_bar("embedding") as progress:
        search = BulkSearch.of_pool(
            pool,
            embedding,
            rows=None if is_listed.all() else np.flatnonzero(is_listed),
            device=options.device,
            threads=options.workers,
            progress=progress,
        )
    with progress_bar("mining") as progress:
        hands = pool.hand_ids[is_minable]
        batches = mine_in_bulk(search, hands, tally.policy, duplicates=duplicates, progress=progress)
        mined = _require_any(tally, batches, pool)
        return is_minable, _write(options, pool, mined, embedding, up_to_turn=embedding.up_to_turn)


def _minable(pool: Pool, embedding: Embedding, file_format: str) -> NDArray[np.bool_]:
    """[N] the pool's hands that the embedding takes; Hand100M has no unlabelled joints."""
    if file_format == "hand100m":
        return pool.is_usable
    return can_embed_hands(embedding, pool)


def _write(
    options: argparse.Namespace,
    pool: Pool,
    batches: Iterator[MinedPairs],
    mined_from: VersionInfo | Embedding,
    *,
    up_to_turn: bool,
) -> str:
    """Write the file; returns what is in it."""
    if options.format == "parquet":
        return pluralize(write_pairs(options.out, batches, mined_from, up_to_turn=up_to_turn), "pair")
    if options.format == "csv":
        return pluralize(write_pairs_as_csv(options.out, batches), "pair")
    return pluralize(
        write_hand100m(options.out, pool, batches, with_picture=bool(options.crops)), "annotation"
    )


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
