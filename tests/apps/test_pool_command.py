"""``handsim pool subset``."""

from pathlib import Path

import pytest

from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.apps.commands import run_ok, run_refused


def test_a_subset_is_a_home_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, small = tmp_path / "home", tmp_path / "some" / "small"
    synthesise_pool(home / "pool", SyntheticConfig(videos=3, hands_per_video=4, size_px=32))
    answer = run_ok(capsys, "pool", "subset", "5", "--to", small, "--home", home)
    assert answer == f"5 hands in {small}/pool; next: handsim index build --home {small}\n"
    some = Pool.open(small / "pool")
    assert {*some.hand_ids.tolist()} < {*Pool.open(home / "pool").hand_ids.tolist()}
    assert some.crop(int(some.hand_ids[0])).shape == (32, 32, 3)
    assert "pool is there already" in run_refused(
        capsys, "pool", "subset", "5", "--to", small, "--home", home
    )
    assert "13 hands cannot be taken of" in run_refused(
        capsys, "pool", "subset", "13", "--to", tmp_path / "x", "--home", home
    )
    assert "there is no pool at" in run_refused(
        capsys, "pool", "subset", "5", "--to", tmp_path / "x", "--home", tmp_path / "none"
    )
