"""Readers go on while a rebuilder is killed anywhere; the ten-minute form is `benchmarks/chaos.py`."""

from pathlib import Path

import pytest

from tests.index.chaos.stress import run_stress_test


@pytest.mark.slow
def test_readers_and_versions_outlive_a_rebuilder_killed_anywhere(tmp_path: Path) -> None:
    report = run_stress_test(tmp_path, kills=7, readers=2, pause_s=0.4)
    assert report["problems"] == []
    assert [reader["failures"] for reader in report["readers"]] == [[]] * 2
    assert all(reader["searches"] > 20 and reader["moves"] > 1 for reader in report["readers"])
    assert any(where.startswith("at ") for where in report["where"])
    assert any(where.startswith("after ") for where in report["where"])
