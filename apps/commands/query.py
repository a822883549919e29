"""``handsim query``: the hands most like a hand, a picture or keypoints."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from apps.answers import as_json, as_montage, as_text
from apps.queries import Query, hand_query, image_queries, keypoints_queries
from handsim.hand import SIDES, parse_hand_id
from handsim.home import Home
from handsim.pool import Pool
from index import Filter, IndexVersion, Neighbors, open_catalog

DEFAULT_K: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="every hand in a picture")
    what.add_argument("--hand", metavar="ID", help="a hand of the index, 16 hex digits")
    what.add_argument("--keypoints", type=Path, metavar="FILE", help="JSON or .npy, [21, 2 or 3] or several")
    parser.add_argument("-k", type=int, metavar="K", help=f"how many neighbours (default: {DEFAULT_K})")
    parser.add_argument("--other-video", action="store_true", help="with --hand: no hands of the same video")
    parser.add_argument("--one-per-video", action="store_true", help="at most one neighbour from a video")
    parser.add_argument(
        "--source", action="append", metavar="S", help="only from this collection; repeatable"
    )
    parser.add_argument("--side", choices=SIDES, default="right", help="whose hands --keypoints are (right)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.add_argument("--montage", type=Path, metavar="PNG", help="also draw query and neighbours")
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="hand_landmarker.task (default: the cache)"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    home = Home.find(options.home)
    with open_catalog(home.index).current() as version:
        pool = Pool.open(home.pool) if options.montage else None
        queries = _queries(options, version, pool)
        answers = _ask(version, queries, options)
    if options.json:
        print(json.dumps([as_json(query, answers[i]) for i, query in enumerate(queries)], indent=1))
    else:
        print("\n\n".join(as_text(query, answers[i]) for i, query in enumerate(queries)))
    if pool is not None:
        as_montage(pool, queries, answers).save(options.montage, "PNG")
        if not options.json:
            print(f"\nmontage: {options.montage}")
    return 0


def _queries(options: argparse.Namespace, version: IndexVersion, pool: Pool | None) -> list[Query]:
    if options.hand is not None:
        return [hand_query(parse_hand_id(options.hand), version, pool)]
    if options.keypoints is not None:
        return keypoints_queries(options.keypoints, options.side)
    return image_queries(options.image, options.model)


def _ask(version: IndexVersion, queries: Sequence[Query], options: argparse.Namespace) -> Neighbors:
    k = min(DEFAULT_K, len(version)) if options.k is None else options.k
    wanted = Filter(sources=tuple(options.source)) if options.source else None
    if options.hand is not None:
        return version.search_hands(
            [parse_hand_id(options.hand)],
            k,
            other_video=options.other_video,
            filter=wanted,
            one_per_video=options.one_per_video,
            with_payload=True,
        )
    keypoints = np.stack([query.keypoints for query in queries if query.keypoints is not None])
    return version.search_keypoints(
        keypoints, k, filter=wanted, one_per_video=options.one_per_video, with_payload=True
    )
