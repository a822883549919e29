"""The benchmark of the browser, without a browser."""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from apps.browser.serve import RunningServer
from benchmarks import browser
from handsim import PoolWriter
from handsim.home import Home
from tests.handsim.builders import make_hand


def test_it_tells_the_hands_of_the_home_it_was_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with PoolWriter(Home(tmp_path).pool) as writer:
        for number in range(3):
            writer.add(make_hand(number))
    monkeypatch.setattr(browser, "_OPENED_AFTER_S", 0)
    monkeypatch.setattr(browser, "chromium", nullcontext)
    monkeypatch.setattr(browser, "run_server", lambda home: nullcontext(RunningServer("http://here", 1)))
    monkeypatch.setattr(browser, "first_page_s", lambda *asked: 0.5)
    monkeypatch.setattr(browser, "measure", lambda *asked: {"clicks": asked[-1]})
    monkeypatch.setattr(sys, "argv", ["browser", "--home", str(tmp_path), "--clicks", "7"])
    browser.main()
    report = json.loads(capsys.readouterr().out)
    assert (report["hands"], report["clicks"], report["first_page_as_soon_as_up_s"]) == (3, 7, 0.5)
