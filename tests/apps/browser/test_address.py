"""What pages show is in their addresses, and an address shows it again."""

from pathlib import Path

import pytest

from tests.apps.browser.builders import loss_lines, write_pose_report, write_run
from tests.apps.browser.conftest import Visit, address
from tests.apps.commands import pick_hand

pytestmark = pytest.mark.slow


def test_how_a_page_shows_things_is_in_its_address(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home), k="7", skeletons="no", start="Pose")
    assert not page.toggle(key="skeletons").value
    page.toggle(key="skeletons").set_value(True).run()
    page.segmented_control(key="start").set_value(None).run()
    assert address(page) == {"hand": pick_hand(home), "k": "7"}
    page = visit(home, "mining", top_k="2", look="Most chosen", against="first_rank=2&top_k=3")
    assert page.button_group(key="mining_against").value == "before"
    page.button_group(key="look").set_value("Pairs").run()
    for key, value in (("order", "best"), ("weights", "sigmoid"), ("pairs", 24)):
        page.button_group(key=key).set_value(value).run()
    page.toggle(key="skeletons").set_value(False).run()
    display = {"order": "best", "weights": "sigmoid", "pairs": "24", "skeletons": "no"}
    assert address(page) == {"top_k": "2", "against": "first_rank=2&top_k=3", **display}
    page.slider(key="mining_ranks").set_value((1, 4)).run()  # what it was is the policy to compare with
    assert address(page) == {"top_k": "4", "against": "top_k=2", **display}
    page.button_group(key="mining_against").set_value("default").run()
    assert address(page) == {"top_k": "4", **display}


def test_what_was_chosen_of_a_home_stays_in_the_address_when_more_is_there(
    visit: Visit, tmp_path: Path
) -> None:
    for name, error_mm in (("a", 10.0), ("b", 20.0)):
        write_pose_report(tmp_path / "runs" / name, error_mm=error_mm, note=name)
    page = visit(tmp_path, "results")
    page.selectbox(key="closer").set_value("b").run()
    page.selectbox(key="closer").set_value("a").run()  # the one that is shown at first
    assert address(page) == {"closer": "a"}
    write_pose_report(tmp_path / "runs" / "best", error_mm=5.0, note="best")
    assert page.run().selectbox(key="closer").value == "a"
    # Older links have what the widget shows.
    page = visit(tmp_path, "results", alignment="Procrustes", over_seeds="true")
    assert page.selectbox(key="alignment").value == "procrustes"
    assert not page.warning


@pytest.mark.parametrize(
    ("page", "params", "notes"),
    [
        ("", {"start": "Nowhere"}, ["none of Id, Photograph"]),
        (
            "mining",
            {"look": "x", "skeletons": "maybe", "against": "z"},
            ["look", "neither yes nor no", "against"],
        ),
        ("mining", {"against": "top_k=999"}, ["Of the policy to compare with: top_k is 999"]),
        (
            "training",
            {"run": ["c", "../x"], "scale": "x", "smoothing": "9"},
            ["'c'", "'../x'", "scale", "9 in"],
        ),
        ("training", {"smoothing": "nan"}, ["smoothing"]),
        (
            "results",
            {"of": "x", "split": "y", "closer": "/etc", "curves": ["z"]},
            ["of", "split", "/etc", "'z'"],
        ),
        ("index", {"version": "v0009"}, ["There is no version 'v0009'"]),
    ],
)
def test_what_an_address_asks_that_cannot_be_is_left_out_and_said(
    visit: Visit, own_home: Path, page: str, params: dict[str, str | list[str]], notes: list[str]
) -> None:
    write_run(own_home / "runs" / "a", loss_lines(5))
    write_pose_report(own_home / "runs" / "evaluated")
    shown = visit(own_home, page, **params)
    said = [warning.value.replace("\u2060", "") for warning in shown.warning]
    assert len(said) == len(notes), said
    for note in notes:
        assert any(note in each.replace("\\", "") for each in said), (note, said)
    assert not shown.error
