"""The index page, as its visitors meet it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.jobs import JobReporter, Jobs, run_job
from handsim.errors import HandsimError
from index import open_catalog
from tests.apps.browser.builders import build_version, more_hands, wait_for_job
from tests.apps.browser.conftest import Visit

pytestmark = pytest.mark.slow


@pytest.fixture
def jobs(own_home: Path) -> Iterator[Jobs]:
    made = Jobs(own_home / "jobs")
    made.folder.mkdir()
    yield made
    for name in ("build", "add", "verify"):
        made.stop(name)


def current(home: Path) -> str | None:
    return open_catalog(home / "index").current_name()


def texts(page: AppTest) -> str:
    """All that the page says."""
    every = (page.markdown, page.info, page.warning, page.error, page.success, page.toast, page.caption)
    return "\n".join(element.value for kind in every for element in kind)


def confirm(page: AppTest, action: str) -> AppTest:
    """Ask for an action and confirm it."""
    page.button(f"index_{action}").click().run()
    return page.button("index_yes").click().run()


def choose(page: AppTest, name: str) -> AppTest:
    """By the address, as a row of the table does, which `streamlit.testing` cannot click on."""
    page.query_params["version"] = name
    return page.run()


def reasons(page: AppTest, *names: str) -> list[str]:
    """Why buttons are off; empty for those that are on."""
    buttons = [page.button(f"index_{name}") for name in names]
    return [button.help if button.disabled else "" for button in buttons]


def test_a_single_version_has_its_row_and_few_actions(visit: Visit, home: Path) -> None:
    page = visit(home, "index")
    assert "Searches use version **v0001** with **60** hands" in texts(page)
    assert list(page.dataframe[0].value["Version"]) == ["v0001"]
    assert list(page.dataframe[0].value["Status"]) == ["current"]
    assert "finds what exact search finds" in page.success[0].value
    assert reasons(page, "build", "verify") == ["", ""]
    assert all(reasons(page, "add", "rollback", "prune"))
    assert all("It is the current version" in reason for reason in reasons(page, "publish", "remove"))


def test_a_version_is_published_rolled_back_and_removed_once_that_is_confirmed(
    visit: Visit, own_home: Path
) -> None:
    build_version(own_home, publish=False)
    page, other = visit(own_home, "index"), visit(own_home, "index")
    choose(page, "v0002")
    page.button("index_publish").click().run()
    assert current(own_home) == "v0001"
    assert "Everybody who searches, mines or trains" in texts(page)
    page.button("index_no").click().run()
    assert (current(own_home), len(page.button)) == ("v0001", 7)
    confirm(page, "publish")
    assert current(own_home) == "v0002"
    assert "v0002 is now the current version" in texts(page)
    assert "is now the current" not in texts(page.run())  # it is said once
    assert "Searches use version **v0002**" in texts(other.run())
    assert "is now the current" not in texts(other)
    # The other one wants to roll back, too, and looks at an old page meanwhile.
    other.button("index_rollback").click().run()
    confirm(page, "rollback")
    assert current(own_home) == "v0001"
    other.button("index_yes").click().run()
    assert "v0001 is the only version" in other.error[0].value.replace("\\", "")
    page.button("index_prune").click().run()
    page.number_input("index_option_keep").set_value(1).run()
    assert "That removes no version" in texts(page)  # the older one is current
    page.button("index_yes").click().run()
    assert "There was nothing to remove" in texts(page)
    confirm(choose(page, "v0002"), "remove")
    assert list(page.dataframe[0].value["Version"]) == ["v0001"]


def test_a_read_only_browser_shows_jobs_and_offers_no_actions(
    visit: Visit, own_home: Path, jobs: Jobs
) -> None:
    jobs.start("verify", ["sleep", "60"])
    page = visit(own_home, "index", actions=False)
    assert "This browser is read" in texts(page)
    assert all("--read-only" in why for why in reasons(page, "build", "add", "rollback", "prune", "verify"))
    assert page.button("index_stop_verify").disabled
    # What a button that is off would ask is refused where it is done, as well.
    page.session_state["index_pending"] = ("rollback", "v0001")
    page.run()
    page.button("index_yes").click().run()
    assert "This browser is read-only" in page.error[0].value.replace("\\", "")


def test_without_an_index_the_page_leads_the_way_to_one(visit: Visit, tmp_path: Path, own_home: Path) -> None:
    page = visit(tmp_path, "index")
    assert "Nothing is published yet" in texts(page)
    assert reasons(page, "build") == ["There are no hands in the pool; `handsim ingest PATH` first"]
    open_catalog(own_home / "index").drop()
    page = visit(own_home, "index")
    assert "the pool holds 60 hands" in texts(page)
    page.button("index_build").click().run()
    assert "There is nothing to search before it is done" in texts(page)


def test_a_build_starts_only_with_valid_settings(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    page = visit(own_home, "index")
    page.button("index_build").click().run()
    page.number_input("index_option_m").set_value(1).run()
    assert "m is 1; it lies between 2 and 128" in page.error[0].value.replace("\\", "")
    assert page.button("index_yes").disabled
    page.number_input("index_option_m").set_value(8).run()
    page.toggle("index_option_publish").set_value(False).run()
    page.button("index_yes").click().run()
    assert "started; it continues when this page is closed" in texts(page)


def test_a_running_job_is_shown_and_stopped(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    more_hands(own_home)
    jobs.start("build", ["sleep", "60"])
    JobReporter(jobs.folder, "build").update(30, 120, "writing *hands*")
    page = visit(own_home, "index")
    assert "writing \\*hands\\*" in texts(page)
    assert reasons(page, "build", "add") == ["Another version is being built"] * 2
    page.button("index_stop_build").click().run()
    assert wait_for_job(jobs, "build").status == "stopped"
    assert "stopped while writing \\*hands\\*" in texts(page)
    assert reasons(page, "build", "add") == ["", ""]


def test_the_page_says_how_jobs_ended(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    def fail(reporter: JobReporter) -> dict[str, object]:
        raise HandsimError("there is no <b>room</b>")

    run_job(jobs.folder, "build", fail)
    run_job(jobs.folder, "add", lambda reporter: {"message": "70 hands", "rows": [["hands", "70"]]})
    jobs.start("verify", ["echo", "out of memory"])
    wait_for_job(jobs, "verify")
    page = visit(own_home, "index")
    assert "there is no \\<b\\>room" in texts(page)
    assert "70 hands" in texts(page)
    assert page.table[-1].value.to_numpy().tolist() == [["70"]]
    assert "its process is gone" in texts(page)
    assert "out of memory" in [each.value for each in page.code]
