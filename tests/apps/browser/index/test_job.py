"""What a job's process does, in this one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from apps.browser.index import job as work
from apps.browser.jobs import Job, JobReporter, Jobs
from index import IndexSettings, open_catalog
from tests.apps.browser.index.versions import more_hands
from tests.index.builders import write_pool


@pytest.fixture(autouse=True)
def _no_nicer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "nice", lambda by: by)  # it could not be taken back from this process


def ran(home: Path, name: str, *words: str) -> Job:
    work.main([name, "--home", str(home), *words])
    job = Jobs(home / "jobs").find(name)
    assert job is not None
    return job


@pytest.fixture
def jobs_home(own_home: Path) -> Path:
    (own_home / "jobs").mkdir()
    return own_home


def test_add(jobs_home: Path) -> None:
    more_hands(jobs_home)
    job = ran(jobs_home, "add", "--no-publish")
    assert job.record.result["message"].startswith("v0002: 70 hands, 10 of them new, not published")
    open_catalog(jobs_home / "index").publish("v0002")
    assert ran(jobs_home, "add").record.result["message"] == "v0002 holds every hand of the pool already (70)"


def test_phases(jobs_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phases: list[tuple[str, int, int]] = []
    written = JobReporter._report

    def note(self: JobReporter, record: Any) -> None:
        phases.append((record.phase, record.done, record.total))
        written(self, record)

    monkeypatch.setattr(JobReporter, "_report", note)
    (jobs_home / "embedding.json").unlink()
    settings = json.dumps({"m": 8})
    job = ran(jobs_home, "build", "--settings", settings, "--no-publish")
    assert job.record.result["version"] == "v0002"
    assert phases == [
        ("fitting the embedding", 0, 0),
        ("writing hands", 60, 60),
        ("linking hands into the graph, then verifying", 0, 0),
    ]
    assert (jobs_home / "embedding.json").exists()
    assert open_catalog(jobs_home / "index").info("v0002").settings == IndexSettings(m=8)


def test_verify(jobs_home: Path) -> None:
    more_hands(jobs_home)
    result = ran(jobs_home, "verify", "--version", "v0001").record.result
    assert (result["message"], result["sound"]) == ("v0001 is sound", True)
    found = dict(result["rows"])
    assert (found["version"], found["hands"], found["in the pool, not here"]) == ("v0001", "60", "10")


def test_verify_tells_of_a_poor_graph(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=40)
    (tmp_path / "jobs").mkdir()
    poor = {"m": 2, "ef_construct": 4, "ef": 1, "index_above_kb": 1, "full_scan_below_kb": 10}
    job = ran(tmp_path, "build", "--settings", json.dumps(poor))
    assert job.status == "failed"
    assert job.record.error is not None
    assert "v0001 is written but not published: recall@1 is 0." in job.record.error
    result = ran(tmp_path, "verify", "--version", "v0001").record.result
    assert result["message"].startswith("v0001 is not sound: recall@1 is 0.")
    assert not result["sound"]
    assert dict(result["rows"])["hands"] == f"{len(pool):,}"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["verify", "--version", "v0009"], "no version 'v0009'"),
        (["build", "--settings", '{"m": 1}'], "m is 1; it lies between 2 and 128"),
        (["add", "--index", "http://nowhere:port"], "nowhere:port"),
    ],
)
def test_what_goes_wrong_is_told(jobs_home: Path, words: list[str], error: str) -> None:
    name, *rest = words
    job = ran(jobs_home, name, *rest)
    assert job.status == "failed"
    assert job.record.error is not None
    assert error in job.record.error


def test_without_a_pool(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    job = ran(tmp_path, "build")
    assert job.record.error is not None
    assert "there is no pool at" in job.record.error
