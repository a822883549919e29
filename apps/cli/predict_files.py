"""The files of ``handsim predict``, one after the other: read, estimated, drawn, and written as JSON.

A video is read twice: first for its hands, whose sides are those of their tracks, then for the estimates. Of
the first reading only numbers are kept, about a kilobyte for each hand.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import UndetectedError
from handsim.errors import HandsimError, Remark, UnusableError
from handsim.files import write_text_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

    from training.finetune.pose_model import PoseModel
    from training.picture_tables import Camera
    from training.predict import EstimatedHand, HandPlace, Picture
    from training.predict_video import VideoHands

_JPEG_QUALITY: Final = 92
_DECIMALS: Final = 3
"""Of pixels, millimetres and confidences."""
_USUAL_FRAMES_PER_S: Final = 30.0
"""In the header of a drawn video of every frame; each frame has its own time."""
_TRACK_COLOURS: Final = (
    (20, 90, 160),
    (175, 60, 20),
    (20, 115, 70),
    (125, 50, 140),
    (130, 95, 0),
    (160, 30, 80),
    (0, 110, 120),
    (90, 80, 70),
)
"""Of captions, by the number of the track: dark enough for white letters."""

FindHands = Callable[[Path, "Picture", list[Remark]], "list[HandPlace]"]
"""Where the hands of an image are, in its pixels as it was decoded; what is odd is put into the remarks.

