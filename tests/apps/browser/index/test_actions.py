"""Actions on a real index, each refused where it must be, whatever a page offered."""

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from apps.browser.index import actions
from apps.browser.index.actions import WORKS, Work
from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from handsim import Pool
from handsim.errors import HandsimError, NotThereError
from index import IndexSettings, open_catalog
from tests.apps.browser.index.versions import build, more_hands


@pytest.fixture
def mine(own_home: Path) -> Iterator[Library]:
    library = Library(BrowserSettings(own_home))
    yield library
    for work in WORKS:
        library.jobs.stop(work)


def ended(library: Library, work: Work) -> Job:
    give_up_at = time.monotonic() + 300
    while (job := library.jobs.find(work)) is None or job.status == "running":
        assert time.monotonic() < give_up_at, job
        time.sleep(0.05)
    return job


def test_publish_and_roll_back(mine: Library) -> None:
    assert build(mine.home.path, publish=False) == "v0002"
    assert actions.publish(mine, "v0002") == "v0002 is now the current version."
    with mine.open_version() as version:
        assert version.info.name == "v0002"  # and the browser itself answers by it
    with pytest.raises(HandsimError, match=r"leads to v0001, not to v0002; look again"):
        actions.roll_back(mine, "v0002")
    assert actions.roll_back(mine, "v0001") == "v0001 is now the current version again."
    with pytest.raises(HandsimError, match="v0001 is the only version"):
        actions.roll_back(mine, "v0001")
    actions.remove(mine, "v0002")
    with pytest.raises(NotThereError, match="no version 'v0002'"):
        actions.publish(mine, "v0002")
    with pytest.raises(NotThereError, match=r"no version '\.\./pool'"):
        actions.publish(mine, "../pool")


def test_remove_and_prune(mine: Library) -> None:
    with mine.open_version():
        pass  # the browser has it open
    names = [build(mine.home.path, publish=publish) for publish in (True, False, True)]
    assert names == ["v0002", "v0003", "v0004"]
    with pytest.raises(HandsimError, match="v0004 is the current version"):
        actions.remove(mine, "v0004")
    # What it holds open itself is no hindrance, though nobody has asked anything since.
    assert actions.remove(mine, "v0001") == "v0001 is removed."
    with open_catalog(mine.home.index).open("v0002"):
        with pytest.raises(HandsimError, match="a reader has v0002 open"):
            actions.remove(mine, "v0002")
        assert actions.prune(mine, 1) == "Removed v0003. Left v0002: readers have them open."
    assert actions.prune(mine, 1) == "Removed v0002."
    assert actions.prune(mine, 1) == "There was nothing to remove."
    with pytest.raises(NotThereError, match="no version 'v0002'"):
        actions.remove(mine, "v0002")


def test_build_in_a_process_of_its_own(mine: Library) -> None:
    message = actions.start_build(mine, IndexSettings(m=8, ef=50), publish=True)
    assert message == "Build: started; it continues when this page is closed."
    job = ended(mine, "build")
    assert (job.status, job.record.error) == ("done", None)
    assert job.record.result["version"] == "v0002"
    assert job.record.result["message"].endswith("published")
    assert mine.catalog.info("v0002").settings == IndexSettings(m=8, ef=50)
    with mine.open_version() as version:
        assert version.info.name == "v0002"
    assert actions.stop(mine, "build") == "Build had ended already."


def test_one_at_a_time(mine: Library) -> None:
    """While a job of the page's is under way, here one that does nothing for a minute."""
    mine.jobs.start("build", [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(HandsimError, match="build runs already"):
        actions.start_build(mine, IndexSettings(), publish=True)
    actions.stop(mine, "build")
    job = mine.jobs.find("build")
    assert job is not None
    assert job.status == "stopped"
    assert mine.catalog.current_name() == "v0001"


def test_while_another_process_builds(mine: Library) -> None:
    more_hands(mine.home.path)

    def progress(done: int, total: int) -> None:
        for start in (partial(actions.start_build, mine, IndexSettings()), partial(actions.start_add, mine)):
            with pytest.raises(HandsimError, match="a version is being built by process"):
                start(publish=True)
        calls.append(done)

    calls: list[int] = []
    with mine.catalog.current() as version:
        embedding = version.embedding
    mine.catalog.build(Pool.open(mine.home.pool), embedding, progress=progress)
    assert calls


def test_stopped(mine: Library) -> None:
    mine.jobs.start("verify", ["sleep", "60"])
    assert actions.stop(mine, "verify") == "Verify: stopped."
    assert ended(mine, "verify").status == "stopped"


def test_a_version_to_verify_must_be_there(mine: Library) -> None:
    with pytest.raises(NotThereError, match="no version 'v0009'"):
        actions.start_verify(mine, "v0009")
    assert mine.jobs.find("verify") is None


def test_nothing_is_done_where_only_looking_is_allowed(own_home: Path) -> None:
    build(own_home, publish=False)
    library = Library(BrowserSettings(own_home, actions=False))
    every: list[Callable[[], str]] = [
        lambda: actions.start_build(library, IndexSettings(), publish=True),
        lambda: actions.start_add(library, publish=True),
        lambda: actions.start_verify(library, "v0001"),
        lambda: actions.stop(library, "build"),
        lambda: actions.publish(library, "v0002"),
        lambda: actions.roll_back(library, "v0001"),
        lambda: actions.remove(library, "v0002"),
        lambda: actions.prune(library, 1),
    ]
    for act in every:
        with pytest.raises(HandsimError, match="--read-only"):
            act()
    assert [info.is_current for info in library.catalog.versions()] == [True, False]
    assert not library.home.jobs.exists()
