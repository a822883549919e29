import json
from itertools import pairwise
from pathlib import Path

import pytest

from apps.browser.training.runs import Metrics, parse_line, read_latest


def _line(step: int, **numbers: float | None) -> str:
    return json.dumps({"step": step, **numbers}) + "\n"


def _values(metrics: Metrics, name: str = "loss") -> list[float]:
    values: list[float] = metrics.points()[name][1].tolist()
    return values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def test_what_is_added_is_read_on(file: Path) -> None:
    metrics = Metrics(file)
    metrics.advance()
    assert metrics.points() == {}
    file.write_text(_line(1, loss=3.0))
    metrics.advance()
    with file.open("a") as more:
        more.write(_line(2, loss=2.0, lr=0.1))
    metrics.advance()
    metrics.advance()
    assert _values(metrics) == [3.0, 2.0]
    assert _values(metrics, "lr") == [0.1]


def test_half_a_line_is_waited_for(file: Path) -> None:
    metrics = Metrics(file)
    whole = _line(1, loss=3.0) + _line(2, loss=2.0)
    for cut in range(len(whole) + 1):
        file.write_text(whole[:cut])
        metrics.advance()
        assert _count(metrics) == whole[:cut].count("\n")


def _count(metrics: Metrics) -> int:
    return len(metrics.points()["loss"][0]) if metrics.points() else 0


def test_what_is_no_metric_is_left_out(file: Path) -> None:
    lines = [
        _line(1, loss=3.0, data_wait=None),
        '{"step": 2, "loss": NaN}\n',
        '{"step": 3, "lo\n',
        "[]\n",
        '{"loss": 9}\n',
        '{"step": 4, "loss": "low", "is_good": true}\n',
        "\x00\xff\n",
        '{"step": 4, "loss": 1' + "0" * 400 + "}\n",
        '{"step": 1' + "0" * 400 + ', "loss": 9}\n',
        "[" * 100_000 + "\n",
        _line(5, loss=1.0),
    ]
    file.write_bytes("".join(lines).encode("latin-1"))
    metrics = Metrics(file)
    metrics.advance()
    assert set(metrics.points()) == {"loss"}
    assert _values(metrics) == [3.0, 1.0]


def test_a_resumed_run_that_dropped_lines_is_read_anew(file: Path) -> None:
    metrics = Metrics(file)
    file.write_text("".join(_line(step, loss=float(step)) for step in range(20)))
    metrics.advance()
    # Written anew, and by now longer than before.
    file.write_text("".join(_line(step, loss=100.0 + step) for step in range(30)))
    metrics.advance()
    assert _values(metrics) == [100.0 + step for step in range(30)]


def test_of_a_run_that_is_gone_stays_what_was_read(file: Path) -> None:
    metrics = Metrics(file)
    file.write_text(_line(1, loss=3.0))
    metrics.advance()
    file.unlink()
    metrics.advance()
    assert _values(metrics) == [3.0]
    assert metrics.behind_bytes == 0


def test_a_long_file_is_read_in_portions_and_each_byte_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(_line(step, loss=1.0) for step in range(60_000))
    file.write_text(lines)
    metrics = Metrics(file)
    seen = [metrics.behind_bytes]
    while metrics.behind_bytes:
        metrics.advance(budget_bytes=2**18)
        seen.append(metrics.behind_bytes)
    assert len(seen) > 2
    assert all(before - after <= 2 * 2**20 for before, after in pairwise(seen))
    steps, _ = metrics.points()["loss"]
    assert steps.mean() == pytest.approx(29_999.5, rel=1e-3)
    monkeypatch.setattr(json, "loads", lambda line: pytest.fail("a line was read again"))
    metrics.advance()


def test_a_line_without_end_does_not_hold_it_up(file: Path) -> None:
    file.write_text("x" * (3 * 2**20) + "\n" + _line(7, loss=3.0))
    metrics = Metrics(file)
    metrics.advance()
    assert _values(metrics) == [3.0]


def test_the_latest_numbers_are_those_of_the_last_lines(file: Path) -> None:
    many = "".join(_line(step, loss=float(step)) for step in range(5000))
    file.write_text(many + _line(5000, val_mpjpe_mm=12.5) + '{"step": 50')
    assert read_latest(file) == {"step": 5000, "loss": 4999.0, "val_mpjpe_mm": 12.5}


def test_a_line_tells_numbers_alone() -> None:
    assert parse_line(b'{"step": 2, "a": 1, "b": null, "c": [1]}') == {"step": 2.0, "a": 1.0}
    assert parse_line(b"") is None
    assert all(parse_line(line) is None for line in (b"3", b'{"a": 1}', b"{"))