Raises UnusableError for a file of which nobody says it, UndetectedError for a picture that a detector failed
on."""
FindCamera = Callable[[Path, list[Remark]], "Camera | None"]
"""The camera of a file, if it is known; raises UnusableError where the estimator needs it."""


@dataclass(eq=False)
class FileResult:
    """The estimated hands of one file."""

    path: Path
    content: dict[str, Any]
    """For JSON: ``file``, ``hands`` of an image or ``frames`` and ``tracks`` of a video; ``problem`` and
    ``remarks`` if there were any."""
    pictures: int = 0
    """Images or frames that were looked at."""
    hands: int = 0
    json_path: Path | None = None
    """The JSON file, if one was written."""
    remarks: list[Remark] = field(default_factory=list)
    problem: str = ""
    """Why the file cannot be used, or not to its end, and what mends it."""

    @property
    def is_flawed(self) -> bool:
        """Whether something that was given could not be used."""
        from training.picture_tables import FAULTS

        return bool(self.problem) or any(remark.reason in FAULTS for remark in self.remarks)

    def fail(self, problem: str, line: str) -> None:
        """Say why it cannot be used: in JSON, and in a line for people."""
        self.content["problem"], self.problem = problem, line

    def lines(self) -> Iterator[str]:
        """What people are to be told of it."""
        for remark in self.remarks:
            yield f"{self.path}: {remark.reason}" + (f" ({remark.detail})" if remark.detail else "")
        if self.problem:
            yield self.problem


@dataclass(frozen=True)
class Predictor:
    """Estimates the hands of files."""

    model: "PoseModel"
    find_hands: FindHands
    find_camera: FindCamera
    every_s: float
    """Seconds between the frames of a video; 0: every frame."""
    smoothing: float
    """The strength of smoothing in videos, as `handsim.tracking.OneEuroFilter` has it."""
    out: Path | None
    """The folder for JSON and drawings; None writes none."""

    def predict_files(
        self, paths: Sequence[Path], progress: Callable[[int, int], None]
    ) -> Iterator[FileResult]:
        """Estimate all hands of each file; one that cannot be used does not stop the others.

        ``progress`` gets the pictures read, those of videos twice, and 0, as the number of frames is unknown.
        Raises HandsimError if the output cannot be written or would overwrite one of the files, and for an
        error of the estimator.
        """
        from training.predict import is_video

        names: list[str] = []
        for path in paths:
            names.append(_unused_name(path.stem, names))
        drawings = [
            f"{name}.mp4" if is_video(path) else f"{name}.jpg"
            for path, name in zip(paths, names, strict=True)
        ]
        if self.out is not None:
            _check_originals(paths, [self.out / drawing for drawing in drawings])
        numbers = count(1)
        for path, drawing in zip(paths, drawings, strict=True):
            yield self._predict_file(path, drawing, lambda: progress(next(numbers), 0))

    def _predict_file(self, path: Path, drawing: str, update: Callable[[], None]) -> FileResult:
        result = FileResult(path, {"file": str(path)})
        try:
            camera = self.find_camera(path, result.remarks)
        except UnusableError as error:
            result.fail(str(error), f"{path}: {error}")
        else:
            predict = self._predict_video if drawing.endswith(".mp4") else self._predict_picture
            predict(result, camera, drawing, update)
        if unknown := sum(hand["side"] == "unknown" for hand in _hands_in(result.content)):
            detail = f"{unknown:,}; estimated as right hands"
            result.remarks.append(Remark("hands of unknown side", detail))
        if result.remarks:
            result.content["remarks"] = [vars(remark) for remark in result.remarks]
        if self.out is not None and result.pictures:
            result.json_path = self.out / Path(drawing).with_suffix(".json")
            write_text_atomically(result.json_path, json.dumps(result.content) + "\n")
        return result

    def _predict_picture(
        self, result: FileResult, camera: "Camera | None", drawing: str, update: Callable[[], None]
    ) -> None:
        for picture, places in self._look(result):
            hands = self._estimate(picture, places, camera)
            result.content |= _picture_to_json(picture, hands)
            result.pictures, result.hands = 1, len(hands)
            if self.out is not None:
                _save(_draw(picture, hands), self.out / drawing)
                result.content["drawn"] = drawing
            update()

    def _predict_video(
        self, result: FileResult, camera: "Camera | None", drawing: str, update: Callable[[], None]
    ) -> None:
        from training.predict_video import VideoHands

        result.content["settings"] = {"every_seconds": self.every_s, "smooth": self.smoothing}
        result.content["frames"], result.content["tracks"] = [], []
        found = VideoHands()
        for picture, places in self._look(result):
            found.add(*_moment(picture), places)
            update()
        if len(found):
            result.content["tracks"] = found.tracks()
            self._estimate_video(result, found, camera, drawing, update)

    def _estimate_video(
        self,
        result: FileResult,
        found: "VideoHands",
        camera: "Camera | None",
        drawing: str,
        update: Callable[[], None],
    ) -> None:
        """Read a video again, estimate the hands that were found in it, and draw them."""
        from handsim.video_writer import writing_video
        from training.predict_video import HandSmoother

        smoother, video = HandSmoother(self.smoothing), None
        with ExitStack() as stack:
            for picture in self._read(result, []):
                frame, time_s = _moment(picture)
                places = found.places(frame)
                if places is None:  # the detector failed there
                    continue
                hands = smoother.smooth(time_s, self._estimate(picture, places, camera))
                values = _picture_to_json(picture, hands)
                if self.out is not None:
                    if video is None:
                        rate = 1 / self.every_s if self.every_s else _USUAL_FRAMES_PER_S
                        video = stack.enter_context(writing_video(self.out / drawing, rate))
                    drawn = _draw(picture, hands)
                    video.add(np.asarray(drawn), time_s)
                    result.content["drawn"] = drawing
                    if self.every_s:
                        values["drawn"] = f"{Path(drawing).stem}/{frame:06d}.jpg"
                        _save(drawn, self.out / values["drawn"])
                result.content["frames"].append(values)
                result.pictures, result.hands = result.pictures + 1, result.hands + len(hands)
                update()

    def _look(self, result: FileResult) -> "Iterator[tuple[Picture, list[HandPlace]]]":
        """The pictures of a file with their hands; what cannot be used is put into the result."""
        for picture in self._read(result, result.remarks):
            try:
                places = self.find_hands(result.path, picture, result.remarks)
            except UndetectedError as error:  # of this picture alone
                problem = f"the detector failed: {error}"
                result.fail(problem, f"{result.path}: {problem}; mend it, and run again")
            except UnusableError as error:
                result.fail(str(error), f"{result.path}: {error}")
                return
            else:
                yield picture, places

    def _read(self, result: FileResult, remarks: list[Remark]) -> "Iterator[Picture]":
        from training.predict import read_pictures

        try:
            yield from read_pictures(result.path, self.every_s, remarks)
        except HandsimError as error:
            line = f"{result.path} cannot be used ({error}); give whole images or videos"
            result.fail(str(error), line)

    def _estimate(
        self, picture: "Picture", places: "list[HandPlace]", camera: "Camera | None"
    ) -> "list[EstimatedHand]":
        from training.predict import estimate_hands

        k = None if camera is None else camera.intrinsics(picture.size_px, picture.scale)
        return estimate_hands(self.model, picture.image, places, k)


def _moment(picture: "Picture") -> tuple[int, float]:
    """Number and time of a frame of a video."""
    assert picture.frame is not None
    assert picture.time_s is not None
    return picture.frame, picture.time_s


def _hands_in(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [hand for frame in content.get("frames", [content]) for hand in frame.get("hands", [])]


def _picture_to_json(picture: "Picture", hands: "Sequence[EstimatedHand]") -> dict[str, Any]:
    width, height = (round(side / picture.scale) for side in picture.size_px)
    time = {} if picture.frame is None else {"frame": picture.frame, "time_s": picture.time_s}
    return {
        **time,
        "width": width,
        "height": height,
        "hands": [_hand_to_json(hand, picture.scale) for hand in hands],
    }


def _hand_to_json(hand: "EstimatedHand", scale: float) -> dict[str, Any]:
    """Pixels are the file's own. ``camera_3d_mm`` is there only if the camera is known."""
    place = hand.place
    values: dict[str, Any] = {} if place.track is None else {"track": place.track}
    values |= {
        "side": place.side,
        "score": None if place.score is None else round(place.score, _DECIMALS),
        "box_px": _round(place.box_px / scale),
        "square_px": _round(place.square_px / scale),
        "keypoints_2d_px": _round(hand.keypoints_2d_px / scale),
        "confidence": _round(hand.confidence),
        "joints_3d_mm": _round(hand.joints_3d_mm),
    }
    if hand.camera_3d_mm is not None:
        values["camera_3d_mm"] = _round(hand.camera_3d_mm)
    return values


