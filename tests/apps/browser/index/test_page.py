"""The index page, as its visitors meet it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.jobs import JobReporter, Jobs, run_job
from handsim.errors import HandsimError
from index import open_catalog
from tests.apps.browser.conftest import Visit
from tests.apps.browser.index.versions import build, more_hands


@pytest.fixture
def jobs(own_home: Path) -> Iterator[Jobs]:
    made = Jobs(own_home / "jobs")
    yield made
    for name in ("build", "add", "verify"):
        made.stop(name)


def current(home: Path) -> str | None:
    return open_catalog(home / "index").current_name()


def texts(page: AppTest) -> str:
    """All that is said on it."""
    assert not page.exception
    every = (page.markdown, page.info, page.warning, page.error, page.success, page.toast, page.caption)
    return "\n".join(element.value for kind in every for element in kind)


def agree(page: AppTest, action: str) -> AppTest:
    """Ask for an action and confirm it."""
    page.button(f"index_{action}").click().run()
    return page.button("index_yes").click().run()


def choose(page: AppTest, name: str) -> AppTest:
    """A row of the table, which `streamlit.testing` has no hand for."""
    names = list(page.dataframe[0].value["Version"])
    page.session_state["index_versions_" + "_".join(names)] = {"selection": {"rows": [names.index(name)]}}
    return page.run()


def off(page: AppTest, *names: str) -> list[str]:
    """Why buttons are off; empty for those that are on."""
    buttons = [page.button(f"index_{name}") for name in names]
    return [button.help if button.disabled else "" for button in buttons]


def test_a_single_version(visit: Visit, home: Path) -> None:
    page = visit(home, "index")
    assert "Everybody is answered by **v0001** with **60** hands" in texts(page)
    assert list(page.dataframe[0].value["Version"]) == ["v0001"]
    assert list(page.dataframe[0].value["Standing"]) == ["current"]
    assert "finds what exact search finds" in page.success[0].value
    assert off(page, "build", "verify") == ["", ""]
    assert off(page, "add", "rollback", "prune", "publish", "remove") == [
        "The pool holds no more hands than the current version",
        "No other version was published before the current one and is still there",
        "There are no older versions",
        "It is the current version",
        "It is the current version; publish another one first",
    ]


def test_publish_and_roll_back_before_anothers_eyes(visit: Visit, own_home: Path) -> None:
    build(own_home, publish=False)
    page, other = visit(own_home, "index"), visit(own_home, "index")
    choose(page, "v0002")
    page.button("index_publish").click().run()
    assert current(own_home) == "v0001"  # nothing is done before it is confirmed
    assert "Everybody who searches, mines or trains" in texts(page)
    page.button("index_no").click().run()
    assert (current(own_home), len(page.button)) == ("v0001", 7)
    agree(page, "publish")
    assert current(own_home) == "v0002"
    assert "v0002 is now the current version" in texts(page)
    assert "is now the current" not in texts(page.run())  # it is said once
    assert "answered by **v0002**" in texts(other.run())
    assert "is now the current" not in texts(other)
    # The other one wants to publish, too, and looks at an old page meanwhile.
    other.button("index_rollback").click().run()
    agree(page, "rollback")
    assert current(own_home) == "v0001"
    other.button("index_yes").click().run()
    assert "v0001 is the only version" in other.error[0].value.replace("\\", "")
    assert current(own_home) == "v0001"


def test_a_version_removed_while_it_is_asked_about(visit: Visit, own_home: Path) -> None:
    build(own_home, publish=False)
    page = choose(visit(own_home, "index"), "v0002")
    page.button("index_publish").click().run()
    open_catalog(own_home / "index").remove("v0002")
    page.button("index_yes").click().run()
    assert "no version 'v0002'" in page.error[0].value.replace("\\", "")
    assert current(own_home) == "v0001"
    assert list(page.dataframe[0].value["Version"]) == ["v0001"]


def test_remove_and_clear_up(visit: Visit, own_home: Path) -> None:
    for publish in (True, False):
        build(own_home, publish=publish)
    page = choose(visit(own_home, "index"), "v0001")
    agree(page, "remove")
    assert list(page.dataframe[0].value["Version"]) == ["v0003", "v0002"]
    page.button("index_prune").click().run()
    page.number_input("index_option_keep").set_value(1).run()
    assert "That removes no version" in texts(page)  # the older one is current
    page.button("index_yes").click().run()
    assert "There was nothing to remove" in texts(page)


def test_only_looking(visit: Visit, own_home: Path) -> None:
    build(own_home)
    page = visit(own_home, "index", actions=False)
    assert "This browser is read" in texts(page)
    assert all("--read-only" in why for why in off(page, "build", "add", "rollback", "prune", "verify"))
    # What a button that is off would ask is refused where it is done, as well.
    page.session_state["index_pending"] = ("rollback", "v0001")
    page.run()
    page.button("index_yes").click().run()
    assert "This browser is read-only" in page.error[0].value.replace("\\", "")
    assert current(own_home) == "v0002"


def test_the_way_to_an_index(visit: Visit, tmp_path: Path, own_home: Path) -> None:
    page = visit(tmp_path, "index")
    assert "Nothing is published yet" in texts(page)
    commands = [each.value for each in page.code]
    assert [command.split()[3:5] for command in commands] == [
        ["ingest", "PATH"],
        ["index", "build"],
        ["query", "PHOTO"],
    ]
    assert off(page, "build") == ["There are no hands in the pool; `handsim ingest PATH` first"]
    open_catalog(own_home / "index").drop()
    page = visit(own_home, "index")
    assert "the pool holds 60 hands" in texts(page)
    assert off(page, "build") == [""]
    page.button("index_build").click().run()
    assert "There is nothing to search before it is done" in texts(page)


def test_settings_of_a_build(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    page = visit(own_home, "index")
    page.button("index_build").click().run()
    page.number_input("index_option_m").set_value(1).run()
    assert "m is 1; it lies between 2 and 128" in page.error[0].value.replace("\\", "")
    assert page.button("index_yes").disabled
    page.number_input("index_option_m").set_value(8).run()
    page.toggle("index_option_publish").set_value(False).run()
    page.button("index_yes").click().run()
    assert "started; it continues when this page is closed" in texts(page)
    give_up_at = time.monotonic() + 300
    while (job := jobs.find("build")) is None or job.status == "running":
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    assert "v0002\\: 60 hands in" in texts(page.run())
    info = open_catalog(own_home / "index").info("v0002")
    assert (info.settings.m, info.is_current) == (8, False)


def test_a_job_at_work_and_stopped(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    more_hands(own_home)
    jobs.start("build", ["sleep", "60"])
    JobReporter(jobs.folder, "build").update(30, 120, "writing *hands*")
    page = visit(own_home, "index")
    assert "writing \\*hands\\*" in texts(page)
    assert off(page, "build", "add") == ["Another version is being built"] * 2
    page.button("index_stop_build").click().run()
    job = jobs.find("build")
    assert job is not None
    assert job.status == "stopped"
    assert "stopped while writing \\*hands\\*" in texts(page)
    assert off(page, "build", "add") == ["", ""]


def test_a_job_that_is_no_more(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    jobs.start("verify", ["echo", "out of memory"])
    give_up_at = time.monotonic() + 300
    while (job := jobs.find("verify")) is None or job.status == "running":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    page = visit(own_home, "index")
    assert "its process is gone" in texts(page)
    assert "out of memory" in [each.value for each in page.code]


def test_a_job_that_failed(visit: Visit, own_home: Path, jobs: Jobs) -> None:
    def fail(say: JobReporter) -> dict[str, object]:
        raise HandsimError("there is no <b>room</b>")

    jobs.folder.mkdir()
    run_job(jobs.folder, "build", fail)
    assert "there is no \\<b\\>room" in texts(visit(own_home, "index"))


def test_somebody_elses_job_is_not_stopped_by_who_may_only_look(
    visit: Visit, own_home: Path, jobs: Jobs
) -> None:
    jobs.start("verify", ["sleep", "60"])
    page = visit(own_home, "index", actions=False)
    assert page.button("index_stop_verify").disabled
