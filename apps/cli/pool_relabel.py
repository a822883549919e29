"""``handsim pool relabel``: other videos, labels and sides for hands that are in the pool."""

import argparse
import csv
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apps.cli.console import add_action, find_home, format_command, option_type
from apps.cli.selection import add_selection_arguments, check_names, read_selection
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.hand import SIDES, parse_hand_id
from handsim.ingest.origins import NameRule, Place
from handsim.pool import Categorical, Pool
from handsim.pool.relabel import change_sides, relabel

Names = dict[int, str | None]
"""Hand -> its new video, its new label, if any, or its new side."""


def add_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command line."""
    action = add_action(actions, "relabel", "other videos, labels and sides for hands; their ids stay")
    group = action.add_argument_group("the names and sides")
    video, label = (group.add_mutually_exclusive_group() for _ in range(2))
    for exclusive, noun in ((video, "video"), (label, "label")):
        line = f"the {noun} out of the name of the file that a hand came from, as in handsim ingest"
        exclusive.add_argument(
            f"--{noun}-from", type=option_type(NameRule), metavar="path|parent|stem|REGEX", help=line
        )
        line = f"this {noun} for all chosen hands"
        exclusive.add_argument(f"--set-{noun}", metavar="NAME", help=line)
    label.add_argument("--no-label", action="store_true", help="no label for any chosen hand")
    line = "the chosen hands are left, or right ones; where that was wrong, they are mirrored"
    group.add_argument("--set-side", choices=SIDES, help=line)
    line = "a table: id, and video, label, side; an empty video or side stays, an empty label is taken away"
    group.add_argument("--csv", type=Path, metavar="FILE", help=line)
    add_selection_arguments(action)
    action.add_argument("--dry-run", action="store_true", help="only say how many")
    action.set_defaults(run=_relabel)


def _relabel(options: argparse.Namespace) -> int:
    selection = read_selection(options)
    for_all = any((options.set_video, options.set_label, options.no_label, options.set_side))
    if bool(for_all or options.video_from or options.label_from) == (options.csv is not None):
        raise HandsimError(
            "give new names or a side by --csv or by other options (--set-label, ...), one of both"
        )
    if options.csv is not None and not selection.is_everything:
        raise HandsimError("--csv names the hands itself; leave the conditions out")
    if selection.is_everything and for_all:
        raise HandsimError(
            "one name or side for all hands of the pool is not meant; say which (--ids, --video, ...)"
        )
    path = find_home(options).pool
    with closing(Pool.open(path)) as pool:
        check_names(selection, pool)
        if options.csv is not None:
            videos, labels, sides = read_names(options.csv)
        else:
            rows = selection.rows(pool)
            videos = _make_names(pool, rows, options.video_from, options.set_video)
            labels = _make_names(pool, rows, options.label_from, options.set_label, none=options.no_label)
            sides = _make_names(pool, rows, None, options.set_side)
        videos, labels = _changes(pool, pool.videos, videos), _changes(pool, pool.labels, labels)
        sides = _changes(pool, pool.sides, sides)
    hands = pluralize(len(videos.keys() | labels.keys() | sides.keys()), "hand")
    names = f"{pluralize(len(videos), 'video')}, {pluralize(len(labels), 'label')}"
    names += f", {pluralize(len(sides), 'side')}" if sides else ""
    if options.dry_run:
        print(f"{hands} would change: {names}")
        return 0
    relabel(path, {hand_id: video for hand_id, video in videos.items() if video}, labels)
    change_sides(path, {hand_id: "left" if side == "left" else "right" for hand_id, side in sides.items()})
    print(f"{hands} changed: {names}")
    if videos or labels or sides:
        add = format_command(options, "index add")
        print(f"an index holds the names and sides of its day; next: {add}")
    return 0


def _make_names(
    pool: Pool, rows: NDArray[np.int64], rule: NameRule | None, name: str | None, *, none: bool = False
) -> Names:
    """The name of each hand by the rule or as given; a file that the rule does not match is left as it is."""
    hand_ids = pool.hand_ids[rows].tolist()
    if rule is None:
        return dict.fromkeys(hand_ids, name) if name or none else {}
    files = pool.read_files()
    by_file = [rule.name(Place.of_file(file)) for file in files.names]
    names = {hand_id: by_file[files.codes[row]] for hand_id, row in zip(hand_ids, rows, strict=True)}
    matched: Names = {hand_id: name for hand_id, name in names.items() if name}
    if len(matched) < len(names):
        first = next(hand_id for hand_id in names if hand_id not in matched)
        file = files[int(pool.rows(first)[0])]
        left = pluralize(len(names) - len(matched), "hand is", "hands are")
        print(f"{left} left as before: {rule.rule!r} gives no name for {file}")
    return matched


def _changes(pool: Pool, column: Categorical, names: Names) -> Names:
    """Those that are not so already; raises NotThereError for a hand that the pool does not hold."""
    before = column.values(pool.rows(list(names))) if names else []
    return {hand_id: name for (hand_id, name), old in zip(names.items(), before, strict=True) if name != old}


def read_names(path: Path) -> tuple[Names, Names, Names]:
    """New videos, labels and sides out of a table; raises HandsimError, with the line, for a bad one."""
    videos: Names = {}
    labels: Names = {}
    sides: Names = {}
    seen: set[int] = set()
    for place, row in _read_rows(path):
        try:
            hand_id = parse_hand_id((row["id"] or "").strip())
        except HandsimError as error:
            raise HandsimError(f"{place}: {error}") from error
        if hand_id in seen:
            raise HandsimError(f"{place}: hand {row['id']} comes twice; leave one line out")
        seen.add(hand_id)
        if row.get("video"):
            videos[hand_id] = row["video"]
        if "label" in row:
            labels[hand_id] = row["label"] or None
        if side := row.get("side"):
            if side not in SIDES:
                raise HandsimError(f"{place}: side {side!r} is neither left nor right; mend the line")
            sides[hand_id] = side
    return videos, labels, sides


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """The rows of a table by the names of its columns, each with its place in words."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = reader.fieldnames or ()
            if "id" not in columns or not {"video", "label", "side"} & set(columns):
                found = ", ".join(columns) or "none"
                raise HandsimError(f"{path} has the columns {found}; give id, and video, label or side")
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():  # a short line must not take a label away
                    raise HandsimError(f"{place} has not as many values as the heading; mend the line")
                yield place, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HandsimError(f"{path} cannot be read as CSV: {error}") from error
