"""``handsim pool ...``: looking after a pool."""

import argparse
import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.cli import pool_duplicates, pool_export, pool_relabel
from apps.cli.console import add_action, find_home, format_command, format_table, shorten
from apps.cli.selection import add_selection_arguments, check_names, read_selection, tell_absent
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.geometry import POOL_ENLARGEMENT
from handsim.home import Home
from handsim.pool import Pool
from handsim.pool.compact import compact
from handsim.pool.layout import read_removed
from handsim.pool.merge import MergeReport, merge
from handsim.pool.removal import remove, restore
from handsim.pool.selection import parse_ids
from handsim.pool.subset import write_subset

if TYPE_CHECKING:
    from handsim.pool.info import PoolInfo

_SHOWN: Final = 6
"""Values of a column that `info` shows; the others are summed up."""
_NAME_WIDTH: Final = 40
_SKIPS: Final = {"no hand": "no hand found"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim pool``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    info = add_action(actions, "info", "what is in it: sources, videos, sides, scores, labels, disk")
    info.add_argument("--json", action="store_true", help="all of it, as JSON")
    info.set_defaults(run=_info)
    _add_subset_arguments(actions)
    _add_removal_arguments(actions)
    _add_merge_arguments(actions)
    pool_relabel.add_arguments(actions)
    pool_duplicates.add_arguments(actions)
    pool_export.add_arguments(add_action(actions, "export", "hands in the formats of other tools"))


def _add_subset_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    line = "a home with some of this home's hands: whole videos, smaller subsets within larger ones"
    subset = add_action(actions, "subset", line)
    subset.add_argument("hands", type=int, metavar="HANDS", help="how many")
    line = "the new home; crops are linked, not copied"
    subset.add_argument("--to", type=Path, required=True, metavar="HOME", help=line)
    subset.set_defaults(run=_subset)


def _info(options: argparse.Namespace) -> int:
    from handsim.pool.info import read_pool_info

    pool = find_home(options).pool
    info = read_pool_info(pool)
    print(json.dumps(asdict(info), indent=1, ensure_ascii=False) if options.json else _describe(pool, info))
    return 0


def _describe(pool: Path, info: "PoolInfo") -> str:
    """A line for each question."""
    kinds = {
        "with unlabelled joints": info.partly_labelled,
        "without a picture": info.without_crop,
        "removed from it": info.removed,
    }
    hands = "".join(f", {count:,} {kind}" for kind, count in kinds.items() if count)
    videos = f"{info.videos:,}"
    if info.largest_video is not None:
        videos += (
            f", median {info.median_hands_of_a_video:,.0f} hands, most {info.largest_video_hands:,} "
            f"({shorten(info.largest_video, _NAME_WIDTH)})"
        )
    crops, tables = info.crop_bytes / 1e6, info.table_bytes / 1e6
    duplicates = "not looked for (`handsim pool duplicates`)"
    if info.duplicates is not None:
        duplicates = (
            f"{pluralize(info.duplicates, 'hand')} in {pluralize(info.duplicate_groups or 0, 'group')}"
        )
    rows = [
        ["pool", f"{pool}, {pluralize(info.parts, 'part')}"],
        ["hands", f"{info.hands:,}{hands}"],
        ["sources", _list_counts(info.sources)],
        ["sides", _list_counts(info.sides)],
        ["videos", videos],
        ["tracks", _describe_tracks(info)],
        ["labels", _list_counts({"(none)": info.without_label} | info.labels)],
        ["duplicates", duplicates],
        ["scores", ", ".join(f"{name} {score:.2f}" for name, score in info.scores.items())],
        ["disk", f"crops of {info.crop_size_px} px {crops:,.1f} MB, tables {tables:,.1f} MB"],
        ["crops", _describe_crops(info)],
        [
            "ingested",
            f"{pluralize(info.pictures, 'picture or frame', 'pictures and frames')} in "
            f"{pluralize(info.items, 'item')}",
        ],
        ["skipped", _list_counts({_SKIPS.get(why, why): n for why, n in info.skipped.items()}) or "none"],
    ]
    return format_table(["", ""], rows).lstrip("\n")


def _describe_crops(info: "PoolInfo") -> str:
    line = f"{info.crop_enlargement:g} times as long as the hand's box"
    if info.crop_enlargement < POOL_ENLARGEMENT:
        line += (
            f"; views for pre-training reach beyond and repeat their edge: ingest into a new home for "
            f"{POOL_ENLARGEMENT:g} times"
        )
    return line


def _describe_tracks(info: "PoolInfo") -> str:
    if not info.tracks:
        return "none"
    return (
        f"{info.tracks:,} of {pluralize(info.tracked_hands, 'hand')}, "
        f"median {info.median_hands_of_a_track:,.0f} hands, {info.single_hand_tracks:,} of a single hand"
    )


def _list_counts(counts: dict[str, int]) -> str:
    """The first of them; the others are summed up."""
    shown = [f"{shorten(name, _NAME_WIDTH)} {n:,}" for name, n in list(counts.items())[:_SHOWN] if n]
    rest = list(counts.values())[_SHOWN:]
    return ", ".join([*shown, f"{pluralize(len(rest), 'other')} {sum(rest):,}"] if rest else shown)


def _subset(options: argparse.Namespace) -> int:
    target = Home(options.to)
    write_subset(find_home(options).pool, target.pool, options.hands)
    options.home, options.index = target.path, None
    build = format_command(options, "index build")
    print(f"{pluralize(options.hands, 'hand')} in {target.pool}; next: {build}")
    return 0


def _add_removal_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    action = add_action(actions, "remove", "hide hands from now on; no ingest adds them again")
    add_selection_arguments(action, "none")
    action.add_argument("--dry-run", action="store_true", help="only say how many")
    action.set_defaults(run=_remove)

    action = add_action(actions, "restore", "take a removal back")
    which = action.add_mutually_exclusive_group(required=True)
    which.add_argument("--ids", metavar="FILE|ID[,ID]", help="these hands, as for pool remove")
    which.add_argument("--all", action="store_true", help="all removed hands")
    action.set_defaults(run=_restore)

    action = add_action(actions, "compact", "give the space of removed hands back, for good")
    action.set_defaults(run=_compact)


def _remove(options: argparse.Namespace) -> int:
    selection = read_selection(options)
    if selection.is_everything:
        raise HandsimError("without a condition all hands would go; say which (--ids, --list, --video, ...)")
    path = find_home(options).pool
    with closing(Pool.open(path)) as pool:
        check_names(selection, pool)
        tell_absent(selection.among, pool)
        hand_ids, hands = pool.hand_ids[selection.rows(pool)].tolist(), len(pool)
    if options.dry_run:
        print(f"{len(hand_ids):,} of {pluralize(hands, 'hand')} would be removed")
        return 0
    count = remove(path, hand_ids)
    print(f"{pluralize(count, 'hand')} removed; the pool holds {hands - count:,}")
    if count:
        print(
            "`handsim pool restore` takes it back, `handsim pool compact` gives the space back; "
            f"next: {format_command(options, 'index add')}"
        )
    return 0


def _restore(options: argparse.Namespace) -> int:
    path = find_home(options).pool
    hand_ids = read_removed(path).tolist() if options.all else list(set(parse_ids(options.ids).ids or ()))
    count = restore(path, hand_ids)
    add = f"; next: {format_command(options, 'index add')}" if count else ""
    print(f"{pluralize(count, 'hand')} restored{add}")
    if gone := len(hand_ids) - count:
        print(
            f"{pluralize(gone, 'hand')} may be added again, but `handsim pool compact` deleted what was "
            f"here: ingest the files into another home, and `handsim pool merge` that one"
        )
    return 0


def _compact(options: argparse.Namespace) -> int:
    done = compact(find_home(options).pool)
    hands, parts = pluralize(done.hands, "removed hand"), pluralize(done.parts, "part")
    print(f"{hands} deleted: {done.freed_bytes / 1e6:,.1f} MB in {parts}")
    if done.is_in_use:
        print("the pool is being read: the space is free once that ends and something is written to the pool")
    return 0


def _add_merge_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    action = add_action(actions, "merge", "add the hands of other homes to this one")
    action.add_argument("homes", nargs="+", type=Path, metavar="HOME", help="homes; they stay as they are")
    line = "a video that has the name of another recording here becomes HOME/video"
    action.add_argument("--prefix-videos", action="store_true", help=line)
    action.add_argument("--dry-run", action="store_true", help="only say what would be added")
    action.set_defaults(run=_merge)


def _merge(options: argparse.Namespace) -> int:
    home = find_home(options)
    changed = 0
    for path in options.homes:
        prefix = path.resolve().name if options.prefix_videos else None
        report = merge(home.pool, Home(path).pool, prefix=prefix, dry_run=options.dry_run)
        changed += report.new_hands + report.removed_there
        print("\n".join(_describe_merge(path, report, prefix, "would be " if options.dry_run else "")))
    if not options.dry_run:
        with closing(Pool.open(home.pool)) as pool:
            add = f"; next: {format_command(options, 'index add')}" if changed else ""
            print(f"the pool holds {pluralize(len(pool), 'hand')}{add}")
    return 0


def _describe_merge(path: Path, report: MergeReport, prefix: str | None, verb: str) -> list[str]:
    added = pluralize(report.new_hands, "hand")
    lines = [f"{path}: {added} {verb}added, {report.shared_hands:,} in both pools"]
    clashes = report.clashes
    if clashes:
        videos = pluralize(len(clashes), "video has", "videos have")
        lines.append(f"  {videos} the name of another recording here: {clashes[0]}")
        lines[-1] += f"; {verb}renamed to {prefix}/..." if prefix else "; --prefix-videos renames such"
    for count, text in (
        (report.differing_hands, "with other keypoints there; those of this pool stay"),
        (report.duplicates, "with the crop and keypoints of a hand here under another id: pool duplicates"),
        (report.removed_here, "removed from this pool before, and left out"),
        (report.removed_there, f"of this pool {verb}removed, as it was there: pool restore"),
    ):
        if count:
            lines.append(f"  {pluralize(count, 'hand')} {text}")
    return lines
