"""``handsim query``: the hands most like a hand, a picture, keypoints or examples; or any at all.

What a user asks about, from wherever it comes: a hand of the index, a picture, a file of keypoints.

Queries and their neighbours told to people: as text, as JSON, as a montage.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.cli.console import catalog_of, home_of, table
from handsim.detection.detector import read_keypoints, seen_hands
from handsim.detection.model import require_model
from handsim.detection.retry import open_detector
from handsim.drawing import MontageRow, Tile, montage
from handsim.errors import HandsimError, NotThereError
from handsim.hand import SIDES, Side, format_hand_id, parse_hand_id
from handsim.images import decode_image, read_file
from handsim.pool import Pool
from index import Filter, IndexVersion, Neighbor, Neighbors, SearchOptions
from index.query import Payload


@dataclass(frozen=True, eq=False)
class Query:
    """One hand that is asked about."""

    facts: dict[str, Any]
    """What is known of it, as JSON."""
    title: tuple[str, ...]
    """What to call it, then details, for people."""
    keypoints: NDArray[np.float32] | None
    """[21, 3] in the unit square of ``crop``; None for a hand of the index, whose vector is there."""
    crop: NDArray[np.uint8] | None
    """RGB [S, S, 3], for the montage."""


def hand_query(hand_id: int, version: IndexVersion, pool: Pool | None) -> Query:
    """A hand of the index, with its picture where a pool holds it; raises NotThereError when unknown."""
    payload = version.payloads([hand_id])[0]
    facts = {"hand_id": format_hand_id(hand_id), **payload}
    title = (f"hand {format_hand_id(hand_id)}", payload["video"])
    keypoints = crop = None
    if pool is not None and hand_id in pool:
        keypoints = pool.keypoints[pool.rows(hand_id)[0]]
        crop = pool.crop(hand_id) if pool.has_crop(hand_id) else None
    return Query(facts, title, keypoints, crop)


def example_query(
    like: Sequence[int], unlike: Sequence[int], version: IndexVersion, pool: Pool | None
) -> Query:
    """Several hands of the index, with the picture of the first; raises NotThereError for an unknown one."""
    first = hand_query(like[0], version, pool)
    facts = {
        name: [format_hand_id(hand) for hand in hands] for name, hands in (("like", like), ("unlike", unlike))
    }
    counted = [f"like {len(like)} hand{'s' if len(like) > 1 else ''}"]
    if unlike:
        counted.append(f"unlike {len(unlike)}")
    title = (", ".join(counted), f"first: {format_hand_id(like[0])}")
    return Query(facts, title, first.keypoints, first.crop)


def keypoints_queries(path: Path, side: Side) -> list[Query]:
    """The hands of a keypoints file; raises HandsimError when it cannot be used."""
    hands = read_keypoints(path, side)
    return [
        Query({"file": str(path), "number": number}, (f"hand {number}", path.name), keypoints, None)
        for number, keypoints in enumerate(hands, start=1)
    ]


def image_queries(path: Path, model: Path | None) -> list[Query]:
    """Every hand of a picture; raises HandsimError when it cannot be used or shows none."""
    if not path.exists():
        raise NotThereError(f"{path} does not exist; give a picture, or a hand's id with --hand")
    image = decode_image(read_file(path))
    detector = open_detector(require_model(model))
    try:
        seen = seen_hands(image, detector)
    finally:
        detector.close()
    if not seen:
        raise HandsimError(f"no hand was found in {path}; try a picture where one is larger or clearer")
    queries = []
    for number, hand in enumerate(seen, start=1):
        facts = {
            "file": str(path),
            "number": number,
            "side": hand.side,
            "score": round(hand.score, 4),
            "box_px": np.round(hand.box_px, 1).tolist(),
        }
        title = (f"hand {number} of {len(seen)}", path.name, f"{hand.side}, score {hand.score:.2f}")
        queries.append(Query(facts, title, hand.keypoints, hand.crop))
    return queries


_COLUMNS: Final = ("video", "side", "source", "label")


def as_json(query: Query, neighbors: Sequence[Neighbor]) -> dict[str, Any]:
    """One query and its neighbours as plain values."""
    return {
        "query": query.facts,
        "neighbors": [
            {
                "rank": rank,
                "hand_id": format_hand_id(found.hand_id),
                "distance": found.distance,
                **(found.payload or {}),
            }
            for rank, found in enumerate(neighbors, start=1)
        ],
    }


def as_text(query: Query, neighbors: Sequence[Neighbor]) -> str:
    """One query and its neighbours as a table for the terminal."""
    lines = [", ".join(query.title)]
    if not neighbors:
        return "\n".join([*lines, "  no hand of the index meets these conditions"])
    rows = [
        [
            str(rank),
            format_hand_id(found.hand_id),
            f"{found.distance:.4f}",
            *_cells(found.payload),
        ]
        for rank, found in enumerate(neighbors, start=1)
        if found.payload is not None
    ]
    return "\n".join([*lines, table([">rank", "hand", ">distance", *_COLUMNS], rows)])


def hands_as_json(hand_ids: NDArray[np.uint64], payloads: Sequence[Payload]) -> list[dict[str, Any]]:
    """Hands [N] as plain values."""
    return [
        {"hand_id": format_hand_id(hand_id), **payload}
        for hand_id, payload in zip(hand_ids.tolist(), payloads, strict=True)
    ]


def hands_as_text(hand_ids: NDArray[np.uint64], payloads: Sequence[Payload]) -> str:
    """Hands [N] as a table for the terminal."""
    if not len(hand_ids):
        return "no hand of the index meets these conditions"
    rows = [
        [format_hand_id(hand_id), *_cells(payload), f"{payload['score']:.2f}"]
        for hand_id, payload in zip(hand_ids.tolist(), payloads, strict=True)
    ]
    return table(["hand", *_COLUMNS, ">score"], rows)


def _cells(payload: Payload) -> list[str]:
    return [payload["video"], payload["side"], payload["source"], payload["label"] or ""]


def as_montage(
    pool: Pool,
    queries: Sequence[Query],
    answers: Neighbors | Sequence[Sequence[Neighbor]],
    *,
    columns: int | None = None,
) -> Image.Image:
    """A row a query, or more after ``columns``; one that the pool lacks has no picture."""
    return montage(
        [
            MontageRow(
                Tile(query.crop, query.keypoints, query.title),
                [_tile(pool, found) for found in answers[number]],
            )
            for number, query in enumerate(queries)
        ],
        columns=columns,
    )


def _tile(pool: Pool, found: Neighbor) -> Tile:
    if found.hand_id not in pool:
        return Tile(None, None, (f"{found.distance:.3f}", format_hand_id(found.hand_id)))
    row = int(pool.rows(found.hand_id)[0])
    crop = pool.crop(found.hand_id) if pool.has_crop(found.hand_id) else None
    label = f" · {pool.labels[row]}" if pool.labels[row] else ""
    return Tile(crop, pool.keypoints[row], (f"{found.distance:.3f}", f"{pool.videos[row]}{label}"))


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
