"""What people say of many pictures in one JSON file: the boxes of their hands, and their cameras.

A key is the path of a picture or video from the file's own folder; where nothing is there, a plain name
stands for every picture of that name. What is wrong with one entry is a `Remark` for its picture, and the
others are used all the same.

    boxes      {"a.jpg": [[x0, y0, x1, y1], {"box": [x0, y0, x1, y1], "side": "left"}],
                "v.mp4": {"0": [[x0, y0, x1, y1]], "30": []}}      by frame; a list is for every frame
    cameras    {"a.jpg": {"focal_px": 1400}, "v.mp4": {"K": [[1400, 0, 640], [0, 1400, 360], [0, 0, 1]]}}

Boxes may also be a COCO file, or any other with annotations that `handsim.annotations` reads. All numbers are
pixels of the pictures, upright.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handsim.annotations import AnnotationFile, AnnotationOptions, BadAnnotation, OwnHand
from handsim.annotations.annotated_hand import MAX_COORDINATE_PX, read_side
from handsim.errors import HandsimError, NotThereError, Remark, UnusableError
from handsim.hand import Side

BAD_BOX: Final = "bad box"
BAD_CAMERA: Final = "bad camera"
FAULTS: Final = (BAD_BOX, BAD_CAMERA)
"""Reasons of remarks on what cannot be used."""
_COCO_LISTS: Final = ("images", "annotations")
_SHOWN_NAMES: Final = 5
_MAX_DIGITS: Final = 18

T = TypeVar("T")


class PictureTable(Generic[T]):
    """What a file says of pictures, by their names; it notes which are asked for."""

    def __init__(self, path: Path, values: dict[str, T]) -> None:
        self.path, self._folder, self._values = path, path.absolute().parent, values
        self._by_path = {(self._folder / name).resolve(): name for name in values if "\0" not in name}
        self._asked: set[str] = set()

    def find(self, picture: Path) -> T | None:
        """What it says of a picture or video; None: nothing."""
        name = self._by_path.get(picture.resolve())
        if name is None and picture.name in self._values and not (self._folder / picture.name).exists():
            name = picture.name
        if name is None:
            return None
        self._asked.add(name)
        return self._values[name]

    def unused(self) -> list[str]:
        """A line on names that nobody asked for; none if there are none."""
        names = [name for name in self._values if name not in self._asked]
        if not names:
            return []
        shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
        what = "a name that is" if len(names) == 1 else f"{len(names):,} names that are"
        return [
            f"{self.path} has {what} none of the files ({shown}); name the files as from {self._folder}, "
            "or give them, too"
        ]


@dataclass(frozen=True)
class GivenHand:
    """A hand that somebody marked."""

    box_px: tuple[float, float, float, float]
    """x0, y0, x1, y1: tight around the hand."""
    side: Side


@dataclass
class GivenHands:
    """The marked hands of a picture or video."""

    everywhere: list[GivenHand] = field(default_factory=list)
    """Those of a picture, or of every frame of a video."""
    by_frame: dict[int, list[GivenHand]] | None = None
    """Those of a video's frames, by their numbers from 0; other frames have none."""
    remarks: list[Remark] = field(default_factory=list)
    """What is wrong with some of them."""
    frames_left: set[int] = field(default_factory=set)
    """Those of which nobody asked yet."""

    def at(self, frame: int | None) -> list[GivenHand]:
        """The hands of a frame; of a picture with None.

        Raises UnusableError for a picture whose boxes are given by frame.
        """
        if self.by_frame is None:
            return self.everywhere
        if frame is None:
            raise UnusableError("no video", "its boxes are given by frame; give a list of boxes")
        self.frames_left.discard(frame)
        return self.by_frame.get(frame, [])


class BoxTable(PictureTable[GivenHands]):
    """The boxes of many pictures."""

    def unused(self) -> list[str]:
        """Lines on names, and on frames of videos, that nobody asked for."""
        lines = super().unused()
        for name in sorted(self._asked):
            if frames := self._values[name].frames_left:
                left = f"{len(frames):,} of the frames of {name} that have boxes (the first: {min(frames)})"
                lines.append(
                    f"{self.path}: {left} were not looked at; --every-seconds 0 looks at every frame"
                )
        return lines


def read_boxes(path: Path, side: Side | None = None) -> BoxTable:
    """Read the boxes of many pictures; ``side`` is that of hands of which the file says none.

    None of both is ``unknown``. Raises HandsimError for a file that is no table of boxes at all.
    """
    given = _read_object(path, "boxes", '{"picture.jpg": [[x0, y0, x1, y1]]}')
    if all(isinstance(given.get(name), list) for name in _COCO_LISTS):
        return BoxTable(path, _read_annotations(path, side or "unknown"))
    return BoxTable(path, {name: _read_hands(value, side or "unknown") for name, value in given.items()})


def _read_hands(given: Any, side: Side) -> GivenHands:
    hands = GivenHands()
    if not isinstance(given, dict):
        hands.everywhere = _read_list(given, side, "", hands.remarks)
        return hands
    hands.by_frame = {}
    for number, boxes in given.items():
        if number.isdecimal() and len(number) <= _MAX_DIGITS:
            hands.by_frame[int(number)] = _read_list(boxes, side, f"frame {number}: ", hands.remarks)
        else:
            detail = f"{number!r:.60} is no number of a frame; count them from 0"
            hands.remarks.append(Remark(BAD_BOX, detail))
    hands.frames_left = set(hands.by_frame)
    return hands


