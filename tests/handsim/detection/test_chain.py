"""Detectors in a row, and pictures of cameras that mirror."""

import shlex
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apps.cli.ingest_report import describe_report
from handsim.detection import Detection, DetectorOptions, describe_detector, hand_in_crop, open_detector
from handsim.detection.chain import ChainedDetector
from handsim.detection.detector import UndetectedError
from handsim.detection.mirrored import MirroredDetector
from handsim.errors import HandsimError
from handsim.home import Home
from handsim.images import decode_picture
from handsim.ingest import IngestOptions, ingest
from handsim.ingest.plan import plan_ingest
from handsim.ingest.worker import process_item
from tests.handsim.builders import BrightnessDetector, make_detection, write_picture


class ListDetector:
    """Finds in a picture what a list has at the place that the picture's brightness says."""

    def __init__(self, name: str, hands: Sequence[Sequence[Detection] | str]) -> None:
        self._hands = [
            one if isinstance(one, str) else [replace(hand, detector=name) for hand in one] for one in hands
        ]
        self.asked: list[int] = []

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        places = [int(picture[0, 0, 0]) for picture in pictures]
        self.asked += places
        found = [self._hands[place] for place in places]
        failures = {number: why for number, why in enumerate(found) if isinstance(why, str)}
        hands = [[] if isinstance(one, str) else one for one in found]
        if failures:
            raise UndetectedError(hands, failures)
        return hands

    def close(self) -> None: ...


def pictures(count: int) -> list[NDArray[np.uint8]]:
    return [np.full((8, 8, 3), place, np.uint8) for place in range(count)]


SURE = make_detection(0, 0, 100, 100, score=0.95)
UNSURE = replace(SURE, score=0.6)
SIDELESS = replace(SURE, side="unknown")
LEFT = replace(make_detection(2, 1, 101, 99, score=0.9, side="left"), side_score=0.8)
LEFT_THERE = replace(make_detection(500, 0, 600, 100, side="left"), side_score=0.8)
PART_OF_LEFT = make_detection(540, 20, 580, 60, score=0.94)
ELSEWHERE = make_detection(300, 0, 380, 90, score=0.85)


def test_a_later_detector_is_asked_only_where_the_one_before_finds_nothing_or_is_unsure() -> None:
    first = ListDetector("first", [[SURE], [], [UNSURE], [SIDELESS], [SURE, replace(ELSEWHERE, score=0.5)]])
    second = ListDetector("second", [[], [SURE], [], [], []])
    third = ListDetector("third", [[]] * 5)
    ChainedDetector([first, second, third]).detect(pictures(5))
    assert (first.asked, second.asked, third.asked) == ([0, 1, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4])


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        ([UNSURE], [LEFT], [("second", "left", 0.9, 0.8)]),
        ([UNSURE], [replace(LEFT, score=0.7)], [("first", "right", 0.6, None)]),
        ([SIDELESS], [LEFT], [("first", "left", 0.95, 0.8)]),
        ([UNSURE], [replace(LEFT, side="unknown")], [("second", "right", 0.9, None)]),
        ([UNSURE], [], [("first", "right", 0.6, None)]),
        (
            [UNSURE, PART_OF_LEFT],
            [LEFT_THERE],
            [("second", "left", 0.9, 0.8), ("first", "right", 0.6, None)],
        ),
        (
            [UNSURE],
            [ELSEWHERE, LEFT],
            [("second", "left", 0.9, 0.8), ("second", "right", 0.85, None)],
        ),
    ],
)
def test_of_the_same_hand_the_first_sure_detection_stays_and_sides_are_filled_in(
    earlier: list[Detection], later: list[Detection], expected: list[tuple[str, str, float, float | None]]
) -> None:
    chain = ChainedDetector([ListDetector("first", [earlier]), ListDetector("second", [later])])
    (found,) = chain.detect(pictures(1))
    assert [(hand.detector, hand.side, hand.score, hand.side_score) for hand in found] == expected


def test_where_one_of_a_chain_fails_the_others_are_asked_and_the_failure_is_told() -> None:
    first = ListDetector("first", [[SURE], "it is broken", [UNSURE]])
    second = ListDetector("second", [[], [LEFT], "it is broken, too"])
    with pytest.raises(UndetectedError) as caught:
        ChainedDetector([first, second]).detect(pictures(3))
    assert caught.value.failures == {1: "it is broken", 2: "it is broken, too"}
    assert [[hand.score for hand in hands] for hands in caught.value.found] == [[0.95], [0.9], [0.6]]


class NamedDetector(BrightnessDetector):
    """A detector with a name, which sees what is brighter than that."""

    def __init__(self, name: str, darkest: int) -> None:
        self._name, self._darkest = name, darkest

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        found = super().detect_in(image) if image.mean() > self._darkest else []
        return [replace(hand, detector=self._name) for hand in found]


