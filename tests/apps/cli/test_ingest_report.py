"""The report of an ingest in the terminal."""

from pathlib import Path

import pytest

from apps.cli.ingest_report import describe_report
from handsim.home import Home
from handsim.ingest import IngestReport
from handsim.pool import Skip


def test_each_kind_is_a_row_that_names_the_first_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    report = IngestReport(["photos"], pictures=9, done_now=9, hands_found=4, hands_new=4, hands_in_pool=4)
    long = "photos/" + "deep/" * 20 + "a\nb\x1b[2J.jpg"
    for name in ("z.txt", "y.txt"):
        report.skipped.extend([Skip(long, "corrupt image", "bad"), Skip(name, "not an image or video")])
    report.remarks.append(Skip("photos/1.jpg", "no end marker"))
    for name in (".DS_Store", ".git"):
        report.findings.note("hidden", f"photos/{name}", "rename it to use it")
    lines = describe_report(report, Home(Path("home")), "handsim index build").splitlines()
    assert lines[-1] == "next: handsim index build"
    assert lines[0].startswith("9 pictures in 0 s: 4 hands")
    assert max(map(len, lines)) <= 100
    rows = {line[2:23].strip(): line[23:] for line in lines if line.startswith("  ")}
    assert list(rows) == ["corrupt image", "not an image or video", "no end marker", "hidden"]
    assert r"deep/deep/a\nb\x1b[2J.jpg" in rows["corrupt image"]
    assert rows["corrupt image"].split()[0] == "2"
    assert rows["hidden"].split()[:2] == ["2", "photos/.DS_Store"]
    saved = report.to_json()
    assert [row["block"] for row in saved["table"]][1:] == ["not used", "used all the same", "to know"]
    assert saved["remarks"][0]["reason"] == "no end marker"


def test_an_ingest_that_found_nothing_new_suggests_nothing() -> None:
    again = IngestReport(["photos"], pictures=9, done_before=9, hands_in_pool=4)
    assert "next:" not in describe_report(again, Home(Path("home")), "handsim index build")
