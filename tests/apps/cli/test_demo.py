"""``handsim demo``, small: everything it leaves, and what the report shows."""

import re
from pathlib import Path

import pytest

from handsim.pool import Pool
from tests.apps.commands import run_ok


@pytest.mark.slow
def test_the_demo_ends_in_a_report_that_stands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run_ok(capsys, "demo", "--videos", "8", "--hands-per-video", "5")
    home = tmp_path / "handsim-demo"
    assert [line[:4] for line in printed.splitlines() if "/6 " in line] == [f"{n}/6 " for n in range(1, 7)]
    assert f"Open {home / 'report.html'} in a browser" in printed
    assert "browse --home handsim-demo" in printed
    assert len(Pool.open(home / "pool")) == 40
    assert (home / "pairs.parquet").exists()
    assert (home / "runs" / "retrieval" / "retrieval.json").exists()
    page = (home / "report.html").read_text()
    assert "<b>40</b><span>hands in 8 videos</span>" in page
    assert len(re.findall(r'<img alt="[^"]+" src="data:image/(?:png|jpeg);base64,', page)) == 4
    assert "http" not in page.replace("https://", "").partition("<h1>")[2].partition("What to try")[0]
