"""RTMPose's networks as a detector, with small networks that answer as the published ones do."""

import hashlib
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from apps.cli import main
from handsim import Pool
from handsim.detection import Detection, DetectorOptions, describe_detector
from handsim.detection.detector import UndetectedError
from handsim.detection.mediapipe import MediaPipeHands
from handsim.detection.onnx import MAX_BATCH
from handsim.detection.rtmpose import RtmposeHands, side_by_body
from handsim.errors import HandsimError
from handsim.geometry import square_around
from tests.handsim.builders import make_detection
from tests.handsim.detection.networks import (
    BOX_SCORES,
    JOINT_SCORE,
    JOINTS,
    LEFT,
    RIGHT,
    write_body_pose,
    write_detector,
    write_faulty_hand_pose,
    write_fixed_hand_pose,
    write_hand_pose,
    write_network,
    write_yolox,
)

Box = tuple[int, int, int, int]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "boxes": write_detector(folder / "boxes.onnx"),
        "hand": write_hand_pose(folder / "hand.onnx"),
        "body": write_body_pose(folder / "body.onnx"),
        "yolox": write_yolox(folder / "yolox.onnx"),
    }


@pytest.fixture(autouse=True)
def without_mediapipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model in the cache, so nobody to ask for a second opinion."""
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path / "cache"))


def paint(width: int, height: int, right: Box | None = None, left: Box | None = None) -> NDArray[np.uint8]:
    """A black picture with a hand, or two: x0, y0, x1, y1."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for box, colour in ((right, RIGHT), (left, LEFT)):
        if box is not None:
            picture[box[1] : box[3], box[0] : box[2]] = colour
    return picture


