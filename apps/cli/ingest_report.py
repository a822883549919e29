"""The report of an ingest in the terminal: a few lines, and a table of what was not as it should be."""

from typing import Final

from handsim.home import Home
from handsim.ingest import IngestReport
from handsim.ingest.report import TableRow

_FIRST_WIDTH: Final = 50
_NAME_TAIL: Final = 28


def describe_report(report: IngestReport, home: Home) -> str:
    """The lines to print."""
    lines = _describe_work(report)
    if table := report.table():
        lines += ["", *_describe_table(table)]
        if not report.dry_run:
            lines += ["", f"all of it: {home.ingest_report}"]
    if report.hands_renamed and not report.dry_run:
        lines.append("the index has the old names still: handsim index build")
    if report.interrupted:
        lines.append("stopped before the end; the same command goes on from here")
    elif report.hands_in_pool and not report.hands_renamed:
        lines.append("next: handsim index build")
    return "\n".join(lines)


def _describe_work(report: IngestReport) -> list[str]:
    if report.dry_run:
        to_do = ", ".join(f"{count:,} {kind}" for kind, count in report.to_do.items())
        lines = [f"would look at {to_do or 'nothing'}; nothing was done"]
    else:
        lines = [
            f"{report.done_now:,} pictures in {report.seconds:.0f} s: {report.hands_found:,} hands, "
            f"{report.hands_new:,} of them new; the pool holds {report.hands_in_pool:,}"
        ]
    if report.done_before:
        lines.append(f"{report.done_before:,} pictures were done by an earlier run")
    if report.retried:
        again = "would be looked at" if report.dry_run else "were looked at"
        lines.append(f"{report.retried:,} pictures {again} again, which gave nothing or not all before")
    return lines


def _describe_table(rows: list[TableRow]) -> list[str]:
    """A line per kind, in blocks."""
    width = max(len(row.what) for row in rows)
    lines: list[str] = []
    block = ""
    for row in rows:
        if row.block != block:
            block = row.block
            lines.append(
                f"{block:<{width + 2}}  {'how many':>8}  {'first of them':<{_FIRST_WIDTH}}  what to do"
            )
        first = _shorten(_printable(row.first))
        lines.append(f"  {row.what:<{width}}  {row.count:>8,}  {first:<{_FIRST_WIDTH}}  {row.remedy}")
    return lines


def _printable(text: str) -> str:
    """Names may hold line breaks, and codes that move the cursor."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _shorten(text: str) -> str:
    """Without the middle: the end of a name says more than the folders before it."""
    if len(text) <= _FIRST_WIDTH:
        return text
    return f"{text[: _FIRST_WIDTH - _NAME_TAIL - 3]}...{text[-_NAME_TAIL:]}"
