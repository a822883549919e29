"""Readers go on while a rebuilder is killed anywhere; the ten-minute form is `benchmarks/chaos.py`."""

from pathlib import Path

from tests.index.chaos.siege import besiege


def test_readers_and_versions_outlive_a_rebuilder_killed_anywhere(tmp_path: Path) -> None:
    seen = besiege(tmp_path, kills=8)
    assert seen["wrong"] == []
    assert [reader["failures"] for reader in seen["readers"]] == [[]] * 4
    assert all(reader["questions"] > 20 and reader["moves"] > 1 for reader in seen["readers"])
    assert any(where.startswith("at ") for where in seen["where"])
    assert any(where.startswith("after ") for where in seen["where"])
