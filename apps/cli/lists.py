"""``handsim list ...``: named lists of hands, made here or in the browser, which every command reads."""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import add_action, disarm_formula, find_home, format_table
from apps.cli.selection import add_selection_arguments, read_selection, tell_absent
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import refuse_existing, write_text_atomically
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.lists import HandLists
from handsim.pool import Pool

_COLUMNS: Final = ("hand_id", "video", "source", "side", "label", "frame", "score")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim list``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = add_action(actions, "create", "a new list")
    _add_name(create)
    create.add_argument("--note", default="", metavar="TEXT", help="a line about it")
    add_selection_arguments(create, "none")
    create.set_defaults(run=_create)
    for name, line, run in (
        ("add", "add hands to a list", _add),
        ("remove", "take hands off a list; the pool keeps them", _remove),
    ):
        change = add_action(actions, name, line)
        _add_name(change)
        add_selection_arguments(change, "none")
        change.set_defaults(run=run)

    show = add_action(actions, "show", "all lists, or the hands of one")
    show.add_argument("name", nargs="?", metavar="NAME")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)

    rename = add_action(actions, "rename", "give a list another name")
    _add_name(rename)
    rename.add_argument("new_name", metavar="NEW")
    rename.set_defaults(run=_rename)

    delete = add_action(actions, "delete", "delete a list; the pool keeps its hands")
    _add_name(delete)
    delete.set_defaults(run=_delete)

    export = add_action(actions, "export", "the hands of a list as a file of ids, with what the pool knows")
    _add_name(export)
    line = "a new .csv or .json, or .txt with the ids alone (default: ids, one a line, to standard output)"
    export.add_argument("--out", type=Path, metavar="FILE", help=line)
    export.set_defaults(run=_export)


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="letters, digits and ._-")


def _lists(options: argparse.Namespace) -> HandLists:
    return HandLists(find_home(options).lists)


def _create(options: argparse.Namespace) -> int:
    hand_ids = _select(options)
    _lists(options).create(options.name, hand_ids, options.note)
    print(f"{pluralize(len(hand_ids), 'hand')} in list {options.name}")
    return 0


def _add(options: argparse.Namespace) -> int:
    lists, hand_ids = _lists(options), _select(options)
    new = len(lists.add(options.name, hand_ids))
    known = len(hand_ids) - new
    note = f", {pluralize(known, 'was', 'were')} there before" if known else ""
    print(f"{pluralize(new, 'hand')} added{note}; {_describe_size(lists, options.name)}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    lists = _lists(options)
    gone = len(lists.remove(options.name, _select(options, absent_too=True)))
    print(f"{pluralize(gone, 'hand')} taken off; {_describe_size(lists, options.name)}")
    return 0


def _describe_size(lists: HandLists, name: str) -> str:
    return f"list {name} has {pluralize(len(lists.read(name)), 'hand')}"


def _select(options: argparse.Namespace, *, absent_too: bool = False) -> NDArray[np.uint64]:
    """Ids of the hands that the options choose; with ``absent_too``, ids alone need not be in the pool."""
    selection = read_selection(options)
    if selection.is_everything:
        raise HandsimError("which hands? Say so (--ids, --like, --list, --video, --label, ...)")
    if absent_too and selection.names_ids_alone:
        return np.array(selection.ids, dtype=np.uint64)
    pool = Pool.open(find_home(options).pool)
    tell_absent(selection.among, pool)
    return pool.hand_ids[selection.rows(pool)]


def _show(options: argparse.Namespace) -> int:
    home, lists = find_home(options), _lists(options)
    if options.name is not None:
        hands = lists.read(options.name)
        rows = _read_rows(home, hands.hand_ids)
        if options.json:
            print(json.dumps({"name": hands.name, "note": hands.note, "hands": rows}, indent=1))
        else:
            cells = [[_to_text(row.get(column)) for column in _COLUMNS] for row in rows]
            print(format_table(["hand", *_COLUMNS[1:-2], ">frame", ">score"], cells))
        return 0
    every = [lists.read(name) for name in lists.names()]
    if options.json:
        content = [
            {"name": each.name, "hands": len(each), "changed_at": each.changed_at, "note": each.note}
            for each in every
        ]
        print(json.dumps(content, indent=1, ensure_ascii=False))
    elif not every:
        print("no list yet; `handsim list create NAME`, or choose hands in the browser")
    else:
        table = [[each.name, f"{len(each):,}", each.changed_at[:16], each.note] for each in every]
        print(format_table(["list", ">hands", "changed (UTC)", "note"], table))
    return 0


def _read_rows(home: Home, hand_ids: NDArray[np.uint64]) -> list[dict[str, Any]]:
    """`describe_hands`; says on standard error how many of them the pool does not hold."""
    pool = Pool.open(home.pool)
    tell_absent(frozenset(hand_ids.tolist()), pool)
    return describe_hands(pool, hand_ids)


def describe_hands(pool: Pool, hand_ids: NDArray[np.uint64]) -> list[dict[str, Any]]:
    """What a pool knows of each hand [M], by column; of one that it does not hold, the id alone."""
    is_here = np.isin(hand_ids, pool.hand_ids)
    rows = pool.rows(hand_ids[is_here])
    columns = (
        *(column.values(rows) for column in (pool.videos, pool.sources, pool.sides, pool.labels)),
        pool.frames[rows].tolist(),
        [round(score, 6) for score in pool.scores[rows].tolist()],
    )
    known = zip(*columns, strict=True)
    return [
        dict(zip(_COLUMNS, (format_hand_id(hand_id), *(next(known) if here else ())), strict=False))
        for hand_id, here in zip(hand_ids.tolist(), is_here.tolist(), strict=True)
    ]


def _to_text(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)


def _rename(options: argparse.Namespace) -> int:
    _lists(options).rename(options.name, options.new_name)
    print(f"list {options.name} is {options.new_name} now")
    return 0


def _delete(options: argparse.Namespace) -> int:
    held = _lists(options).delete(options.name)
    print(f"list {options.name} of {pluralize(len(held), 'hand')} deleted; the pool keeps them")
    return 0


def _export(options: argparse.Namespace) -> int:
    hands, out = _lists(options).read(options.name), options.out
    if out is None:
        sys.stdout.writelines(f"{format_hand_id(hand_id)}\n" for hand_id in hands.hand_ids.tolist())
        return 0
    if out.suffix not in _WRITERS:
        raise HandsimError(f"--out {out} ends in none of {', '.join(_WRITERS)}, by which its format is told")
    refuse_existing(out)
    rows = _read_rows(find_home(options), hands.hand_ids)
    write_text_atomically(out, _WRITERS[out.suffix](rows))
    print(
        f"{pluralize(len(rows), 'hand')} in {out}; with pictures: handsim pool export --list {options.name}"
    )
    return 0


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a heading, which `--ids` reads."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: disarm_formula(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue()


def to_json(rows: Sequence[dict[str, Any]]) -> str:
    """A list of objects, which `--ids` reads."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def to_text(rows: Sequence[dict[str, Any]]) -> str:
    """Ids, one a line, which `--ids` reads."""
    return "".join(f"{row['hand_id']}\n" for row in rows)


_WRITERS: Final = {".csv": to_csv, ".json": to_json, ".txt": to_text}
"""Ending -> what makes the content of such a file."""
