"""The page that adds photographs, and the way from an empty home to an index, without a web browser."""

from collections.abc import Callable, Iterator
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
from index import open_catalog
from tests.apps.browser.builders import more_hands, wait_for_job
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


def commands(page: AppTest) -> list[str]:
    return [each.value for each in page.code]


@pytest.mark.parametrize("path", ["", "map", "mining", "training", "results", "index"])
def test_every_page_of_an_empty_home_shows_the_three_steps(visit: Visit, empty: Path, path: str) -> None:
    page = visit(empty, path)
    assert page.header[0].value == "First steps"
    steps = commands(page)[-3:]
    assert steps == [
        f"handsim --home '{empty}' {what}" for what in ("ingest PATH", "index build", "query PHOTO")
    ]
    assert not page.error
    assert not any("check_circle" in each.value for each in page.markdown)
    assert not next(button for button in page.button if button.label == "Add photographs").disabled


def test_an_upload_is_reported_as_the_command_line_does_and_bad_files_cost_only_themselves(
    visit: Visit, empty: Path, model_path: Path, shared_data: Path
) -> None:
    good = (shared_data / "sign_digits" / "p002" / "5.jpg").read_bytes()
    files = {"5.jpg": good, "cut.jpg": good[:900], "notes.txt": b"hello"}
    page = visit(empty, "add")
    page.file_uploader[0].set_value([(name, data, "image/jpeg") for name, data in files.items()]).run()
    page.text_input(key="add_person").set_value("Anna O.").run()
    press(page, "Add 3 photographs")
    assert "notes\\.txt is not a picture" in page.warning[0].value
    assert wait_for_job(Jobs(empty / "jobs"), JOB).status == "done"
    page.run()
    assert "2 pictures in" in texts(page)
    assert "1 hand, 1 of them new; the pool holds 1" in texts(page)
    assert "Anna O\\./cut\\.jpg: corrupt image" in texts(page).replace("\\:", ":")
    assert "notes\\.txt is not a picture" in page.warning[0].value  # until others are added
    assert Pool.open(empty / "pool").videos.values() == ["Anna O."]
    assert next(button for button in page.button if button.label == "Build the index").disabled
    assert "An index needs at least 15 hands, and the pool holds 1; add more" in page.caption[0].value


def test_hands_that_the_index_lacks_are_added_by_one_click(
    visit: Visit, own_home: Path, model_path: Path
) -> None:
    more_hands(own_home)
    page = visit(own_home, "add")
    press(page, "Add 10 hands to the index")
    assert wait_for_job(Jobs(own_home / "jobs"), "add").status == "done"
    assert "All 70 hands of the pool can be searched" in texts(page.run())


def test_half_of_the_way_is_ticked_and_goes_on_from_there(visit: Visit, own_home: Path) -> None:
    open_catalog(own_home / "index").drop()
    page = visit(own_home, "map")
    assert "done, the pool holds 60 hands" in texts(page)
    assert not next(button for button in page.button if button.label == "Build the index").disabled
    (own_home / "pool").rename(own_home / "away")
    page = visit(own_home, "map")
    assert "check_circle" not in texts(page)


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
    starts: tuple[Callable[[], str], ...] = (
        lambda: add_page.start_upload(library, [], "me"),
        lambda: add_page.start_folder(library, str(empty)),
        lambda: add_page.stop(library),
    )
    for start in starts:
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
