"""The report of an ingest in the terminal: a few lines, and a table of what was not as it should be."""

import shutil
from typing import Final

from apps.cli.console import printable, shorten
from handsim.english import pluralize
from handsim.home import Home
from handsim.ingest import IngestReport
from handsim.ingest.report import TableRow

_WIDTH: Final = 120
"""Columns of the table where there is no terminal."""
_COUNT: Final = 8
_MIN_FIRST: Final = 30
_MIN_DETAIL: Final = 20


def describe_report(report: IngestReport, home: Home, build: str) -> str:
    """The lines to print; ``build`` is the command that builds an index of this home."""
    lines = describe_work(report)
    if report.shard is not None:
        lines.append(f"this is shard {report.shard}; `handsim pool merge` brings all of them together")
    if table := report.table():
        lines += ["", *_describe_table(table)]
        if not report.dry_run:
            lines += ["", f"all of it: {home.ingest_report}"]
    if report.hands_renamed and not report.dry_run:
        lines.append(f"the index has the old names still; next: {build}")
    if report.interrupted:
        lines.append("stopped before the end; the same command goes on from here")
    elif report.hands_new and not report.hands_renamed:
        lines.append(f"next: {build}")
    return "\n".join(lines)


def describe_work(report: IngestReport) -> list[str]:
    """What was done and what came of it, in lines."""
    if report.dry_run:
        to_do = ", ".join(f"{count:,} {kind}" for kind, count in report.to_do.items())
        lines = [f"would look at {to_do or 'nothing'}; nothing was done"]
    else:
        lines = [
            f"{pluralize(report.done_now, 'picture')} in {report.seconds:.0f} s: "
            f"{pluralize(report.hands_found, 'hand')}, "
            f"{report.hands_new:,} of them new; the pool holds {report.hands_in_pool:,}"
        ]
    if report.tracks:
        lines.append(f"{pluralize(report.tracks, 'hand')} followed over the frames of videos")
    if len(report.detectors) > 1:
        found = ", by ".join(f"{name}: {count:,}" for name, count in report.detectors.items())
        lines.append(f"found by {found}")
    if report.done_before:
        lines.append(
            f"{pluralize(report.done_before, 'picture was', 'pictures were')} done by an earlier run"
        )
    if report.retried:
        retried = pluralize(report.retried, "picture")
        again = "to be looked at again" if report.dry_run else "looked at again"
        lines.append(f"{retried} {again}, which gave nothing or not all before")
    return lines


def _describe_table(rows: list[TableRow]) -> list[str]:
    """A line per kind, in blocks, as wide as the terminal where that is wide enough."""
    what = max(len(row.what) for row in rows)
    columns = shutil.get_terminal_size((_WIDTH, 0)).columns
    first = max(_MIN_FIRST, columns - what - _COUNT - max(len(row.remedy) for row in rows) - 8)
    lines: list[str] = []
    block = ""
    for row in rows:
        if row.block != block:
            block = row.block
            lines.append(
                f"{block:<{what + 2}}  {'how many':>{_COUNT}}  {'first of them':<{first}}  what to do"
            )
        named = _fit(printable(row.first), printable(row.detail), first)
        lines.append(f"  {row.what:<{what}}  {row.count:>{_COUNT},}  {named:<{first}}  {row.remedy}")
    return lines


def _fit(name: str, detail: str, width: int) -> str:
    """A name, and what is wrong where there is room to say it."""
    room = width - len(name) - 3
    if not detail or room < min(len(detail), _MIN_DETAIL):
        return shorten(name, width)
    return f"{name} ({detail if len(detail) <= room else detail[: room - 3] + '...'})"
