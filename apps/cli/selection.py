"""The options that choose hands: what is known of them, their ids, or a query's answer."""

import argparse
import sys
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from typing import Final, get_args

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import find_catalog, find_home
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import SIDES, Side, parse_hand_id
from handsim.lists import HandLists
from handsim.pool import Pool
from handsim.pool.layout import are_removed
from handsim.pool.selection import Selection, parse_ids
from index import Filter, IndexVersion, SearchOptions

DEFAULT_K: Final = 10
"""Hands in the answer of a query."""
_SAMPLE: Final = 2000
_NAMED: Final = 8
"""Names, the most alike ones, that an error lists."""


def add_filter_arguments(group: argparse._ArgumentGroup, sides: Sequence[Side] = SIDES) -> None:
    """Declare the conditions that an index can search by, too; a pool may have hands of further sides."""
    for name, noun in (("source", "collection"), ("video", "recording or person"), ("label", "class")):
        group.add_argument(
            f"--{name}", action="append", metavar=name[0].upper(), help=f"only of this {noun}; repeatable"
        )
    group.add_argument("--side", choices=sides, help="only hands of this side, the subject's own")
    group.add_argument("--min-score", type=float, metavar="P", help="least confidence of detection, 0 to 1")


def add_list_argument(group: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Declare the option of commands that look at the hands of a list alone."""
    line = "only hands of this list (`handsim list`); repeatable: of either"
    group.add_argument("--list", action="append", metavar="NAME", help=line)


def read_lists(options: argparse.Namespace, names: Sequence[str] | None) -> frozenset[int] | None:
    """The hands of one or more lists of the home; None where none is named.

    Raises NotThereError for an unknown list, HandsimError for one without hands.
    """
    return HandLists(find_home(options).lists).union(names) if names else None


def tell_absent(hands: frozenset[int] | None, pool: Pool) -> None:
    """Say on standard error how many hands of lists the pool does not hold."""
    if hands is None:
        return
    ids = np.fromiter(hands, np.uint64, len(hands))
    absent = ids[~np.isin(ids, pool.hand_ids)]
    if absent.size:
        removed = int(are_removed(absent, pool.removed).sum())
        note = f", of which {removed:,} removed from it" if removed else ""
        print(f"{_of_the_list(absent.size, ids.size)} not in the pool{note}", file=sys.stderr)


def tell_unindexed(hands: frozenset[int] | None, is_indexed: NDArray[np.bool_]) -> None:
    """Say on standard error how many hands [M] of lists an index version does not hold."""
    if hands is not None and not is_indexed.all():
        missing = _of_the_list(int((~is_indexed).sum()), len(is_indexed))
        print(f"{missing} not in the index", file=sys.stderr)


def _of_the_list(count: int, total: int) -> str:
    return f"{count:,} of {pluralize(total, 'hand')} of the list {'is' if count == 1 else 'are'}"


def make_filter(
    options: argparse.Namespace,
    hands: frozenset[int] | None = None,
    not_hands: frozenset[int] | None = None,
) -> Filter | None:
    """The conditions of `add_filter_arguments`, and those of being among ``hands`` and not ``not_hands``.

    None without any.
    """
    filter_ = Filter(
        sources=options.source and tuple(options.source),
        sides=options.side and (options.side,),
        videos=options.video and tuple(options.video),
        labels=options.label and tuple(options.label),
        min_score=options.min_score,
        hands=hands,
        not_hands=not_hands,
    )
    return None if filter_ == Filter() else filter_


def check_names(chosen: Filter | Selection, pool: Pool) -> None:
    """Raise NotThereError for a source, video or label that no hand of the pool has."""
    for noun, names, column in (
        ("source", chosen.sources, pool.sources),
        ("video", chosen.videos, pool.videos),
        ("label", chosen.labels, pool.labels),
    ):
        for name in names or ():
            if name not in column.names:
                raise _unknown_name(noun, name, column.names, str(pool.path))


def check_names_in_index(filter_: Filter, version: IndexVersion) -> None:
    """As `check_names`, of an index version; what there is instead is known from a sample of its hands."""
    asked = [("source", Filter(sources=(name,)), name) for name in filter_.sources or ()]
    asked += [("video", Filter(videos=(name,)), name) for name in filter_.videos or ()]
    asked += [("label", Filter(labels=(name,)), name) for name in filter_.labels or ()]
    for noun, of_name, name in asked:
        if not len(version.sample(1, of_name)):
            payloads: list[dict[str, object]] = [
                {**each} for each in version.payloads(version.sample(_SAMPLE))
            ]
            known = {str(value) for payload in payloads if (value := payload[noun]) is not None}
            raise _unknown_name(noun, name, known, f"index version {version.info.name}")


def _unknown_name(noun: str, name: str, known: Collection[str], where: str) -> NotThereError:
    if not known:
        remedy = f"no hand has one; `handsim pool relabel --{noun}-from` gives {noun}s"
    else:
        shown = sorted(known, key=lambda other: (-SequenceMatcher(None, name, other).ratio(), other))[:_NAMED]
        remedy = f"there {'is' if len(known) == 1 else 'are'} {', '.join(sorted(shown))}"
        remedy += f" and {len(known) - len(shown):,} more" if len(known) > len(shown) else ""
    return NotThereError(f"no {noun} {name!r} in {where}; {remedy}")


def add_selection_arguments(parser: argparse.ArgumentParser, default: str = "all") -> None:
    """Declare the options of `read_selection`; the help says which hands are meant without any."""
    group = parser.add_argument_group(f"which hands (default: {default})")
    line = "these: a file (ids one a line, CSV, Parquet, JSON of handsim query), - for standard input, or ids"
    group.add_argument("--ids", metavar="FILE|ID[,ID]", help=line)
    group.add_argument("--like", metavar="ID", help="the answer of handsim query --hand ID, nearest first")
    group.add_argument("-k", "--k", type=int, metavar="K", help=f"with --like: how many ({DEFAULT_K})")
    add_filter_arguments(group, sides=get_args(Side))
    add_list_argument(group)
    group.add_argument("--max-score", type=float, metavar="P", help="greatest confidence, 0 to 1")
    line = "only of tracks (one hand over the frames of a video) with at"
    group.add_argument("--min-track", type=int, metavar="N", help=f"{line} least N hands")
    group.add_argument("--max-track", type=int, metavar="N", help=f"{line} most N hands")


def read_selection(options: argparse.Namespace) -> Selection:
    """The hands that the options choose; raises HandsimError for options that do not go together."""
    if options.k is not None and options.like is None:
        raise HandsimError("-k goes with --like; leave it out, or ask with that")
    if options.ids is not None and options.like is not None:
        raise HandsimError("--ids and --like both name the hands; give one of them")
    among = read_lists(options, options.list)
    if options.like is not None:
        named = _search(options, make_filter(options, among))
    else:
        named = Selection() if options.ids is None else parse_ids(options.ids)
    return Selection(
        ids=named.ids,
        sources=options.source and tuple(options.source),
        videos=options.video and tuple(options.video),
        sides=options.side and (options.side,),
        labels=options.label and tuple(options.label),
        min_score=options.min_score,
        max_score=options.max_score,
        min_track=options.min_track,
        max_track=options.max_track,
        among=among,
        distances=named.distances,
    )


def _search(options: argparse.Namespace, filter_: Filter | None) -> Selection:
    k = DEFAULT_K if options.k is None else options.k
    with find_catalog(options) as catalog, catalog.current() as version:
        if filter_ is not None:
            check_names_in_index(filter_, version)
        search = SearchOptions(filter=filter_)
        answer = version.search_hands([parse_hand_id(options.like)], k, options=search)[0]
    return Selection(
        ids=tuple(neighbor.hand_id for neighbor in answer),
        distances={neighbor.hand_id: neighbor.distance for neighbor in answer},
    )
