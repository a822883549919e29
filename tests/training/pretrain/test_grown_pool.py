"""A run is stopped, the pool grows, the index is built again: it goes on as it began, or says what to do."""

import shutil
from pathlib import Path

import pytest

from handsim import PoseEmbedding
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.pool import Pool
from handsim.pool.removal import remove
from handsim.synthetic import SyntheticConfig, synthesise_pool
from index import open_catalog
from tests.training.builders import at_step, interrupt
from tests.training.pretrain.builders import HANDS_PER_VIDEO, POOL_PX, VIDEOS, Place

pytestmark = pytest.mark.slow

OWN = ["--pairs.positives=own"]


@pytest.fixture
def grown(world: Path, tmp_path: Path, one_thread: None) -> Place:
    """Two runs of three steps of six, `cut` and `own`; since then the pool has 10 hands more, and v0002."""
    home = Home(tmp_path / "home")
    shutil.copytree(world / "pool", home.pool)
    shutil.copytree(world / "index", home.index)
    place = Place(home)
    for name, overrides in (("cut", []), ("own", OWN)):
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, 3, interrupt)
            place.train(name, overrides)
    synthesise_pool(home.pool, SyntheticConfig(VIDEOS + 2, HANDS_PER_VIDEO, size_px=POOL_PX))
    build(place)
    return place


def build(place: Place) -> None:
    pool = Pool.open(place.home.pool)
    with open_catalog(place.home.index) as catalog:
        catalog.build(pool, PoseEmbedding.fit(pool, 5))


def log(place: Place, run: str = "cut") -> str:
    return (place.folder(run).path / "log.txt").read_text()


def test_it_goes_on_in_the_version_it_began_with_as_if_nothing_was_added(grown: Place, world: Path) -> None:
    whole = Place.beside(world, grown.home.path.parent / "whole")
    whole.train("plain")
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 4, interrupt)
        grown.train("cut", resume=True)
    assert grown.train("cut", resume=True).finished  # and once more
    assert grown.losses("cut") == whole.losses("plain")
    assert grown.checkpoint("cut")["handsim"]["index"] == "v0001"
    assert "index version v0002 is current and has other hands; the run goes on in v0001" in log(grown)


def test_runs_without_an_index_keep_the_hands_of_their_beginning(grown: Place, world: Path) -> None:
    whole = Place.beside(world, grown.home.path.parent / "whole")
    whole.train("plain", OWN)
    assert grown.train("own", OWN, resume=True).finished
    assert grown.losses("own") == whole.losses("plain")


def test_where_its_version_is_gone_the_same_hands_are_found_in_the_current_one(grown: Place) -> None:
    with open_catalog(grown.home.index) as catalog:
        assert catalog.remove("v0001")
    before = grown.checkpoint("cut")["handsim"]
    assert grown.train("cut", resume=True).finished
    after = grown.checkpoint("cut")["handsim"]
    assert (after["anchors"], after["hands"]) == (before["anchors"], 20)
    assert (after["first_index"], after["index"]) == ("v0001", "v0002")


def test_one_that_is_pinned_to_the_version_of_its_beginning_stays_there(grown: Place) -> None:
    assert grown.train("cut", ["--pairs.pin_version=current"], resume=True).finished
    assert grown.checkpoint("cut")["handsim"]["index"] == "v0001"


def test_hands_that_were_removed_are_named_and_what_to_do(grown: Place) -> None:
    remove(grown.home.pool, Pool.open(grown.home.pool).hand_ids[:2].tolist())
    with pytest.raises(HandsimError) as refused:
        grown.train("cut", resume=True)
    line = str(refused.value)
    assert line.startswith("the anchors that this run began with are not there any more: ")
    assert "2 of the 20 hands of index version v0001 are not in the pool" in line
    assert "`handsim pool restore`" in line
    assert "start a new run" in line
    with pytest.raises(HandsimError, match="the pool's first 20 hands are others now; bring them back"):
        grown.train("own", OWN, resume=True)
