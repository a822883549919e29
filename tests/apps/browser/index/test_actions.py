"""Actions on a real index, refused where they must be, whatever a page offered; and the jobs they start."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apps.browser.index import actions, job
from apps.browser.index.actions import WORKS
from apps.browser.index.overview import Overview, findings, read_overview, refusals
from apps.browser.jobs import Job, JobReporter, Jobs
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from handsim import Pool
from handsim.errors import HandsimError, NotThereError
from index import IndexSettings, open_catalog
from tests.apps.browser.builders import build_version, more_hands, wait_for_job
from tests.index.builders import write_pool

pytestmark = pytest.mark.slow


@pytest.fixture
def mine(own_home: Path) -> Iterator[Library]:
    library = Library(BrowserSettings(own_home))
    yield library
    for work in WORKS:
        library.jobs.stop(work)


def test_a_version_is_published_and_rolled_back(mine: Library) -> None:
    assert build_version(mine.home.path, publish=False) == "v0002"
    assert actions.publish(mine, "v0002") == "v0002 is now the current version."
    with mine.open_version() as version:
        assert version.info.name == "v0002"  # and the browser itself answers by it
    with pytest.raises(HandsimError, match=r"leads to v0001, not to v0002; look again"):
        actions.roll_back(mine, "v0002")
    assert actions.roll_back(mine, "v0001") == "v0001 is now the current version again."
    with pytest.raises(HandsimError, match="v0001 is the only version"):
        actions.roll_back(mine, "v0001")
    actions.remove(mine, "v0002")
    for name in ("v0002", "../pool"):
        with pytest.raises(NotThereError, match=f"no version '{name}'"):
            actions.publish(mine, name)


def test_versions_that_nobody_needs_are_removed(mine: Library) -> None:
    with mine.open_version():
        pass  # the browser has it open
    names = [build_version(mine.home.path) for _ in range(3)]
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
    Path(mine.home.index, ".building").mkdir()
    left = read_overview(mine)
    assert "Left by processes that ended: .building (unfinished)." in findings(left)[0].text
    assert "prune" not in refusals(left, refusal=None, running=frozenset())
    assert actions.prune(mine, 1) == "Removed .building (unfinished)."
    assert actions.prune(mine, 1) == "There was nothing to remove."


def test_one_job_of_a_kind_runs_at_a_time_and_can_be_stopped(mine: Library) -> None:
    mine.jobs.start("build", ["sleep", "60"])
    with pytest.raises(HandsimError, match="build runs already"):
        actions.start_build(mine, IndexSettings(), publish=True)
    assert actions.stop(mine, "build") == "Build: stopped."
    assert actions.stop(mine, "build") == "Build had ended already."
    with pytest.raises(NotThereError, match="no version 'v0009'"):
        actions.start_verify(mine, "v0009")
    assert mine.jobs.find("verify") is None


def test_nothing_is_built_while_another_process_builds(mine: Library) -> None:
    more_hands(mine.home.path)
    overviews: list[Overview] = []

    def progress(done: int, total: int) -> None:
        for start in (partial(actions.start_build, mine, IndexSettings()), partial(actions.start_add, mine)):
            with pytest.raises(HandsimError, match="a version is being built by process"):
                start(publish=True)
        overviews.append(read_overview(mine))

    with mine.catalog.current() as version:
        embedding = version.embedding
    mine.catalog.build(Pool.open(mine.home.pool), embedding, progress=progress)
    refused = refusals(overviews[0], refusal=None, running=frozenset())
    assert refused["build"] == refused["add"] == "Another version is being built"
    assert any("A version is being built by process" in finding.text for finding in findings(overviews[0]))


def test_a_read_only_browser_does_nothing(home: Path) -> None:
    library = Library(BrowserSettings(home, actions=False))
    every: tuple[Callable[[], str], ...] = (
        lambda: actions.start_build(library, IndexSettings(), publish=True),
        lambda: actions.start_add(library, publish=True),
        lambda: actions.start_verify(library, "v0001"),
        lambda: actions.stop(library, "build"),
        lambda: actions.publish(library, "v0001"),
        lambda: actions.roll_back(library, "v0001"),
        lambda: actions.remove(library, "v0001"),
        lambda: actions.prune(library, 1),
    )
    for act in every:
        with pytest.raises(HandsimError, match="--read-only"):
            act()


@pytest.fixture
def jobs_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose jobs run in this process."""
    monkeypatch.setattr(os, "nice", lambda by: by)  # it could not be taken back from this process
    (own_home / "jobs").mkdir()
    return own_home


def run(home: Path, work: str, *words: str) -> Job:
    job.main([work, "--home", str(home), *words])
    return wait_for_job(Jobs(home / "jobs"), work)


def test_the_add_job_says_how_many_hands_are_new(jobs_home: Path) -> None:
    more_hands(jobs_home)
    verified = run(jobs_home, "verify", "--version", "v0001").record.result
    assert (verified["message"], verified["sound"]) == ("v0001 is sound", True)
    found = dict(verified["rows"])
    assert (found["version"], found["hands"], found["in the pool, not here"]) == ("v0001", "60", "10")
    added = run(jobs_home, "add", "--no-publish").record.result
    assert added["message"].startswith("v0002: 70 hands, 10 of them new, not published")
    open_catalog(jobs_home / "index").publish("v0002")
    assert run(jobs_home, "add").record.result["message"] == "v0002 holds every hand of the pool already (70)"


def test_the_build_job_reports_its_phases(jobs_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases: list[tuple[str, int, int]] = []
    written = JobReporter._report

    def note(self: JobReporter, record: Any) -> None:
        phases.append((record.phase, record.done, record.total))
        written(self, record)

    monkeypatch.setattr(JobReporter, "_report", note)
    (jobs_home / "embedding.json").unlink()
    built = run(jobs_home, "build", "--settings", json.dumps({"m": 8}), "--no-publish")
    assert built.record.result["version"] == "v0002"
    assert phases == [
        ("fitting the embedding", 0, 0),
        ("writing 60 hands, some 0.0 MB", 0, 0),
        ("writing hands", 60, 60),
        ("linking hands into the graph, then verifying", 0, 0),
    ]
    assert (jobs_home / "embedding.json").exists()
    assert open_catalog(jobs_home / "index").info("v0002").settings == IndexSettings(m=8)


def test_a_poor_graph_is_not_published_and_not_sound(jobs_home: Path) -> None:
    many = jobs_home / "many"
    write_pool(many / "pool", videos=40)
    (many / "jobs").mkdir()
    poor = {"m": 2, "ef_construct": 4, "ef": 1, "index_above_kb": 1, "full_scan_below_kb": 10}
    built = run(many, "build", "--settings", json.dumps(poor))
    assert built.status == "failed"
    assert "v0001 is written but not published: recall@1 is 0." in (built.record.error or "")
    result = run(many, "verify", "--version", "v0001").record.result
    assert result["message"].startswith("v0001 is not sound: recall@1 is 0.")
    assert not result["sound"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["verify", "--version", "v0009"], "no version 'v0009'"),
        (["build", "--settings", '{"m": 1}'], "m is 1; it lies between 2 and 128"),
        (["add", "--index", "http://nowhere:port"], "nowhere:port"),
    ],
)
def test_a_job_that_fails_reports_why(jobs_home: Path, words: list[str], error: str) -> None:
    ended = run(jobs_home, *words)
    assert ended.status == "failed"
    assert error in (ended.record.error or "")
