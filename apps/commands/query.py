"""``handsim query``: the hands most like a hand, a picture, keypoints or examples; or any at all."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.answers import as_json, as_montage, as_text, hands_as_json, hands_as_text
from apps.places import catalog_of, home_of
from apps.queries import Query, example_query, hand_query, image_queries, keypoints_queries
from handsim.errors import HandsimError
from handsim.hand import SIDES, parse_hand_id
from handsim.pool import Pool
from index import Filter, IndexVersion, Neighbors, SearchOptions

DEFAULT_K: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    about = parser.add_argument_group("what to ask about, one of").add_mutually_exclusive_group(required=True)
    about.add_argument("image", nargs="?", type=Path, metavar="IMAGE", help="every hand in a picture")
    about.add_argument("--hand", metavar="ID", help="a hand of the index, 16 hex digits")
    about.add_argument("--keypoints", type=Path, metavar="FILE", help="JSON or .npy, [21, 2 or 3] or several")
    about.add_argument("--like", nargs="+", metavar="ID", help="several hands of the index: more like these")
    about.add_argument("--random", action="store_true", help="no likeness: random hands")
    about.add_argument("--list", action="store_true", help="no likeness: hands by rising id (see --after)")
    parser.add_argument("--unlike", nargs="+", metavar="ID", default=[], help="with --like: less like these")
    parser.add_argument("--after", metavar="ID", help="with --list: go on behind this hand")
    parser.add_argument(
        "--left", action="store_true", help="the --keypoints are of left hands, and are mirrored"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="hand_landmarker.task (default: the cache)"
    )
    _add_conditions(parser.add_argument_group("which hands may be answered"))
    answer = parser.add_argument_group("the answer")
    answer.add_argument("-k", type=int, metavar="K", help=f"how many (default: {DEFAULT_K})")
    answer.add_argument("--json", action="store_true", help="answer in JSON")
    answer.add_argument("--montage", type=Path, metavar="PNG", help="also draw query and answers")
    answer.add_argument("--exact", action="store_true", help="compare all hands instead of walking the graph")
    answer.add_argument("--ef", type=int, metavar="N", help="candidates to look at (default: as built)")
    parser.set_defaults(run=_run)


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--other-video", action="store_true", help="none of the video of --hand or --like")
    group.add_argument("--one-per-video", action="store_true", help="at most one from a video")
    for name, what in (("source", "collection"), ("video", "recording or person"), ("label", "class")):
        group.add_argument(
            f"--{name}", action="append", metavar=name[0].upper(), help=f"only of this {what}; repeatable"
        )
    group.add_argument("--side", choices=SIDES, help="only of this side, the subject's own")
    group.add_argument("--min-score", type=float, metavar="P", help="only found with this confidence, 0 to 1")
    group.add_argument("--min-distance", type=float, default=0.0, metavar="D", help="none nearer than this")
    group.add_argument("--max-distance", type=float, metavar="D", help="none further than this")
    group.add_argument(
        "--diversity",
        type=float,
        default=0.0,
        metavar="X",
        help="0 the nearest, towards 1 near ones unlike each other, so not ten frames of one moment",
    )


def _run(options: argparse.Namespace) -> int:
    _check(options)
    with catalog_of(options) as catalog, catalog.current() as version:
        how = SearchOptions(
            filter=_filter(options),
            one_per_video=options.one_per_video,
            min_distance=options.min_distance,
            max_distance=options.max_distance,
            diversity=options.diversity,
            exact=options.exact,
            ef=options.ef,
            with_payload=True,
        )
        k = min(DEFAULT_K, len(version)) if options.k is None else options.k
        if options.random or options.list:
            return _show_hands(options, _picked(options, version, k, how.filter), version)
        pool = Pool.open(home_of(options).pool) if options.montage else None
        queries, answers = _ask(options, version, pool, k, how)
    if options.json:
        print(json.dumps([as_json(query, answers[i]) for i, query in enumerate(queries)], indent=1))
    else:
        print("\n\n".join(as_text(query, answers[i]) for i, query in enumerate(queries)))
    if pool is not None:
        as_montage(pool, queries, answers).save(options.montage, "PNG")
        if not options.json:
            print(f"\nmontage: {options.montage}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """Raise HandsimError for options that do not go with what is asked about."""
    if options.k is not None and options.k < 1:
        raise HandsimError(f"k is {options.k}; ask for at least 1 hand")
    about_hands = options.hand is not None or options.like is not None
    for name, given, fits, remedy in (
        ("--unlike", options.unlike, options.like, "--like"),
        ("--after", options.after, options.list, "--list"),
        ("--left", options.left, options.keypoints, "--keypoints"),
        ("--other-video", options.other_video, about_hands, "--hand or --like"),
    ):
        if given and not fits:
            raise HandsimError(f"{name} goes with {remedy}; leave it out, or ask with that")
    for name, given in (
        ("--one-per-video", options.one_per_video),
        ("--min-distance", options.min_distance),
        ("--max-distance", options.max_distance is not None),
        ("--diversity", options.diversity),
        ("--exact", options.exact),
        ("--ef", options.ef is not None),
        ("--montage", options.montage),
    ):
        if given and (options.random or options.list):
            raise HandsimError(f"{name} is about likeness; leave it out with --random and --list")


def _filter(options: argparse.Namespace) -> Filter | None:
    wanted = Filter(
        sources=options.source and tuple(options.source),
        sides=options.side and (options.side,),
        videos=options.video and tuple(options.video),
        labels=options.label and tuple(options.label),
        min_score=options.min_score,
    )
    return None if wanted == Filter() else wanted


def _ask(
    options: argparse.Namespace, version: IndexVersion, pool: Pool | None, k: int, how: SearchOptions
) -> tuple[Sequence[Query], Neighbors]:
    if options.hand is not None:
        hand_id = parse_hand_id(options.hand)
        found = version.search_hands([hand_id], k, other_video=options.other_video, options=how)
        return [hand_query(hand_id, version, pool)], found
    if options.like is not None:
        like, unlike = ([parse_hand_id(text) for text in ids] for ids in (options.like, options.unlike))
        found = version.recommend(like, unlike, k, other_video=options.other_video, options=how)
        return [example_query(like, unlike, version, pool)], found
    if options.keypoints is not None:
        queries = keypoints_queries(options.keypoints, "left" if options.left else "right")
    else:
        queries = image_queries(options.image, options.model)
    crops = [query.crop for query in queries if query.crop is not None]
    keypoints = np.stack([query.keypoints for query in queries if query.keypoints is not None])
    vectors = version.embedding.embed(keypoints=keypoints, crops=crops or None)
    return queries, version.search(vectors, k, options=how)


def _picked(
    options: argparse.Namespace, version: IndexVersion, k: int, wanted: Filter | None
) -> NDArray[np.uint64]:
    """Hands [at most k] that no likeness decides on: random ones, or the next by id."""
    if options.random:
        return version.sample(k, wanted)
    after = -1 if options.after is None else parse_hand_id(options.after)
    pages = version.scroll(wanted, batch=k, start=after + 1, with_payload=False)
    return next((page.hand_ids for page in pages), np.empty(0, dtype=np.uint64))


def _show_hands(options: argparse.Namespace, hand_ids: NDArray[np.uint64], version: IndexVersion) -> int:
    payloads = version.payloads(hand_ids)
    if options.json:
        print(json.dumps(hands_as_json(hand_ids, payloads), indent=1))
    else:
        print(hands_as_text(hand_ids, payloads))
    return 0
