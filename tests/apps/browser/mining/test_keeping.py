from pathlib import Path

import pytest

from apps.browser.library import Library
from apps.browser.mining import measure as keeping
from apps.browser.mining.measure import cached_trial
from apps.browser.mining.policy import MiningTrial
from apps.browser.serve import BrowserSettings
from handsim.pool import Pool


def test_a_trial_is_asked_for_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, pool = Library(BrowserSettings(home)), Pool.open(home / "pool")
    keeping._cached.clear()
    with library.open_version() as version:
        first = cached_trial(library, pool, version, MiningTrial(seed=1))
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(keeping, "try_policy", lambda *asked: pytest.fail("it was asked for again"))
            again = cached_trial(library, pool, version, MiningTrial(seed=1))
        other = cached_trial(library, pool, version, MiningTrial(seed=2))
    assert again.random_distances.tolist() == first.random_distances.tolist()
    assert other.random_distances.tolist() != first.random_distances.tolist()
