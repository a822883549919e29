"""The search page, as a visitor meets it."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.library import HandFinder
from apps.cli import main
from handsim.detection import DetectedHand
from tests.apps.browser.conftest import Visit
from tests.apps.commands import pick_hand


def address(page: AppTest) -> dict[str, str]:
    return {name: value if isinstance(value, str) else value[0] for name, value in page.query_params.items()}


def head(page: AppTest) -> str:
    """The line above the answers."""
    assert not page.exception
    return next(shown.value for shown in page.markdown if "hand" in shown.value)


def test_it_begins_with_some_hands(visit: Visit, home: Path) -> None:
    assert "Some of **60** hands" in head(visit(home))


def test_an_address_is_a_question(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home), k="7", side="left")
    assert "**7 hands**" in head(page)
    assert page.slider(key="condition_k").value == 7
    assert page.toggle(key="condition_other_video").value
    assert page.session_state["condition_side"] == "left"


def test_a_random_hand(visit: Visit, home: Path) -> None:
    page = visit(home, k="3")
    page.button[0].click().run()
    assert "**3 hands**" in head(page)
    assert set(address(page)) == {"hand", "k"}


def test_conditions_go_into_the_address_and_back_out_of_it(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home))
    page.slider(key="condition_k").set_value(5).run()
    page.toggle(key="condition_one_per_video").set_value(True).run()
    page.toggle(key="condition_other_video").set_value(False).run()
    page.toggle(key="condition_capped").set_value(True).run()
    page.number_input(key="condition_max_distance").set_value(0.7).run()
    assert address(page) == {
        "hand": pick_hand(home),
        "k": "5",
        "one_per_video": "yes",
        "other_video": "no",
        "max_distance": "0.7",
    }
    page.slider(key="condition_diversity").set_value(0.4).run()
    assert "one_per_video" not in address(page)  # they exclude each other
    assert page.toggle(key="condition_one_per_video").disabled
    page.toggle(key="condition_capped").set_value(False).run()
    assert "max_distance" not in address(page)
    assert not page.exception


def test_an_empty_answer_offers_what_to_relax(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home), max_distance="0.0")
    assert "Without one of these there are some" in page.info[0].value
    page.button(key="relax_max_distance").click().run()
    assert "**24 hands**" in head(page)
    hopeless = visit(home, hand=pick_hand(home), max_distance="0.0", sources="nowhere")
    assert "nor would leaving out one of them help" in hopeless.info[0].value
    next(button for button in hopeless.button if button.label == "Leave out all of them").click().run()
    assert "**24 hands**" in head(hopeless)


def test_what_an_address_cannot_ask_is_told(visit: Visit, home: Path) -> None:
    unknown = visit(home, hand="00000000000003e7")
    assert not unknown.exception
    assert "00000000000003e7" in unknown.info[0].value
    assert unknown.slider(key="condition_k").value == 24  # the rest of the page is there
    odd = visit(home, hand="<script>alert(1)</script>")
    assert not odd.exception
    assert "which cannot be read" in odd.error[0].value


def test_an_id_is_taken_or_refused(visit: Visit, home: Path) -> None:
    page = visit(home)
    page.segmented_control(key="start_way").set_value("Id").run()
    page.text_input(key="start_id").set_value("12").run()
    assert "is no hand id" in page.warning[0].value
    page.text_input(key="start_id").set_value(pick_hand(home)).run()
    assert address(page)["hand"] == pick_hand(home)
    assert "**24 hands**" in head(page)


def test_presets(visit: Visit, home: Path) -> None:
    page = visit(home)
    page.segmented_control(key="start_way").set_value("Pose").run()
    page.pills(key="start_preset").set_value("Fist").run()
    assert "**24 hands**" in head(page)
    assert len(address(page)["pose"].split(".")) == 42


def test_an_index_that_is_not_there_and_then_is(visit: Visit, own_home: Path) -> None:
    (own_home / "index").rename(own_home / "away")
    page = visit(own_home, hand=pick_hand(own_home))
    assert not page.exception
    assert "Not there yet" in page.info[0].value
    assert "handsim index build" in page.info[0].value
    (own_home / "away").rename(own_home / "index")
    assert "**24 hands**" in head(page.run())


def test_a_picture_without_a_hand_is_searched_once(
    visit: Visit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[bytes] = []
    hands = HandFinder.hands

    def watched(finder: HandFinder, data: bytes) -> list[DetectedHand]:
        searched.append(data)
        return hands(finder, data)

    monkeypatch.setattr(HandFinder, "hands", watched)
    page = visit(home)
    page.segmented_control(key="start_way").set_value("Photograph").run()
    page.file_uploader[0].set_value(("text.jpg", b"no picture", "image/jpeg")).run()
    page.button[0].click().run()
    assert "not an image" in page.error[0].value
    assert len(searched) == 1


def test_a_published_version_answers_the_next_question(visit: Visit, own_home: Path) -> None:
    page = visit(own_home, hand=pick_hand(own_home))
    assert "index v0001" in head(page)
    assert main(["index", "build", "--home", str(own_home)]) == 0
    page.slider(key="condition_k").set_value(5).run()
    assert "index v0002" in head(page)
    assert main(["index", "rollback", "--home", str(own_home)]) == 0
    page.slider(key="condition_k").set_value(6).run()
    assert "index v0001" in head(page)


def test_visitors_do_not_see_each_other(visit: Visit, home: Path) -> None:
    one, other = visit(home, hand=pick_hand(home, 1)), visit(home, hand=pick_hand(home, 2))
    one.slider(key="condition_k").set_value(9).run()
    other.run()
    assert "**24 hands**" in head(other)
    assert address(other) == {"hand": pick_hand(home, 2)}
    assert "search_trail" not in other.session_state


def test_marks_and_the_way_back() -> None:
    """A click in the grid, which `streamlit.testing` has no hand for, comes down to these calls."""

    def clicks() -> None:
        from apps.browser import session
        from apps.browser.search.question import Question

        session.ask(Question(hand=1))
        session.ask(Question(hand=1, k=3))  # other conditions are no other question
        session.ask(Question(hand=2).marked(3, like=True))

    page = AppTest.from_function(clicks).run()
    assert [question.hand for question in page.session_state["search_trail"]] == [1]
    assert address(page) == {"like": "0000000000000002.0000000000000003"}