def _round(numbers: NDArray[np.floating]) -> list[Any]:
    # As float64: rounded float32 would print all their digits.
    rounded: list[Any] = numbers.astype(np.float64).round(_DECIMALS).tolist()
    return rounded


def _draw(picture: "Picture", hands: "Sequence[EstimatedHand]") -> "Image":
    """Bones that are nearer cover those behind them; captions of a track have one colour."""
    from handsim.drawing import HandDrawing, draw_hands

    drawings = []
    for hand in hands:
        place = hand.place
        words = [place.side] if place.score is None else [place.side, f"{place.score:.2f}"]
        joints = np.concatenate([hand.keypoints_2d_px, hand.joints_3d_mm[:, 2:]], axis=1)
        if place.track is None:
            drawings.append(HandDrawing(joints, " ".join(words)))
        else:
            colour = _TRACK_COLOURS[(place.track - 1) % len(_TRACK_COLOURS)]
            drawings.append(HandDrawing(joints, f"#{place.track}: {' '.join(words)}", colour))
    return draw_hands(picture.image, drawings)


def _save(drawn: "Image", path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.save(path, "JPEG", quality=_JPEG_QUALITY)
    except OSError as error:
        why = error.strerror or error
        raise HandsimError(f"{path} cannot be written ({why}); name another --out") from error


def _check_originals(paths: Sequence[Path], drawings: Sequence[Path]) -> None:
    originals = {path.resolve() for path in paths}
    for path, drawing in zip(paths, drawings, strict=True):
        if drawing.resolve() in originals:
            raise HandsimError(f"the drawing of {path} would be written over {drawing}; name another --out")


def _unused_name(stem: str, names: Sequence[str]) -> str:
    """``stem``, or ``stem-2`` and so on for further files of that name."""
    name, number = stem, 2
    while name in names:
        name, number = f"{stem}-{number}", number + 1
    return name
