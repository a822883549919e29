"""The page that adds photographs, and the way from an empty home to an index, without a web browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.add import page as add_page
from apps.browser.add.job import JOB
from apps.browser.jobs import Jobs
from apps.browser.library import Library
from apps.browser.serve import BrowserSettings
from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool
from tests.apps.browser.builders import wait_for_job
from tests.apps.browser.conftest import Visit, press
from tests.apps.browser.index.test_page import texts

pytestmark = pytest.mark.slow


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "an empty home"
    home.mkdir()
    yield home
    for name in (JOB, "build", "add"):
        Jobs(home / "jobs").stop(name)


@pytest.fixture
def signs(shared_data: Path) -> list[tuple[str, bytes, str]]:
    """Photographs of two persons, as an upload: enough for an index."""
    files = [
        file for name in ("p002", "p004") for file in sorted((shared_data / "sign_digits" / name).iterdir())
    ]
    return [(f"{file.parent.name} {file.name}", file.read_bytes(), "image/jpeg") for file in files]


def commands(page: AppTest) -> list[str]:
    return [each.value for each in page.code]


@pytest.mark.parametrize("path", ["", "map", "mining", "training", "results", "index"])
def test_every_page_of_an_empty_home_shows_the_three_steps(visit: Visit, empty: Path, path: str) -> None:
    page = visit(empty, path)
    assert page.header[0].value == "First steps"
    steps = commands(page)[:3]
    assert steps == [
        f"handsim --home '{empty}' {what}" for what in ("ingest PATH", "index build", "query PHOTO")
    ]
    assert not page.error
    assert not any("check_circle" in each.value for each in page.markdown)
    assert not next(button for button in page.button if button.label == "Add photographs").disabled


def test_from_an_upload_to_a_search_without_the_command_line(
    visit: Visit, empty: Path, model_path: Path, signs: list[tuple[str, bytes, str]]
) -> None:
    jobs = Jobs(empty / "jobs")
    page = visit(empty, "add")
    bad = [("notes.txt", b"hello", "text/plain"), ("cut.jpg", signs[0][1][:900], "image/jpeg")]
    page.file_uploader[0].set_value([*signs, *bad]).run()
    page.text_input(key="add_person").set_value("Anna O.").run()
    press(page, f"Add {len(signs) + 2} photographs")
    assert "notes\\.txt is not a picture" in page.warning[0].value
    assert wait_for_job(jobs, JOB).status == "done"
    page.run()
    assert f"{len(signs) + 1} pictures in" in texts(page)
    assert "Anna O\\./cut\\.jpg" in texts(page)
    assert "notes\\.txt is not a picture" in page.warning[0].value  # until others are added
    hands = len(Pool.open(empty / "pool"))
    assert set(Pool.open(empty / "pool").videos.values()) == {"Anna O."}
    # Half of the way: a page says so, and goes on from there.
    page = visit(empty, "map")
    assert f"done, the pool holds {hands} hands" in texts(page)
    press(page, "Build the index")
    assert wait_for_job(jobs, "build").status == "done"
    page = visit(empty)
    assert not page.header
    assert f"Some of **{hands}** hands" in texts(page)
    # More of them, and the same button makes these searchable, too.
    page = visit(empty, "add")
    page.file_uploader[0].set_value(signs[:1]).run()
    page.toggle(key="add_each_alone").set_value(True).run()
    press(page, "Add 1 photograph")
    wait_for_job(jobs, JOB)
    assert "to know" in str(page.run().table[0].value)
    press(page, "Add 1 hand to the index")
    assert wait_for_job(jobs, "add").status == "done"
    assert f"All {hands + 1} hands of the pool can be searched" in texts(page.run())


def test_a_folder_of_the_computer_is_added_where_only_its_visitors_come(
    empty: Path, model_path: Path, shared_data: Path
) -> None:
    library = Library(BrowserSettings(empty, model=model_path, folders=True))
    folder = shared_data / "hands_wild"
    for name in ("", "photos", str(folder / "none")):
        with pytest.raises(NotThereError, match="there is no folder"):
            add_page.start_folder(library, name)
    add_page.start_folder(library, f" {folder} ", each_alone=True)
    with pytest.raises(HandsimError, match="ingest runs already"):
        add_page.start_folder(library, str(folder))
    job = wait_for_job(library.jobs, JOB)
    assert job.record.result["lines"][0].startswith("5 pictures in")
    assert len(set(Pool.open(library.home.pool).videos.values())) > 1
    elsewhere = Library(BrowserSettings(empty, model=model_path))
    with pytest.raises(HandsimError, match="only where it alone reaches the page"):
        add_page.start_folder(elsewhere, str(folder))


def test_a_read_only_browser_adds_nothing_whatever_its_page_offers(visit: Visit, empty: Path) -> None:
    page = visit(empty, actions=False)
    assert next(button for button in page.button if button.label == "Add photographs").disabled
    page = visit(empty, "add", actions=False)
    assert not page.file_uploader
    library = Library(BrowserSettings(empty, actions=False, folders=True))
    for start in (
        lambda: add_page.start_upload(library, [], "me"),
        lambda: add_page.start_folder(library, str(empty)),
        lambda: add_page.stop(library),
    ):
        with pytest.raises(HandsimError, match="read-only"):
            start()


def test_without_the_network_the_page_says_how_to_get_it(
    visit: Visit, empty: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path / "nothing"))
    page = visit(empty, "add")
    assert "not on this computer yet" in page.warning[0].value
    assert commands(page) == ["handsim models fetch"]
    assert not page.file_uploader
