"""The search page without a web browser: what the end-to-end tests do not click on."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.components.hand_grid import Card
from apps.browser.library import HandFinder
from apps.browser.search.page import explain_unusable
from apps.browser.session import Detections
from apps.cli import main
from handsim import Pool, PoolWriter
from handsim.detection import DetectedHand
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.lists import HandLists
from index.server.address import KEY_VARIABLE
from tests.apps.browser.conftest import Visit, address, press, read_heading
from tests.apps.commands import pick_hand
from tests.handsim.builders import make_jpeg, make_partial_hand
from tests.index.server.small_server import SmallServer

pytestmark = pytest.mark.slow


def head(page: AppTest) -> str:
    """The line above the answers."""
    return read_heading(page, "search_found")


def test_a_random_hand_keeps_the_conditions_of_the_address(visit: Visit, home: Path) -> None:
    page = visit(home, k="3", side="left")
    press(page, "Random hand")
    assert head(page).startswith("3 hands of ")
    assert page.session_state["condition_side"] == "left"
    assert set(address(page)) == {"hand", "k", "side"}


def test_conditions_go_into_the_address_and_out_of_it(visit: Visit, home: Path) -> None:
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


def test_an_empty_answer_offers_what_to_relax(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home), max_distance="0.0")
    assert "Without one of these there are some" in page.info[0].value
    page.button(key="relax_max_distance").click().run()
    assert head(page).startswith("24 hands of ")
    hopeless = visit(home, hand=pick_hand(home), max_distance="0.0", sources="nowhere")
    assert "leaving out one of them does not help" in hopeless.info[0].value
    press(hopeless, "Leave out all of them")
    assert head(hopeless).startswith("24 hands of ")


def test_a_list_is_a_condition_as_it_is_for_the_command_line(
    visit: Visit, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists, ids = HandLists(own_home / "lists"), Pool.open(own_home / "pool").hand_ids
    lists.create("few", ids[10:14])
    lists.create("more", ids[:50])
    lists.create("none", [])
    hand = pick_hand(own_home)
    for few, other, expected in (("lists", "--list", 4), ("not_lists", "--exclude-list", 55)):
        page = visit(own_home, hand=hand, k="60", other_video="no", **{few: "few"})
        assert head(page).startswith(f"{expected} hands of ")
        assert page.multiselect(key=f"condition_{few}").value == ["few"]
        capsys.readouterr()
        assert (
            main(["query", "--hand", hand, "-k", "60", other, "few", "--home", str(own_home), "--json"]) == 0
        )
        assert len(json.loads(capsys.readouterr().out)[0]["neighbors"]) == expected
    page.multiselect(key="condition_not_lists").set_value([]).run()
    page.multiselect(key="condition_lists").set_value(["few", "more"]).run()
    assert address(page)["lists"] == "few\nmore"
    assert head(page).startswith("49 hands of ")  # without the query
    page = visit(own_home, hand=hand, max_distance="0.0", lists="gone\nmore")
    assert "There is no list 'gone'" in page.warning[0].value
    page.button(key="relax_max_distance").click().run()
    assert address(page) == {"hand": hand, "lists": "more"}
    assert "holds no hand" in visit(own_home, hand=hand, lists="none").error[0].value


def test_start_afresh_leaves_an_invalid_address(visit: Visit, home: Path) -> None:
    page = visit(home, like=pick_hand(home), diversity="0.5", k="9999")
    assert "k is 9999 in the address; 200 is taken" in page.warning[0].value
    assert "Diversity does not go with examples" in page.warning[1].value
    assert head(page).startswith("55 hands of ")
    press(page, "Clear search")
    assert not page.warning
    assert "Some of **60** hands" in "".join(text.value for text in page.markdown)


def test_visitors_have_trails_of_their_own(visit: Visit, home: Path) -> None:
    one, other = visit(home), visit(home, hand=pick_hand(home))
    for _ in range(3):
        one.button[0].click().run()
    assert 1 <= len(one.session_state["search_trail"]) <= 2
    assert "search_trail" not in other.run().session_state
    assert address(other) == {"hand": pick_hand(home)}


def test_a_server_that_goes_away_is_reported_until_it_is_back(
    visit: Visit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a-key")
    with SmallServer(key="a-key") as server:
        assert main(["index", "copy", str(home / "index"), server.address]) == 0
        page = visit(home, index=server.address, hand=pick_hand(home), k="5")
        assert head(page).startswith("5 hands of ")
        server.stop()
        page.toggle(key="condition_one_per_video").set_value(True).run()
        assert "The index does not answer" in page.warning[0].value
        assert "Trying again every few seconds" in page.caption[0].value
        server.start()
        until = time.monotonic() + 60
        while page.run().warning and time.monotonic() < until:  # a closed connection takes a moment
            time.sleep(0.2)
        assert not page.warning
        assert head(page).startswith("5 hands of ")


@pytest.mark.parametrize("name", ["hand", "like"])
def test_an_unknown_hand_is_told_once_with_a_start_and_the_conditions_stay(
    visit: Visit, home: Path, name: str
) -> None:
    page = visit(home, **{name: "00000000000003e7"})
    assert "No hand has the id 00000000000003e7 in index v0001" in page.info[0].value
    assert page.slider(key="condition_k").value == 24
    assert "Some of **60** hands" in page.markdown[-1].value
    assert not any("Trying again" in caption.value for caption in page.caption)


def test_a_pose_is_of_no_video_and_the_condition_says_so(visit: Visit, home: Path) -> None:
    page = visit(home, pose=".".join(["100", "200"] * 21))
    other_video = page.toggle(key="condition_other_video")
    assert (other_video.disabled, other_video.value) == (True, False)
    assert "of no video" in other_video.help
    page = visit(home, hand=pick_hand(home))
    assert not page.toggle(key="condition_other_video").disabled


def test_the_way_here_leaves_out_where_one_is(visit: Visit, home: Path) -> None:
    page = visit(home, hand=pick_hand(home, 3))
    press(page, "Random hand")
    assert len(page.session_state["search_trail"]) == 1
    assert "History" in [caption.value for caption in page.caption]
    page.query_params["hand"] = pick_hand(home, 3)  # as Back does
    page.run()
    assert "History" not in [caption.value for caption in page.caption]


def test_a_hand_with_unlabelled_joints_is_drawn_without_them_and_refused_with_the_reason(
    visit: Visit, own_home: Path
) -> None:
    hand = make_partial_hand(1, [4, 8])
    points = Card(hand.hand_id, None, hand.keypoints).to_json()["points"]
    assert [joint for joint, point in enumerate(points) if point is None] == [4, 8]
    with PoolWriter(own_home / "pool", crop_size_px=Pool.open(own_home / "pool").crop_size_px) as writer:
        writer.add(hand)
    page = visit(own_home, hand=format_hand_id(hand.hand_id))
    assert not page.exception
    assert "thumb\\_tip, index\\_tip" in page.error[0].value


def test_an_id_or_a_preset_pose_is_searched(visit: Visit, home: Path) -> None:
    page = visit(home)
    page.segmented_control(key="start").set_value("Id").run()
    page.text_input(key="start_id").set_value("12").run()
    assert "is not a hand id" in page.warning[0].value
    page.text_input(key="start_id").set_value(pick_hand(home)).run()
    assert address(page)["hand"] == pick_hand(home)
    assert head(page).startswith("24 hands of ")
    page.segmented_control(key="start").set_value("Pose").run()
    page.pills(key="start_preset").set_value("Fist").run()
    assert head(page).startswith("24 hands of ")
    assert len(address(page)["pose"].split(".")) == 42


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello", "x.jpg is not a picture; upload a photograph, as JPEG, "),
        (b"", "x.jpg is not a picture; "),
        (b"\xff\xd8" + b"0" * (26 * 2**20), "x.jpg: the file has 26 MB; upload a picture of at most 25 MB."),
        (make_jpeg(1)[:400], "x.jpg is cut off; copy it again"),
    ],
)
def test_a_file_that_is_no_use_is_one_sentence_with_the_remedy(data: bytes, sentence: str) -> None:
    with pytest.raises(HandsimError) as refused:
        HandFinder(None).find(data)
    told = explain_unusable("x.jpg", refused.value)
    assert told.startswith(sentence)
    assert told.endswith(".")


def test_a_picture_is_found_again_by_its_visitor_alone() -> None:
    hand = DetectedHand(*[np.zeros(1)] * 6)  # type: ignore[arg-type]  # what it holds does not matter
    detections = Detections()
    detections.store("one", (1, 2), hand)
    assert detections.find("one", (1, 2)) is hand
    assert detections.find("other", (1, 2)) is None


def test_a_picture_without_a_hand_is_searched_once(
    visit: Visit, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures: list[bytes] = []
    find = HandFinder.find

    def record(finder: HandFinder, data: bytes) -> list[DetectedHand]:
        pictures.append(data)
        return find(finder, data)

    monkeypatch.setattr(HandFinder, "find", record)
    page = visit(home)
    page.segmented_control(key="start").set_value("Photograph").run()
    page.file_uploader[0].set_value(("text.jpg", b"no picture", "image/jpeg")).run()
    press(page, "Random hand")
    assert page.error[0].value.startswith("text\\.jpg is not a picture; upload a photograph")
    assert len(pictures) == 1