def assert_joints(detection: Detection, box: Box, error_px: float = 1.0) -> None:
    low, high = np.array(box[:2]), np.array(box[2:])
    assert np.abs(detection.keypoints_px[:, :2] - (low + JOINTS * (high - low))).max() <= error_px
    assert (detection.keypoints_px[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("width", "height", "right", "left"),
    [
        (700, 300, (500, 100, 600, 220), (60, 50, 200, 150)),
        (300, 700, (90, 560, 240, 700), (100, 20, 170, 160)),  # one at the border
        (90, 80, (3, 5, 33, 36), (60, 40, 85, 75)),  # smaller than what the networks see
        (1601, 1201, (1200, 900, 1390, 1050), (30, 40, 200, 220)),
    ],
)
@pytest.mark.parametrize("detector_size", [(320, 320), (416, 256)])  # width and height of what it sees
def test_joints_lie_in_the_picture_to_within_a_pixel(
    networks: dict[str, Path],
    tmp_path: Path,
    width: int,
    height: int,
    right: Box,
    left: Box,
    detector_size: tuple[int, int],
) -> None:
    boxes = write_detector(tmp_path / "boxes.onnx", "N", *detector_size)
    found = RtmposeHands([boxes, networks["hand"]]).detect([paint(width, height, right, left)])[0]
    for hand, box, score in zip(found, (right, left), BOX_SCORES, strict=True):
        assert_joints(hand, box)
        assert hand.score == pytest.approx(score)
        assert hand.detector == "rtmpose"
        assert hand.joint_scores == pytest.approx(JOINT_SCORE, abs=0.06)  # a place lies between two bins


def test_hands_are_found_in_a_picture_longer_than_opencv_warps(networks: dict[str, Path]) -> None:
    box = (32_000, 100, 32_200, 300)
    models = [networks[name] for name in ("boxes", "hand", "body")]
    (hand,) = RtmposeHands(models).detect([paint(33_000, 400, box)])[0]
    assert_joints(hand, box, error_px=2)  # the detector's pixels are 103 of the picture's


def test_yolox_finds_hands_as_well(networks: dict[str, Path]) -> None:
    box = (500, 100, 600, 220)
    (hand,) = RtmposeHands([networks["yolox"], networks["hand"]]).detect([paint(700, 300, box)])[0]
    assert_joints(hand, box)
    assert hand.score == pytest.approx(BOX_SCORES[0] ** 2)


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_many_pictures_at_once_give_the_hands_of_one_by_one(
    networks: dict[str, Path], tmp_path: Path, batch: int | str
) -> None:
    models = [write_detector(tmp_path / "boxes.onnx", batch), write_hand_pose(tmp_path / "hand.onnx", batch)]
    models.append(write_body_pose(tmp_path / "body.onnx", batch))
    pictures = [
        paint(200 + 20 * number, 300, (10, 40 + number, 90, 160), (120, 30, 190, 130) if number % 3 else None)
        if number % 4
        else paint(50, 50)
        for number in range(2 * MAX_BATCH + 3)
    ]
    one_by_one = RtmposeHands([networks[name] for name in ("boxes", "hand", "body")])
    for picture, hands in zip(pictures, RtmposeHands(models).detect(pictures), strict=True):
        expected = one_by_one.detect([picture])[0]
        assert [hand.side for hand in hands] == [hand.side for hand in expected]
        for hand, other in zip(hands, expected, strict=True):
            assert np.allclose(hand.keypoints_px, other.keypoints_px, atol=1e-3)
    assert RtmposeHands(models).detect([]) == []


def test_a_whole_body_tells_sides_and_without_one_they_are_unknown(networks: dict[str, Path]) -> None:
    pictures = [paint(700, 500, (500, 300, 600, 420), (60, 50, 200, 150)), paint(40, 40)]
    pictures.append(paint(300, 900, None, (20, 700, 120, 840)))
    told = RtmposeHands([networks["body"], networks["hand"], networks["boxes"]]).detect(pictures)
    assert [[hand.side for hand in hands] for hands in told] == [["right", "left"], [], ["left"]]
    assert all(0.9 < (hand.side_score or 0) <= 1 for hands in told for hand in hands)
    unknown = RtmposeHands([networks["hand"], networks["boxes"]]).detect(pictures)
    assert [[hand.side for hand in hands] for hands in unknown] == [["unknown"] * 2, [], ["unknown"]]
    for hands, others in zip(told, unknown, strict=True):
        for hand, other in zip(hands, others, strict=True):
            assert np.array_equal(hand.keypoints_px, other.keypoints_px)  # as seen: none is mirrored


def make_body(hand: Detection, left: float, right: float, score: float) -> Sequence[NDArray[np.float32]]:
    """A whole body whose hands lie that many lengths of ``hand`` beside it, and its joints' scores."""
    joints, scores = np.zeros((133, 2), np.float32), np.zeros(133, np.float32)
    length = (hand.box_px[2:] - hand.box_px[:2]).max()
    for part, wrist, lengths in ((slice(91, 112), 9, left), (slice(112, 133), 10, right)):
        joints[part] = hand.keypoints_px[:, :2] + (lengths * length, 0)
        joints[wrist], scores[wrist] = joints[part.start], 0.9
        scores[part] = score
    return joints, scores


@pytest.mark.parametrize("score", [0.9, 0.1])  # of the hands' joints; those of the wrists are sure
def test_a_hand_has_the_side_of_the_body_s_hand_that_it_lies_on(score: float) -> None:
    hand = make_detection(100, 100, 180, 200, side="unknown")
    assert side_by_body(hand, *make_body(hand, 0.1, 3, score)).side == "left"
    assert side_by_body(hand, *make_body(hand, 0.9, 0.2, score)).side == "right"
    assert side_by_body(hand, *make_body(hand, 0.9, 1.2, score)).side == "unknown"
    assert side_by_body(hand, *make_body(hand, 0.2, 0.2, score)).side == "unknown"


@pytest.mark.slow
def test_mediapipe_tells_the_side_of_a_hand_in_a_photograph_if_it_sees_the_same_hand(
    model_path: Path, shared_data: Path, tmp_path: Path
) -> None:
    picture = np.asarray(Image.open(shared_data / "hands_wild" / "test5.jpg").convert("RGB"))
    with closing(MediaPipeHands(model_path)) as mediapipe:
        truths = mediapipe.detect([picture])[0]
    assert {truth.side for truth in truths} == {"left", "right"}
    for truth in truths:
        x0, y0, x1, y1 = np.clip(square_around(truth.box_px), 0, None).astype(int)
        crop = picture[y0:y1, x0:x1]
        joints = (truth.keypoints_px[:, :2] - (x0, y0)) / crop.shape[1::-1]
        network = write_fixed_hand_pose(tmp_path / f"{truth.side}.onnx", joints)
        with closing(RtmposeHands([network], model_path)) as detector:
            (hand,), (turned,) = detector.detect([crop, np.rot90(crop, 2)])
        assert hand.side == truth.side
        assert hand.side_score == pytest.approx(truth.side_score, abs=0.1)
        assert turned.side == "unknown"


def test_without_a_detector_a_picture_is_one_hand_that_fills_it(networks: dict[str, Path]) -> None:
    detector = RtmposeHands([networks["hand"]])
    box = (10, 20, 150, 140)
    crop, empty, long = detector.detect([paint(180, 150, box), paint(100, 100), paint(400, 150, box)])
    assert_joints(crop[0], box)
    assert crop[0].score == pytest.approx(JOINT_SCORE, abs=0.06)
    assert (len(crop), empty, long) == (1, [], [])


def describe(*models: Path) -> str:
    return describe_detector(DetectorOptions("rtmpose", models))


def test_a_description_names_each_file_by_its_checksum(networks: dict[str, Path], tmp_path: Path) -> None:
    boxes, hand = networks["boxes"], networks["hand"]
    text = describe(boxes, hand)
    for path in (boxes, hand):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    moved = tmp_path / "end2end.onnx"
    moved.write_bytes(boxes.read_bytes())
    assert describe(hand, moved) == text
    assert len({text, describe(hand), describe(networks["yolox"], hand)}) == 3


def reads(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def edit_opset(path: Path) -> None:
    model = onnx.load_from_string(write_hand_pose(path).read_bytes())
    model.opset_import[0].version = 999
    path.write_bytes(model.SerializeToString())


def answers(shape: str, nodes: str, takes: str = "float[N, 3, 64, 64] input") -> Callable[[Path], object]:
    return lambda path: write_network(path, takes, shape, nodes)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist; --detector-model takes an ONNX file"),
        (lambda path: path.mkdir(), "is a folder; --detector-model takes an ONNX file"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "is a zip archive; .* end2end.onnx"),
        (reads(b""), "ONNX Runtime [0-9.]+ cannot read the network"),
        (reads(b"not a network\n" * 99), "cannot read the network"),
        (edit_opset, "cannot read the network .*999"),
        (
            answers("float[N, 3] y", "y = ReduceMax <axes = [2, 3], keepdims = 0> (input)"),
            r"answers \[N, 3\]",
        ),
        (answers("float[3, 64] y", "y = ReduceMax <axes = [0, 2], keepdims = 0> (input)"), "needs a row"),
        (answers("float[N, 9] y", "y = Identity (input)", "float[N, 9] input"), "takes one float"),
        (answers("float[N, 3, 64, 64] y", "zero = Sub (input, input) y = Div (zero, zero)"), "NaN"),
    ],
)
def test_a_file_that_is_no_such_network_is_refused_in_one_line(
    networks: dict[str, Path], tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "network.onnx"
    write(path)
    with pytest.raises(HandsimError, match=message) as caught:
        describe(networks["hand"], path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.01, 0.5, 0.99])
