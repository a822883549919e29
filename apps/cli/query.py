"""``handsim query``: the hands posed most like a hand, an image, keypoints or examples; or any hands at all.

A `Query` is one hand to search for. The answer is text, JSON or a montage. The browser uses `Query` too.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.cli.console import find_catalog, find_home, format_table
from apps.cli.detector import add_detector_arguments, read_detector_options
from apps.cli.main import EXIT_BAD_INPUT
from apps.cli.selection import (
    DEFAULT_K,
    add_filter_arguments,
    check_names_in_index,
    make_filter,
    read_lists,
    tell_unindexed,
)
from handsim.detection import HandDetector, detect_hands, open_detector, read_keypoints
from handsim.drawing import MontageRow, Tile, montage
from handsim.embedding import LEAST_LABELLED, Embedding, can_embed, lacks_depth
from handsim.english import describe_place, pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import Side, format_hand_id, labelled_joints, parse_hand_id
from handsim.images import decode_picture
from handsim.media import tell_kind
from handsim.pool import Pool
from handsim.pool.layout import read_removed
from handsim.skeleton import JOINT_NAMES
from index import Filter, IndexVersion, Neighbor, Neighbors, SearchOptions
from index.query import Payload
from index.random_pairs import RandomPairs, find_random_pairs

_COLUMNS: Final = ("video", "side", "source", "label")
_PICTURE_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_NO_HAND: Final = "no hand of the index meets these conditions"


@dataclass(frozen=True, eq=False)
class Query:
    """One hand to search for."""

    metadata: dict[str, Any]
    """What is known of it, as plain values for JSON."""
    title: tuple[str, ...]
    """Its name, then details, to show to people."""
    keypoints: NDArray[np.float32] | None
    """[21, 3] in the unit square of ``crop``; None for a hand of the index whose pool is not there."""
    crop: NDArray[np.uint8] | None
    """RGB [S, S, 3], for the montage."""

    @classmethod
    def from_hand(cls, hand_id: int, version: IndexVersion, pool: Pool | None) -> "Query":
        """A hand of the index, with its crop if ``pool`` has it; raises NotThereError for an unknown one."""
        payload = version.payloads([hand_id])[0]
        keypoints = crop = None
        if pool is not None and hand_id in pool:
            keypoints = pool.keypoints[pool.rows(hand_id)[0]]
            crop = pool.crop(hand_id) if pool.has_crop(hand_id) else None
        name = format_hand_id(hand_id)
        return cls({"hand_id": name, **payload}, (f"hand {name}", payload["video"]), keypoints, crop)

    @classmethod
    def from_examples(
        cls, like: Sequence[int], unlike: Sequence[int], version: IndexVersion, pool: Pool | None
    ) -> "Query":
        """Several hands of the index, with the crop of the first; raises NotThereError for an unknown one."""
        first = cls.from_hand(like[0], version, pool)
        metadata = {
            "like": [format_hand_id(hand_id) for hand_id in like],
            "unlike": [format_hand_id(hand_id) for hand_id in unlike],
        }
        counts = f"like {pluralize(len(like), 'hand')}"
        if unlike:
            counts += f", unlike {len(unlike)}"
        return cls(metadata, (counts, f"first: {metadata['like'][0]}"), first.keypoints, first.crop)


def check_joints(name: str, keypoints: NDArray[np.float32], embedding: Embedding) -> None:
    """Raise HandsimError for keypoints [21, 3] that the embedding refuses for unlabelled joints."""
    if can_embed(embedding.unlabelled, keypoints[None])[0]:
        return
    joints = [JOINT_NAMES[joint] for joint in np.flatnonzero(~labelled_joints(keypoints))]
    names = ", ".join(joints[:3]) + (f" and {len(joints) - 3} more" if len(joints) > 3 else "")
    remedy = "`handsim embedding fit --unlabelled complete` and `handsim index build` complete them"
    if embedding.unlabelled == "complete":
        remedy = f"this index completes a hand that has {LEAST_LABELLED} labelled ones"
    elif embedding.kind == "image":
        remedy = "an index of images takes whole hands alone"
    raise HandsimError(
        f"joints of {name} are not labelled ({names}), so it has no place in this index; {remedy}"
    )


def check_hands(hand_ids: Sequence[int], embedding: Embedding, pool: Pool) -> None:
    """Raise HandsimError for those of the hands that the pool holds and the embedding refuses."""
    for row in pool.rows([hand_id for hand_id in hand_ids if hand_id in pool]).tolist():
        name = f"hand {format_hand_id(int(pool.hand_ids[row]))}"
        if not pool.has_side[row]:
            raise HandsimError(
                f"the side of {name} is unknown, so it has no place in an index; `handsim pool relabel "
                f"--ids {name[5:]} --set-side left` (or right) and `handsim index add` give it one"
            )
        check_joints(name, pool.keypoints[row], embedding)
        if embedding.depth and lacks_depth(pool.keypoints[row : row + 1])[0]:
            raise HandsimError(
                f"{name} has no depth: its source measures no z, by which this index compares hands; "
                f"`handsim embedding fit` without --depth and `handsim index build` take it"
            )


def read_queries(path: Path, side: Side) -> list[Query]:
    """The hands of a keypoints file; raises HandsimError for a file that cannot be used."""
    return [
        Query({"file": str(path), "number": number}, (f"hand {number}", path.name), keypoints, None)
        for number, keypoints in enumerate(read_keypoints(path, side), start=1)
    ]


def detect_queries(path: Path, detector: HandDetector) -> list[Query]:
    """Every hand of an image; raises HandsimError for an image that cannot be used or shows no hand."""
    if not path.exists():
        raise NotThereError(f"{path} does not exist; give an image, or a hand's id with --hand")
    try:
        kind = tell_kind(path)
        picture = None if kind in ("video", "tar") else decode_picture(path)
    except HandsimError as error:
        raise HandsimError(f"{path}: {error}") from error
    if picture is None:
        what = "frames" if kind == "video" else "pictures"
        raise HandsimError(f"{path} is a {kind}; give one of its {what} as an image")
    if kind == "animation":
        print(f"handsim: of the animation {path} only the first frame is looked at", file=sys.stderr)
    hands = detect_hands(picture.pixels, detector)
    if not hands:
        raise HandsimError(f"no hand was found in {path}; try an image where one is larger or clearer")
    queries = []
    for number, hand in enumerate(hands, start=1):
        metadata = {
            "file": str(path),
            "number": number,
            "side": hand.side,
            "seen_as": hand.seen_as,
            "score": round(hand.score, 4),
            "box_px": np.round(hand.box_px / picture.scale, 1).tolist(),
        }
        title = (
            f"hand {number} of {len(hands)}",
            path.name,
            f"{hand.describe_side()}, score {hand.score:.2f}",
        )
        queries.append(Query(metadata, title, hand.keypoints, hand.crop))
    return queries


def draw_montage(
    pool: Pool,
    queries: Sequence[Query],
    answers: Neighbors | Sequence[Sequence[Neighbor]],
    *,
    columns: int | None = None,
) -> Image.Image:
    """One row for each query, wrapped after ``columns``; a hand that the pool lacks has no image."""
    rows = [
        MontageRow(
            Tile(query.crop, query.keypoints, query.title),
            [_make_tile(pool, neighbor) for neighbor in answers[number]],
        )
        for number, query in enumerate(queries)
    ]
    return montage(rows, columns=columns)


def _make_tile(pool: Pool, neighbor: Neighbor) -> Tile:
    distance = f"{neighbor.distance:.3f}"
    if neighbor.hand_id not in pool:
        note = ("removed since",) if pool.was_removed(neighbor.hand_id) else ()
        return Tile(None, None, (distance, format_hand_id(neighbor.hand_id), *note))
    row = int(pool.rows(neighbor.hand_id)[0])
    crop = pool.crop(neighbor.hand_id) if pool.has_crop(neighbor.hand_id) else None
    label = f" · {pool.labels[row]}" if pool.labels[row] else ""
    return Tile(crop, pool.keypoints[row], (distance, f"{pool.videos[row]}{label}"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    subject = parser.add_argument_group("what to search for, one of").add_mutually_exclusive_group()
    line = "every hand in images; one that cannot be used is named, and the others are answered"
    subject.add_argument("images", nargs="*", default=[], type=Path, metavar="IMAGE", help=line)
    subject.add_argument("--hand", metavar="ID", help="a hand of the index, 16 hex digits")
    subject.add_argument(
        "--keypoints",
        type=Path,
        metavar="FILE",
        help="JSON or .npy, [21, 2 or 3] or several; third numbers 0, 1, 2 are COCO's visibility",
    )
    subject.add_argument("--like", nargs="+", metavar="ID", help="hands of the index: more like these")
    subject.add_argument("--random", action="store_true", help="no search: random hands")
    line = "only hands of this list (repeatable: of either); without anything to search for: by rising id"
    parser.add_argument("--list", action="append", nargs="?", const="", metavar="NAME", help=line)
    line = "no hand of this list (repeatable: of none)"
    parser.add_argument("--exclude-list", action="append", metavar="NAME", help=line)
    parser.add_argument("--unlike", nargs="+", metavar="ID", default=[], help="with --like: less like these")
    parser.add_argument("--after", metavar="ID", help="without a search: start after this hand")
    parser.add_argument("--left", action="store_true", help="the --keypoints are of left hands; mirror them")
    add_detector_arguments(parser)
    _add_conditions(parser.add_argument_group("which hands the answer may hold"))
    answer = parser.add_argument_group("the answer")
    answer.add_argument("-k", type=int, metavar="K", help=f"how many hands (default: {DEFAULT_K})")
    answer.add_argument("--json", action="store_true", help="answer in JSON")
    line = "also draw query and answers: a file .png, .jpg or .webp"
    answer.add_argument("--montage", type=Path, metavar="FILE", help=line)
    answer.add_argument("--exact", action="store_true", help="compare all hands instead of walking the graph")
    answer.add_argument("--ef", type=int, metavar="N", help="candidates to look at (default: as built)")
    parser.set_defaults(run=_run)


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--other-video", action="store_true", help="no hand of the video of --hand or --like")
    group.add_argument("--one-per-video", action="store_true", help="at most one hand of each video")
    add_filter_arguments(group)
    group.add_argument("--min-distance", type=float, default=0.0, metavar="D", help="none nearer than this")
    group.add_argument("--max-distance", type=float, metavar="D", help="none further than this")
    line = "0: the nearest hands; towards 1: near hands unlike each other, not ten frames of one moment"
    group.add_argument("--diversity", type=float, default=0.0, metavar="X", help=line)


def _run(options: argparse.Namespace) -> int:
    _check(options)
    unused: list[str] = []
    hands = read_lists(options, [name for name in options.list or () if name])
    not_hands = read_lists(options, options.exclude_list)
    with find_catalog(options) as catalog, catalog.current() as version:
        filter_ = make_filter(options, hands, not_hands)
        if filter_ is not None:
            check_names_in_index(filter_, version)
        search = SearchOptions(
            filter=filter_,
            one_per_video=options.one_per_video,
            min_distance=options.min_distance,
            max_distance=options.max_distance,
            diversity=options.diversity,
            exact=options.exact,
            ef=options.ef,
            with_payload=True,
        )
        k = min(DEFAULT_K, len(version)) if options.k is None else options.k
        if hands is not None:
            ids = np.fromiter(hands, np.uint64, len(hands))
            tell_unindexed(hands, ~np.isnan(version.find_vectors(ids)[:, 0]))
        if not _asks_for_likeness(options):
            hand_ids = _pick_hands(options, version, k, search.filter)
            _print_hands(options, hand_ids, version)
            _tell_removed(options, hand_ids)
            return 0
        home = find_home(options)
        pool = Pool.open(home.pool) if options.montage else None
        pairs = find_random_pairs(version, home.random_pairs(options.index))
        try:
            queries, answers = _search(options, version, pool, k, search, unused)
        except NotThereError:
            _explain(options, version)
            raise
    if options.json:
        print(
            json.dumps(
                [_answer_to_json(query, answers[i], pairs) for i, query in enumerate(queries)], indent=1
            )
        )
    else:
        print("\n\n".join(_format_answer(query, answers[i], pairs) for i, query in enumerate(queries)))
    _tell_removed(options, answers.hand_ids[answers.is_found])
    if pool is not None:
        draw_montage(pool, queries, answers).save(options.montage, _PICTURE_FORMATS[options.montage.suffix])
        if not options.json:
            print(f"\nmontage: {options.montage}")
    for line in unused:
        print(f"handsim: {line}", file=sys.stderr)
    return EXIT_BAD_INPUT if unused else 0


def _check(options: argparse.Namespace) -> None:
    """Raise HandsimError for options that do not go together."""
    if options.k is not None and options.k < 1:
        raise HandsimError(f"k is {options.k}; ask for at least 1 hand")
    if options.montage is not None and options.montage.suffix not in _PICTURE_FORMATS:
        raise HandsimError(
            f"--montage {options.montage} does not end in {', '.join(_PICTURE_FORMATS)}; name it so"
        )
    is_search = _asks_for_likeness(options)
    if not is_search and not options.random and options.list is None:
        raise HandsimError(
            "what to search for? Give an image, --hand, --keypoints or --like; --random and --list show "
            "hands without a search"
        )
    if "" in (options.list or ()) and (is_search or options.random):
        raise HandsimError("--list goes with --random or a search only if it names a list: --list NAME")
    for name, value, partner, remedy in (
        ("--unlike", options.unlike, options.like, "--like"),
        ("--after", options.after, options.list is not None and not is_search, "--list, without a search"),
        ("--left", options.left, options.keypoints, "--keypoints"),
        ("--other-video", options.other_video, options.hand is not None or options.like, "--hand or --like"),
    ):
        if value and not partner:
            raise HandsimError(f"{name} goes with {remedy}; leave it out, or ask with that")
    for name, value in (
        ("--one-per-video", options.one_per_video),
        ("--min-distance", options.min_distance),
        ("--max-distance", options.max_distance is not None),
        ("--diversity", options.diversity),
        ("--exact", options.exact),
        ("--ef", options.ef is not None),
        ("--montage", options.montage),
    ):
        if value and not is_search:
            raise HandsimError(f"{name} is about likeness; leave it out with --random and --list")


def _asks_for_likeness(options: argparse.Namespace) -> bool:
    """Whether there is something to search for; else hands are shown as they come."""
    subjects = (options.hand, options.keypoints, options.like)
    return bool(options.images) or any(subject is not None for subject in subjects)


def _search(
    options: argparse.Namespace,
    version: IndexVersion,
    pool: Pool | None,
    k: int,
    search: SearchOptions,
    unused: list[str],
) -> tuple[Sequence[Query], Neighbors]:
    """The queries and their answers; ``unused`` gets a line for each image that cannot be used."""
    if options.hand is not None:
        hand_id = parse_hand_id(options.hand)
        neighbors = version.search_hands([hand_id], k, other_video=options.other_video, options=search)
        return [Query.from_hand(hand_id, version, pool)], neighbors
    if options.like is not None:
        like, unlike = ([parse_hand_id(text) for text in ids] for ids in (options.like, options.unlike))
        neighbors = version.recommend(like, unlike, k, other_video=options.other_video, options=search)
        return [Query.from_examples(like, unlike, version, pool)], neighbors
    if options.keypoints is not None:
        queries = read_queries(options.keypoints, "left" if options.left else "right")
        for query in queries if version.embedding.kind != "image" else ():
            assert query.keypoints is not None
            check_joints(f"{query.title[0]} of {options.keypoints}", query.keypoints, version.embedding)
    else:
        queries = _detect_all(options, unused)
    crops = [query.crop for query in queries if query.crop is not None]
    keypoints = np.stack([query.keypoints for query in queries if query.keypoints is not None])
    vectors = version.embedding.embed(keypoints=keypoints, crops=crops or None)
    return queries, version.search(vectors, k, options=search)


def _detect_all(options: argparse.Namespace, unused: list[str]) -> list[Query]:
    """The hands of all images; raises the error of the first image if no image can be used."""
    queries: list[Query] = []
    errors: list[HandsimError] = []
    with closing(open_detector(read_detector_options(options))) as detector:
        for path in options.images:
            try:
                queries += detect_queries(path, detector)
            except HandsimError as error:
                errors.append(error)
    if not queries:
        raise errors[0]
    unused += map(str, errors)
    return queries


def _explain(options: argparse.Namespace, version: IndexVersion) -> None:
    """Of a hand that the index lacks: raise HandsimError if that is because of its joints or side."""
    home = find_home(options)
    if home.pool.is_dir():
        names = [options.hand] if options.hand is not None else [*(options.like or ()), *options.unlike]
        check_hands([parse_hand_id(name) for name in names], version.embedding, Pool.open(home.pool))


def _answer_to_json(query: Query, neighbors: Sequence[Neighbor], pairs: RandomPairs) -> dict[str, Any]:
    return {
        "query": query.metadata,
        "neighbors": [
            {
                "rank": rank,
                "hand_id": format_hand_id(neighbor.hand_id),
                "distance": neighbor.distance,
                "nearer_than": pairs.share_further(neighbor.distance),
                **(neighbor.payload or {}),
            }
            for rank, neighbor in enumerate(neighbors, start=1)
        ],
    }


def _format_answer(query: Query, neighbors: Sequence[Neighbor], pairs: RandomPairs) -> str:
    title = ", ".join(query.title)
    if not neighbors:
        return f"{title}\n  {_NO_HAND}"
    rows = [
        [
            str(rank),
            format_hand_id(neighbor.hand_id),
            f"{neighbor.distance:.3f}",
            describe_place(pairs.share_further(neighbor.distance)).removeprefix("nearer than "),
            *_cells(neighbor.payload),
        ]
        for rank, neighbor in enumerate(neighbors, start=1)
        if neighbor.payload is not None
    ]
    return f"{title}\n{format_table(['>rank', 'hand', '>distance', '>nearer than', *_COLUMNS], rows)}"


def _cells(payload: Payload) -> list[str]:
    return [payload["video"], payload["side"], payload["source"], payload["label"] or ""]


def _pick_hands(
    options: argparse.Namespace, version: IndexVersion, k: int, filter_: Filter | None
) -> NDArray[np.uint64]:
    """At most k hands without a search: random ones, or the next ones by id."""
    if options.random:
        return version.sample(k, filter_)
    after = -1 if options.after is None else parse_hand_id(options.after)
    pages = version.scroll(filter_, batch=k, start=after + 1, with_payload=False)
    return next((page.hand_ids for page in pages), np.empty(0, dtype=np.uint64))


def _tell_removed(options: argparse.Namespace, hand_ids: NDArray[np.uint64]) -> None:
    """Say so if the index is older than the removal of hands in its answer."""
    removed = np.intersect1d(hand_ids, read_removed(find_home(options).pool))
    if removed.size:
        hands = pluralize(removed.size, "of these hands was", "of these hands were")
        print(
            f"{hands} removed from the pool since (first: {format_hand_id(int(removed[0]))}); `handsim index "
            f"add` makes a version without {'it' if removed.size == 1 else 'them'}",
            file=sys.stderr,
        )


def _print_hands(options: argparse.Namespace, hand_ids: NDArray[np.uint64], version: IndexVersion) -> None:
    hands = list(zip(map(format_hand_id, hand_ids.tolist()), version.payloads(hand_ids), strict=True))
    if options.json:
        print(json.dumps([{"hand_id": hand, **payload} for hand, payload in hands], indent=1))
    elif not hands:
        print(_NO_HAND)
    else:
        rows = [[hand, *_cells(payload), f"{payload['score']:.2f}"] for hand, payload in hands]
        print(format_table(["hand", *_COLUMNS, ">score"], rows))
