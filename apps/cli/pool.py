"""``handsim pool ...``: looking after a pool."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.cli.console import find_home, format_table
from handsim.home import Home

if TYPE_CHECKING:
    from handsim.pool.info import PoolInfo

_SHOWN: Final = 6
"""Values of a column that `info` shows; the others are summed up."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``handsim pool``."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    info = actions.add_parser("info", help="what is in it: sources, videos, sides, scores, labels, disk")
    info.add_argument("--json", action="store_true", help="all of it, as JSON")
    info.set_defaults(run=_info)
    line = "a home with some of this home's hands: whole videos, smaller subsets within larger ones"
    subset = actions.add_parser("subset", help=line)
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
            f"({info.largest_video})"
        )
    crops, tables = info.crop_bytes / 1e6, info.table_bytes / 1e6
    duplicates = "not looked for (`handsim pool duplicates`)"
    if info.duplicates is not None:
        duplicates = f"{info.duplicates:,} hands in {info.duplicate_groups:,} groups"
    rows = [
        ["pool", f"{pool}, {info.parts:,} parts"],
        ["hands", f"{info.hands:,}{hands}"],
        ["sources", _list_counts(info.sources)],
        ["sides", _list_counts(info.sides)],
        ["videos", videos],
        ["labels", _list_counts(info.labels | {"(none)": info.without_label})],
        ["duplicates", duplicates],
        ["scores", ", ".join(f"{name} {score:.2f}" for name, score in info.scores.items())],
        ["disk", f"crops of {info.crop_size_px} px {crops:,.1f} MB, tables {tables:,.1f} MB"],
        ["ingested", f"{info.pictures:,} pictures and frames in {info.items:,} items"],
        ["without use", _list_counts(info.skipped) or "none"],
    ]
    return format_table(["", ""], rows).lstrip("\n")


def _list_counts(counts: dict[str, int]) -> str:
    """The first of them; the others are summed up."""
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:_SHOWN] if count]
    rest = list(counts.values())[_SHOWN:]
    return ", ".join([*shown, f"{len(rest):,} others {sum(rest):,}"] if rest else shown)


def _subset(options: argparse.Namespace) -> int:
    from handsim.pool.subset import write_subset

    target = Home(options.to)
    write_subset(find_home(options).pool, target.pool, options.hands)
    print(f"{options.hands:,} hands in {target.pool}; next: handsim index build --home {target.path}")
    return 0