def _read_list(given: Any, side: Side, place: str, remarks: list[Remark]) -> list[GivenHand]:
    """The boxes of a picture or frame, of which bad ones become remarks."""
    if not isinstance(given, list):
        remarks.append(Remark(BAD_BOX, f"{place}{given!r:.60} is no list of boxes; give [[x0, y0, x1, y1]]"))
        return []
    boxes = [given] if given and isinstance(given[0], int | float) else given
    hands = []
    for box in boxes:
        try:
            hands.append(_read_hand(box, side))
        except HandsimError as error:
            remarks.append(Remark(BAD_BOX, f"{place}{error}"))
    return hands


def _read_hand(given: Any, side: Side) -> GivenHand:
    if isinstance(given, dict):
        try:
            side = read_side(given.get("side")) or side
        except UnusableError as error:
            raise HandsimError(error.detail) from error
        given = given.get("box", given)
    try:
        box = np.array(given, np.float64)
    except (TypeError, ValueError, OverflowError):
        box = np.empty(0)
    if box.shape != (4,) or not (np.abs(box) <= MAX_COORDINATE_PX).all() or (box[2:] <= box[:2]).any():
        raise HandsimError(
            f"{given!r:.99} is not [x0, y0, x1, y1] in pixels with x1 > x0 and y1 > y0; mend it"
        )
    x0, y0, x1, y1 = box.tolist()
    return GivenHand((x0, y0, x1, y1), side)


def _read_annotations(path: Path, side: Side) -> dict[str, GivenHands]:
    """The boxes of a file of annotations; a picture that COCO lists without a hand has none."""
    options = AnnotationOptions(side=side, boxes=True, min_joints=1)
    found: dict[str, GivenHands] = {}
    try:
        file = AnnotationFile(path, PurePosixPath("boxes", path.name), options)
        for name in file.pictures():
            found.setdefault(name, GivenHands())
        for hand in file.read():
            hands = found.setdefault(hand.image, GivenHands())
            if isinstance(hand, BadAnnotation):
                hands.remarks.append(Remark(BAD_BOX, hand.detail))
            elif isinstance(hand, OwnHand) or hand.box_px is None:
                detail = f"{hand.place}: the picture is a crop of its one hand; use --whole"
                hands.remarks.append(Remark(BAD_BOX, detail))
            else:
                hands.everywhere.append(GivenHand(hand.box_px, hand.side or side))
    except UnusableError as error:
        raise HandsimError(f"{path} cannot be read as boxes: {error}; mend it") from error
    return found


@dataclass(frozen=True, eq=False)
class Camera:
    """The camera of a picture. Raises HandsimError for a focal length or K that no camera has."""

    focal_px: float | None = None
    """Focal length in pixels, of a camera whose axis goes through the picture's centre."""
    k: NDArray[np.float64] | None = None
    """[3, 3] K, in pixels; else None."""

    def __post_init__(self) -> None:
        if self.focal_px is not None and not 0 < self.focal_px < np.inf:
            raise HandsimError(f"the focal length is {self.focal_px:g}; it is more than 0, in pixels")
        if self.k is not None and not _is_k(self.k):
            raise HandsimError(f"K is {self.k.tolist()!r:.99}; it is [[fx, s, cx], [0, fy, cy], [0, 0, 1]]")

    def intrinsics(self, size_px: tuple[int, int], scale: float = 1.0) -> NDArray[np.float64]:
        """K [3, 3] of an image (width, height) that has ``scale`` pixels for each of the picture's."""
        if self.k is not None:
            return np.diag([scale, scale, 1.0]) @ self.k
        focal_px = (self.focal_px or 0.0) * scale
        return np.array([[focal_px, 0, size_px[0] / 2], [0, focal_px, size_px[1] / 2], [0, 0, 1.0]])


def _is_k(k: NDArray[np.float64]) -> bool:
    return bool(
        k.shape == (3, 3)
        and np.isfinite(k).all()
        and min(k[0, 0], k[1, 1]) > 0
        and k[1, 0] == 0
        and (k[2] == [0, 0, 1]).all()
    )


def read_cameras(path: Path) -> PictureTable[Camera | Remark]:
    """Read the cameras of many pictures; in the place of a bad one is a `Remark`.

    Raises HandsimError for a file that is no table of cameras at all.
    """
    given = _read_object(path, "cameras", '{"picture.jpg": {"focal_px": 1400}}')
    return PictureTable(path, {name: _read_camera(value) for name, value in given.items()})


def _read_camera(given: Any) -> Camera | Remark:
    try:
        if isinstance(given, dict) and ("K" in given) != ("focal_px" in given):
            if "K" in given:
                return Camera(k=np.array(given["K"], np.float64))
            return Camera(float(given["focal_px"]))
    except HandsimError as error:
        return Remark(BAD_CAMERA, f"{error}")
    except (TypeError, ValueError, OverflowError):
        pass
    detail = f'{given!r:.99} is neither {{"focal_px": F}} nor {{"K": [[fx, s, cx], [0, fy, cy], [0, 0, 1]]}}'
    return Remark(BAD_CAMERA, detail)


def _read_object(path: Path, what: str, example: str) -> dict[str, Any]:
    if not path.is_file():
        raise NotThereError(f"{path} is not there; --{what} takes a JSON file as in {example}")
    try:
        given = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise HandsimError(f"{path} cannot be read as {what} ({error}); give JSON as in {example}") from error
    if not isinstance(given, dict):
        raise HandsimError(f"{path} is not a JSON object of {what}; give it as in {example}")
    return given