def test_a_truncated_network_is_refused(networks: dict[str, Path], tmp_path: Path, part: float) -> None:
    content = networks["hand"].read_bytes()
    path = tmp_path / "network.onnx"
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(HandsimError, match=f"cannot read the network {path}"):
        describe(path)


def test_networks_that_do_not_go_together_are_refused(networks: dict[str, Path], tmp_path: Path) -> None:
    other = write_hand_pose(tmp_path / "other.onnx")
    with pytest.raises(HandsimError, match=r"hand\.onnx and .*other\.onnx are both a hand pose network"):
        describe(networks["hand"], networks["boxes"], other)
    with pytest.raises(HandsimError, match=r"given: none.*--detector-model FILE \(docs/detectors.md"):
        describe()
    with pytest.raises(HandsimError, match="given: hand detector"):
        describe(networks["boxes"])
    with pytest.raises(HandsimError, match="is for rtmpose; add --detector rtmpose"):
        DetectorOptions(models=(networks["hand"],))


def test_a_network_that_answers_nan_for_one_picture_loses_no_other(
    networks: dict[str, Path], tmp_path: Path
) -> None:
    hand = write_faulty_hand_pose(tmp_path / "hand.onnx")
    right, left = paint(90, 80, (3, 5, 33, 36)), paint(90, 80, None, (3, 5, 33, 36))
    with pytest.raises(UndetectedError, match=f"{hand} answers NaN") as caught:
        RtmposeHands([networks["boxes"], hand]).detect([right, left, right])
    assert [len(hands) for hands in caught.value.found] == [1, 0, 1]
    assert list(caught.value.failures) == [1]


def test_ingest_keeps_hands_of_unknown_side_as_they_were_seen(
    networks: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    picture = paint(400, 300, (250, 100, 350, 220), (60, 50, 200, 150))
    Image.fromarray(picture).save(tmp_path / "photos" / "1.png")
    command = ["ingest", str(tmp_path / "photos"), "--home", str(tmp_path), "--workers", "1"]
    command += ["--detector", "rtmpose"]
    for name in ("boxes", "hand"):
        command += ["--detector-model", str(networks[name])]
    assert main(command) == 0
    pool = Pool.open(tmp_path / "pool")
    assert pool.has_side.tolist() == [False, False]
    for hand in pool.hands(np.arange(2)):
        assert hand.keypoints[0, 0] < hand.keypoints[1, 0]  # the first is at the patch's left
        assert hand.joint_scores == pytest.approx(JOINT_SCORE, abs=0.06)


def test_ingest_says_how_to_install_a_missing_onnxruntime(
    networks: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "photos").mkdir()
    command = ["ingest", str(tmp_path / "photos"), "--home", str(tmp_path), "--detector", "rtmpose"]
    assert main([*command, "--detector-model", str(networks["hand"])]) == 2
    assert "pip install 'handsim[onnx]'" in capsys.readouterr().err