def make_chain() -> ChainedDetector:
    return ChainedDetector([NamedDetector("day", 100), NamedDetector("night", 0)])


def test_an_ingest_counts_what_each_of_a_chain_found(tmp_path: Path) -> None:
    for level in (50, 120, 180, 240):
        write_picture(tmp_path / "photos" / f"{level}.png", level)
    report = ingest([tmp_path / "photos"], tmp_path / "home" / "pool", make_chain, workers=1)
    assert report.detectors == {"day": 3, "night": 1}
    assert "found by day: 3, by night: 1" in describe_report(report, Home(tmp_path / "home"), "")


@pytest.mark.parametrize(
    ("chain", "names"),
    [
        ("mediapipe", ["mediapipe"]),
        ("command:./a --size 4, mediapipe", ["command:./a --size 4", "mediapipe"]),
        ('mediapipe,command:a \'x,y\' "z\\","', ["mediapipe", 'command:a \'x,y\' "z\\","']),
        ("command:a\\,b,command:c", ["command:a\\,b", "command:c"]),
    ],
)
def test_commas_part_a_chain_but_not_between_quotes(chain: str, names: list[str]) -> None:
    options = DetectorOptions(chain=chain)
    assert options.names == names
    assert ForkingPickler.loads(ForkingPickler.dumps(options)) == options


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ("mediapip", "there is no detector 'mediapip'; did you mean mediapipe?; there are mediapipe"),
        ("command", "there is no detector 'command'; did you mean command:PROGRAM?"),
        ("mediapipe,", "there is no detector ''"),
        ("mediapipe,command:a,mediapipe", "names mediapipe twice"),
        ("command:a 'b,mediapipe", "has a quote that does not close"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(chain: str, message: str) -> None:
    with pytest.raises(HandsimError) as caught:
        DetectorOptions(chain=chain)
    assert message in str(caught.value)


def test_chains_programs_and_mirrors_have_descriptions_of_their_own(model_path: Path, tmp_path: Path) -> None:
    program = tmp_path / "a.py"
    program.write_text("1")

    def describe(chain: str, *, quick: bool = False, mirrored: bool = False) -> str:
        return describe_detector(DetectorOptions(chain, (), model_path, quick, mirrored))

    command = f"command:python3 {shlex.quote(str(program))}"
    before = describe(command)
    others = [
        describe(f"mediapipe,{command}"),
        describe(f"{command},mediapipe"),
        describe(f"{command} --fast"),
        describe("mediapipe", mirrored=True),
        describe(command, mirrored=True),
        describe("mediapipe", quick=True),
    ]
    assert describe("mediapipe") == "standard model, retry"  # pools hold it
    program.write_text("2")
    assert len({before, describe(command), "standard model, retry", *others}) == 9
    (tmp_path / "elsewhere").mkdir()
    copy = shutil.copy(program, tmp_path / "elsewhere")
    assert describe(f"command:python3 {shlex.quote(str(copy))}") == describe(command)


def test_a_mirrored_photograph_gives_the_hands_that_the_photograph_gives(
    model_path: Path, shared_data: Path, tmp_path: Path
) -> None:
    """With ``mirrored``: its sides, keypoints and crops are the same, its boxes are in its own pixels."""
    pixels = decode_picture(shared_data / "hands_wild" / "test5.jpg").pixels
    width = pixels.shape[1]
    results = []
    for name, image, mirrored in (("plain", pixels, False), ("selfie", pixels[:, ::-1], True)):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        (item,) = plan_ingest([tmp_path / f"{name}.png"], IngestOptions()).files
        options = DetectorOptions(mediapipe_model=model_path, mirrored=mirrored)
        with closing(open_detector(options)) as detector:
            results.append(process_item(item, detector).hands)
    plain, selfie = results
    assert sorted(hand.side for hand, _ in plain) == ["left", "right"]
    for (hand, crop), (other, other_crop) in zip(plain, selfie, strict=True):
        assert hand.side == other.side
        np.testing.assert_allclose(hand.keypoints, other.keypoints, atol=1e-5)
        x0, y0, x1, y1 = hand.box_px
        assert other.box_px == pytest.approx([width - x1, y0, width - x0, y1], abs=1e-3)
        assert crop is not None
        assert other_crop is not None
        difference = decode_picture(crop).pixels.astype(int) - decode_picture(other_crop).pixels
        assert np.abs(difference).mean() < 1


def test_in_a_mirrored_picture_a_hand_of_unknown_side_is_kept_as_an_unmirrored_camera_sees_it() -> None:
    (found,) = MirroredDetector(ListDetector("one", [[SIDELESS]])).detect(pictures(1))
    assert found[0].side == "unknown"
    np.testing.assert_allclose(hand_in_crop(found[0])[1], hand_in_crop(SIDELESS)[1], atol=1e-5)
