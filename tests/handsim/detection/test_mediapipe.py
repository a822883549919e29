"""MediaPipe on real photographs, and its model: found, fetched, checked."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handsim.detection import (
    Detection,
    DetectorOptions,
    HandDetector,
    describe_detector,
    fetch_model,
    open_detector,
    require_model,
)
from handsim.detection import model as model_file
from handsim.detection.detector import FIRST_TRY, hand_in_crop
from handsim.detection.mediapipe import MediaPipeHands
from handsim.detection.model import (
    ALIGNMENT_BYTES,
    EXTRA_HEADER_BYTES,
    WHEEL_MEMBERS,
    ZIP_HEADER_BYTES,
    default_model_path,
    repack_wheel,
)
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import apply_affine, crop_affine, cut_crop, invert_affine, square_around


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def detector(model_path: Path) -> Iterator[HandDetector]:
    detector = open_detector(DetectorOptions(mediapipe_model=model_path))
    yield detector
    detector.close()


@pytest.fixture(scope="module")
def digits(shared_data: Path) -> list[Path]:
    """Every 20th photograph of a sign."""
    return sorted((shared_data / "sign_digits").glob("*/*.jpg"))[::20]


@pytest.mark.slow
def test_each_photograph_of_a_sign_has_one_right_hand(detector: HandDetector, digits: list[Path]) -> None:
    found = [detector.detect([read(path)])[0] for path in digits]
    assert [len(hands) for hands in found] == [1] * len(digits)
    assert np.mean([hands[0].side == "left" for hands in found]) <= 0.03
    assert {hands[0].stage for hands in found} == {FIRST_TRY}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test1", [("right", 320, 250), ("right", 435, 370)]),
        ("test3", [("right", 467, 393), ("left", 484, 307)]),
        ("test5", [("right", 498, 711), ("left", 683, 695)]),
    ],
)
def test_large_hands_are_found_with_their_side(
    detector: HandDetector, shared_data: Path, name: str, expected: list[tuple[str, float, float]]
) -> None:
    found = detector.detect([read(shared_data / "hands_wild" / f"{name}.jpg")])[0]
    assert len(found) == len(expected)
    for hand, (side, x, y) in zip(sorted(found, key=lambda hand: hand.box_px[0]), expected, strict=True):
        centre = (hand.box_px[:2] + hand.box_px[2:]) / 2
        assert hand.side == side
        assert np.hypot(*(centre - (x, y))) < 40


def compose(
    paths: list[Path], size_px: tuple[int, int], places: list[tuple[int, int, int]]
) -> NDArray[np.uint8]:
    """A wall with photographs on it, each at x, y and so many pixels wide, of which a hand takes most."""
    picture = Image.new("RGB", size_px, (196, 190, 184))
    for path, (x, y, width) in zip(paths, places, strict=True):
        photograph = Image.open(path).convert("RGB")
        picture.paste(photograph.resize((width, width), Image.Resampling.BICUBIC), (x, y))
    return np.asarray(picture)


def count_on_each(hands: list[Detection], places: list[tuple[int, int, int]]) -> list[int]:
    """How many hands have their palm on each photograph; the last number is of those that are on none."""
    centres = [hand.keypoints_px[[0, 5, 9, 17], :2].mean(axis=0) for hand in hands]
    on = [
        [x <= centre[0] < x + width and y <= centre[1] < y + width for centre in centres]
        for x, y, width in places
    ]
    return [*map(sum, on), len(hands) - sum(map(sum, on))]


@pytest.mark.parametrize(
    ("size_px", "places"),
    [
        ((1600, 1200), [(50, 150, 900), (1100, 60, 130), (1350, 500, 150), (1120, 900, 110)]),
        ((1280, 720), [(20 + 320 * (n % 4), 60 + 340 * (n // 4), 220) for n in range(8)]),
    ],
    ids=["one near and three small", "eight alike"],
)
def test_hands_of_all_sizes_are_found_side_by_side(
    detector: HandDetector, shared_data: Path, size_px: tuple[int, int], places: list[tuple[int, int, int]]
) -> None:
    paths = sorted((shared_data / "sign_digits").glob("*/[59].jpg"))[10 : 10 + len(places)]
    found = detector.detect([compose(paths, size_px, places)])[0]
    assert count_on_each(found, places) == [1] * len(places) + [0]
    assert [hand.score for hand in found] == sorted((hand.score for hand in found), reverse=True)


def test_a_closed_hand_is_one(detector: HandDetector, shared_data: Path) -> None:
    for path in sorted((shared_data / "sign_digits").glob("*/0.jpg"))[:40:8]:
        places = [(150, 40, 400)]
        found = detector.detect([compose([path], (640, 480), places)])[0]
        assert count_on_each(found, places) == [1, 0]


def test_a_quick_look_finds_what_is_large(model_path: Path, shared_data: Path) -> None:
    quick = open_detector(DetectorOptions(mediapipe_model=model_path, quick=True))
    (path,) = (shared_data / "sign_digits").glob("p000/5.jpg")
    picture = compose([path, path], (1600, 1200), [(100, 100, 900), (1300, 700, 100)])
    assert count_on_each(quick.detect([picture])[0], [(100, 100, 900), (1300, 700, 100)]) == [1, 0, 0]
    quick.close()


def test_a_mirrored_photograph_shows_the_other_hand(detector: HandDetector, shared_data: Path) -> None:
    """On spread hands (the five); a fist looks much the same from either side."""
    for path in sorted((shared_data / "sign_digits").glob("*/5.jpg"))[:6]:
        image = read(path)
        (plain,), (mirrored,) = detector.detect([image])[0], detector.detect([image[:, ::-1]])[0]
        assert plain.side != mirrored.side
        # In the crop both are the same right hand.
        distance = np.linalg.norm((hand_in_crop(plain)[1] - hand_in_crop(mirrored)[1])[:, :2], axis=1)
        assert np.median(distance) < 0.06


def test_no_hand_is_found_where_there_is_none(detector: HandDetector) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    for image in (
        np.zeros((1, 1, 3), np.uint8),
        np.full((3, 400, 3), 200, np.uint8),
        rng.integers(0, 256, (100, 100, 3), dtype=np.uint8),
        np.asarray(coarse.resize((224, 224))),
    ):
        assert detector.detect([image])[0] == []


def test_a_hand_cut_to_its_very_box_is_found_where_it_is(detector: HandDetector, digits: list[Path]) -> None:
    """Against the joints in the whole photograph."""
    distances = []
    for path in digits[:6]:
        image = read(path)
        (hand,) = detector.detect([image])[0]
        square = square_around(hand.box_px, 1.0)
        (alone,) = detector.detect([cut_crop(image, square)])[0]
        back = apply_affine(invert_affine(crop_affine(square)), alone.keypoints_px)
        assert alone.side == hand.side
        length = float(np.ptp(hand.box_px.reshape(2, 2), axis=0).max())
        distances.append(np.linalg.norm((back - hand.keypoints_px)[:, :2], axis=1).mean() / length)
    assert np.median(distances) < 0.04


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    junk = tmp_path / "junk.task"
    junk.write_bytes(b"not a model")
    with pytest.raises(HandsimError, match=r"junk\.task.*handsim models fetch"):
        MediaPipeHands(junk)


def test_a_picture_of_the_wrong_kind_and_a_closed_detector_are_refused(model_path: Path) -> None:
    hands = MediaPipeHands(model_path)
    with pytest.raises(HandsimError, match=r"float64 \[4, 4, 3\]"):
        hands.detect([np.zeros((4, 4, 3))])  # type: ignore[list-item]  # what is refused is the point
    hands.close()
    hands.close()
    with pytest.raises(ValueError, match="closed"):
        hands.detect([np.zeros((4, 4, 3), np.uint8)])


def test_nothing_but_our_own_words_reaches_standard_error(model_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
import numpy as np
from handsim.detection.mediapipe import MediaPipeHands
assert not {{"ai_edge_litert", "cv2"}} & set(sys.modules)
for _ in range(2):
    MediaPipeHands(Path({str(model_path)!r})).detect([np.full((300, 300, 3), 90, np.uint8)])
print("our own words", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "our own words\n")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HANDSIM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value, folder in (
        ("HOME", "", ".cache/handsim"),
        ("XDG_CACHE_HOME", "xdg", "xdg/handsim"),
        ("HANDSIM_CACHE", "own", "own"),
    ):
        monkeypatch.setenv(name, str(tmp_path / value))
        assert default_model_path() == tmp_path / folder / "hand_landmarker.task"


def test_a_missing_or_damaged_model_is_noticed_and_mended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_path: Path
) -> None:
    monkeypatch.setenv("HANDSIM_CACHE", str(tmp_path))
    with pytest.raises(NotThereError, match=r"^[^\n]*handsim models fetch[^\n]*$"):
        require_model()
    with pytest.raises(NotThereError, match=r"no model at .*own\.task.*handsim models fetch"):
        require_model(tmp_path / "own.task")
    cached = default_model_path()
    cached.write_bytes(b"damage")
    with pytest.raises(HandsimError, match=r"damaged.*handsim models fetch"):
        require_model()
    for name in ("download_official", "download_repacked"):
        monkeypatch.setattr(model_file, name, lambda path: shutil.copy(model_path, path))
    fetch_model()
    assert require_model() == cached
    assert os.listdir(tmp_path) == [cached.name]
    assert fetch_model().source == "already there"


def test_what_fails_or_has_the_wrong_checksum_is_never_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(path: Path) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(model_file, "download_official", unreachable)
    monkeypatch.setattr(model_file, "download_repacked", lambda path: path.write_bytes(b"a login page"))
    target = tmp_path / "new" / "model.task"
    lines: list[str] = []
    with pytest.raises(HandsimError, match=r"no route to host.*what came has the sha256.*--model"):
        fetch_model(target, lines.append)
    assert len(lines) == 2
    assert os.listdir(target.parent) == []
    (tmp_path / "file").touch()
    with pytest.raises(HandsimError, match=r"cannot be made.*HANDSIM_CACHE"):
        fetch_model(tmp_path / "file" / "below" / "model.task")


def test_a_wheel_is_repacked_to_the_same_aligned_bytes(tmp_path: Path) -> None:
    contents = {name: os.urandom(1000 + index) for index, name in enumerate(WHEEL_MEMBERS)}
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mediapipe/unrelated.py", "x = 1")
        for name, member in WHEEL_MEMBERS.items():
            archive.writestr(member, contents[name])
    first, second = tmp_path / "first.task", tmp_path / "second.task"
    repack_wheel(wheel, first)
    repack_wheel(wheel, second)
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as bundle:
        assert bundle.testzip() is None
        for entry in bundle.infolist():
            begins = entry.header_offset + ZIP_HEADER_BYTES + len(entry.filename) + len(entry.extra)
            assert entry.extra[:2] == b"\xfe\xca"
            assert len(entry.extra) >= EXTRA_HEADER_BYTES
            assert begins % ALIGNMENT_BYTES == 0
            content = contents[entry.filename]
            assert first.read_bytes()[begins : begins + len(content)] == content


def test_detectors_that_find_other_hands_have_other_descriptions(model_path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(model_path, tmp_path / "copy.task"))
    standard = describe_detector(DetectorOptions(mediapipe_model=model_path))
    assert describe_detector(DetectorOptions(mediapipe_model=copy)) == standard
    copy.write_bytes(b"another model")
    assert (
        len(
            {
                standard,
                describe_detector(DetectorOptions(mediapipe_model=model_path, quick=True)),
                describe_detector(DetectorOptions(mediapipe_model=copy)),
            }
        )
        == 3
    )
