"""The job that makes a map: a real process, from the button to the file."""

import time
from pathlib import Path

import pytest

from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.map.build import JOB, start_making
from apps.browser.map.pose_map import find_map, maps_folder
from apps.browser.serve import BrowserSettings
from apps.cli import main
from handsim.errors import HandsimError

_PATIENCE_S = 300.0


@pytest.fixture
def small_home(tmp_path: Path) -> Path:
    """20 hands, so few that they are laid out without UMAP, which takes its time to begin."""
    home = tmp_path / "home"
    synth = ["synth", "--videos", "4", "--hands-per-video", "5", "--size", "64", "--home", str(home)]
    assert main(synth) == 0
    assert main(["index", "build", "--home", str(home)]) == 0
    return home


def ended(library: Library) -> Job:
    give_up_at = time.monotonic() + _PATIENCE_S
    while (job := library.jobs.find(JOB)) is None or job.status == "running":
        assert time.monotonic() < give_up_at, job
        time.sleep(0.05)  # watches another process
    return job


def test_a_map_is_made_kept_and_removed_with_its_version(small_home: Path) -> None:
    library = Library(BrowserSettings(small_home, actions=False))  # it changes no index
    with library.open_version() as version:
        info = version.info
    assert find_map(library, info) is None
    old = maps_folder(library.home) / "v0000-20-00000000.npz"
    old.parent.mkdir()
    old.write_bytes(b"of a version that is gone")
    start_making(library.jobs, library.settings, info.name)
    job = ended(library)
    assert (job.status, job.record.error) == ("done", None)
    assert job.record.result == {"version": "v0001", "hands": 20}
    made = find_map(library, info)
    assert made is not None
    assert made.is_of(info)
    assert len(made) == 20
    assert not old.exists()
    elsewhere = BrowserSettings(small_home, str(small_home / "index"), actions=False)
    assert find_map(Library(elsewhere), info) is None
    start_making(library.jobs, elsewhere, info.name)
    assert ended(library).status == "done"
    assert find_map(Library(elsewhere), info) is not None
    assert find_map(library, info) is not None  # another index's job leaves it alone
    start_making(library.jobs, library.settings, "v0007")
    failed = ended(library)
    assert failed.status == "failed"
    assert "v0007" in str(failed.record.error)


def test_a_home_that_cannot_be_written_is_told(home: Path, tmp_path: Path) -> None:
    (tmp_path / "maps").write_text("in the way")
    library = Library(BrowserSettings(tmp_path))
    with pytest.raises(HandsimError, match=r"a map is kept in .*maps, which cannot be written: File exists"):
        start_making(library.jobs, library.settings, "v0001")
