"""MediaPipe's two networks, which find palms and joints, run by LiteRT.

They come in one bundle, ``hand_landmarker.task``. MediaPipe's own Tasks API runs them too, but takes whole
pictures only and keeps to itself how sure it is that a hand is one; a search over many parts of a picture
would then predict the joints of each hand once for every part that it lies in. Input, output and the square
around a palm are as in MediaPipe's graphs; joints agree with its own to 0.013 of the hand's length (median
over the digits photographs, at 75 pixels a hand).

Pictures go through one at a time: on a CPU a batch costs as much as its pictures. Measured on one core, ms
a picture at batch 1, 4 and 8: palms 9.6, 9.8, 10.8; joints 8.3, 8.2, 9.3. ONNX Runtime: 15.9, 15.7, 17.0 and
8.3, 8.5, 9.5. OpenCV: 38 to 41 and 29 to 30.
"""

import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.processes import quiet_stderr
from handsim.skeleton import JOINT_COUNT

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

_PALMS: Final = "hand_detector.tflite"
_JOINTS: Final = "hand_landmarks_detector.tflite"
_PALMS_PX: Final = 192
_JOINTS_PX: Final = 224
_ANCHOR_GRIDS: Final = ((24, 2), (12, 6))
"""Cells along a side, and anchors in each cell."""
_PALM_WRIST, _PALM_MIDDLE = 0, 2
"""Of the palm's seven points: the wrist, and the base of the middle finger."""
_PALM_TO_HAND: Final = 2.6
"""The square in which joints are predicted, in longer sides of the palm's box."""
_TOWARDS_FINGERS: Final = 0.5
"""How far its centre lies before the palm's, in sides of the palm's box."""
_JOINTS_TO_HAND: Final = 2.0
"""The same square for joints that are known roughly, in sides of the box around `_STEADY_JOINTS`."""
_JOINTS_TOWARDS_FINGERS: Final = 0.1
_STEADY_JOINTS: Final = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
_KNUCKLE_WEIGHTS: Final = {5: 0.25, 9: 0.5, 13: 0.25}
"""Where the fingers point: from the wrist to this mean of their bases."""
_SAME_PALM_IOU: Final = 0.3
_MM_PER_M: Final = 1000.0
_DEPTH_UNIT: Final = 0.4
"""The network's z is in this unit of its x and y (MediaPipe's ``normalize_z``)."""


@dataclass(frozen=True, eq=False)
class TurnedSquare:
    """A square part of a picture, turned about its centre; it may reach outside the picture."""

    centre: NDArray[np.float64]
    """[2] in pixels."""
    side: float
    """Its length in pixels."""
    angle: float = 0.0
    """Radians from the picture's "up" to the square's, clockwise as seen."""

    def to_picture(self, size: float) -> NDArray[np.float64]:
        """Affine [2, 3] from coordinates that span the square with [0, size] to the picture's pixels."""
        scale = self.side / size
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack([turn, self.centre - turn @ [size / 2, size / 2]])

    def scaled(self, factor: float) -> "TurnedSquare":
        """The square with the same centre, that many times as long."""
        return TurnedSquare(self.centre, self.side * factor, self.angle)


@dataclass(frozen=True, eq=False)
class Palm:
    """Where a hand may be."""

    score: float
    box_px: NDArray[np.float64]
    """[4] x0, y0, x1, y1, upright in the part of the picture that was looked at."""
    hand: TurnedSquare
    """Around the whole hand, fingers up."""


@dataclass(frozen=True, eq=False)
class HandLandmarks:
    """Joints predicted where a hand may be."""

    keypoints_px: NDArray[np.float32]
    """[21, 3] in pixels of the picture; z from the wrist."""
    presence: float
    """How sure the network is that it saw a hand, 0 to 1."""
    rightness: float
    """0 for a left hand, 1 for a right one."""
    world_mm: NDArray[np.float32] | None = None
    """[21, 3] MediaPipe's world landmarks in mm, from about the hand's middle, in the picture's axes: x
    right, y down, z into the picture. The hand has the size that the network takes for true. None for other
    networks, which give none."""


class HandNetworks:
    """Both networks, opened; for one thread at a time, on one core."""

    def __init__(self, model_path: Path) -> None:
        """Load a ``.task`` bundle (see `require_model`); raises HandsimError for what is none."""
        try:
            with zipfile.ZipFile(model_path) as bundle:
                self._palms = _open(bundle.read(_PALMS))
                self._joints = _open(bundle.read(_JOINTS))
        except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise HandsimError(
                f"the model {model_path} holds no {_PALMS} and {_JOINTS} that LiteRT can read; "
                "`handsim models fetch` gets one"
            ) from error

    def find_palms(self, picture: NDArray[np.uint8], square: TurnedSquare, min_score: float) -> list[Palm]:
        """What may be palms in a part of a picture [H, W, 3], each once, best first."""
        offsets, logits = _run(self._palms, cut_turned(picture, square, _PALMS_PX))
        scores = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))
        likely = scores >= min_score
        scores, anchors = scores[likely], _anchors()[likely]
        # Centre, size and points of each palm, all from 0 to 1 in the square.
        boxes = offsets[likely].astype(np.float64).reshape(-1, 9, 2) / _PALMS_PX
        boxes[:, 0] += anchors
        boxes[:, 2:] += anchors[:, None]
        palms = []
        while len(scores):
            best = int(scores.argmax())
            same = _overlaps(boxes[best], boxes) > _SAME_PALM_IOU
            same[best] = True
            mean = np.average(boxes[same], axis=0, weights=scores[same])
            palms.append(_place_palm(float(scores[best]), mean, square))
            scores, boxes = scores[~same], boxes[~same]
        return palms

    def predict_joints(self, picture: NDArray[np.uint8], square: TurnedSquare) -> HandLandmarks:
        """The joints of the hand that fills a square part of a picture [H, W, 3], fingers up."""
        points, presence, right, *world = _run(self._joints, cut_turned(picture, square, _JOINTS_PX))
        keypoints = points.astype(np.float64).reshape(JOINT_COUNT, 3)
        to_picture = square.to_picture(_JOINTS_PX)
        depth = (keypoints[:, 2] - keypoints[0, 2]) / _DEPTH_UNIT * square.side / _JOINTS_PX
        placed = np.column_stack([keypoints[:, :2] @ to_picture[:, :2].T + to_picture[:, 2], depth])
        world_mm = _turn_world(world[0], square.angle) if world else None
        return HandLandmarks(placed.astype(np.float32), float(presence[0]), float(right[0]), world_mm)


def _turn_world(metres: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """World landmarks [63] of a turned square, in the picture's axes and in mm."""
    joints = metres.astype(np.float64).reshape(JOINT_COUNT, 3) * _MM_PER_M
    cos, sin = np.cos(angle), np.sin(angle)
    joints[:, :2] = joints[:, :2] @ np.array([[cos, sin], [-sin, cos]])
    return joints.astype(np.float32)


def square_around_joints(keypoints_px: NDArray[np.float32]) -> TurnedSquare:
    """The square in which a hand whose joints [21, 2 or more] are roughly known is searched anew."""
    points = keypoints_px[:, :2].astype(np.float64)
    knuckles = sum(weight * points[joint] for joint, weight in _KNUCKLE_WEIGHTS.items())
    angle = _angle_upwards(knuckles - points[0])
    cos, sin = np.cos(angle), np.sin(angle)
    upright = points[list(_STEADY_JOINTS)] @ np.array([[cos, -sin], [sin, cos]])
    low, high = upright.min(axis=0), upright.max(axis=0)
    centre = (low + high) / 2 - [0.0, _JOINTS_TOWARDS_FINGERS * (high - low)[1]]
    side = _JOINTS_TO_HAND * float((high - low).max())
    return TurnedSquare(np.array([[cos, -sin], [sin, cos]]) @ centre, side, angle)


def cut_turned(picture: NDArray[np.uint8], square: TurnedSquare, size_px: int) -> NDArray[np.uint8]:
    """A turned square of a picture [H, W, 3] as [size_px, size_px, 3]; outside, edge pixels are repeated."""
    import cv2

    height, width = picture.shape[:2]
    to_picture = square.to_picture(size_px)
    shrink = square.side / size_px
    if shrink > 1.5:
        # Bilinear sampling would skip pixels: what is needed of the picture is shrunk by areas first.
        reach = square.side * (abs(np.cos(square.angle)) + abs(np.sin(square.angle))) / 2 + 2 * shrink
        low = np.clip(square.centre - reach, 0, [width - 1, height - 1]).astype(int)
        high = np.clip(square.centre + reach + 1, low + 1, [width, height]).astype(int)
        new_size = np.maximum((high - low) / (shrink / 1.2), 1).round().astype(int)
        part = picture[low[1] : high[1], low[0] : high[0]]
        ratio = (high - low) / new_size
        new_width, new_height = map(int, new_size)
        picture = np.asarray(
            cv2.resize(part, (new_width, new_height), interpolation=cv2.INTER_AREA), np.uint8
        )
        to_picture = (to_picture - np.column_stack([np.zeros((2, 2)), low])) / ratio[:, None]
    # OpenCV's pixel i has its centre at i.
    to_picture[:, 2] += to_picture[:, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(
        picture, to_picture, (size_px, size_px), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, dtype=np.uint8)


def _place_palm(score: float, box: NDArray[np.float64], square: TurnedSquare) -> Palm:
    """A palm [9, 2] (centre, size, points) of the unit square in the picture."""
    to_picture = square.to_picture(1.0)
    placed = box @ to_picture[:, :2].T + to_picture[:, 2]
    centre, size, points = placed[0], box[1] * square.side, placed[2:]
    angle = _angle_upwards(points[_PALM_MIDDLE] - points[_PALM_WRIST])
    forwards = np.array([np.sin(angle), -np.cos(angle)])
    hand = TurnedSquare(
        centre + _TOWARDS_FINGERS * size[1] * forwards, _PALM_TO_HAND * float(size.max()), angle
    )
    return Palm(score, np.concatenate([centre - size / 2, centre + size / 2]), hand)


def _overlaps(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of a palm [9, 2] and others [N, 9, 2], [N]."""
    low = np.maximum(box[0] - box[1] / 2, boxes[:, 0] - boxes[:, 1] / 2)
    high = np.minimum(box[0] + box[1] / 2, boxes[:, 0] + boxes[:, 1] / 2)
    common = np.maximum(high - low, 0).prod(axis=1)
    union = box[1].prod() + boxes[:, 1].prod(axis=1) - common
    return np.asarray(common / np.maximum(union, 1e-12))


def _angle_upwards(direction: NDArray[np.float64]) -> float:
    """By how much the picture's "up" is turned, clockwise as seen, to point there (x right, y down)."""
    return float(np.arctan2(direction[0], -direction[1]))


@cache
def _anchors() -> NDArray[np.float64]:
    """Centres [2016, 2] of the palm network's anchors in the unit square."""
    centres = []
    for cells, count in _ANCHOR_GRIDS:
        along = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(along, along, indexing="ij")
        centres.append(np.repeat(np.column_stack([x.ravel(), y.ravel()]), count, axis=0))
    return np.concatenate(centres)


def _open(network: bytes) -> "Interpreter":
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():  # it tells which instructions it uses
        interpreter = Interpreter(model_content=network, num_threads=1)
        interpreter.allocate_tensors()
    return interpreter


def _run(network: "Interpreter", view: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """The outputs for one picture [S, S, 3], each without its batch dimension."""
    network.set_tensor(network.get_input_details()[0]["index"], view[None].astype(np.float32) / 255)
    network.invoke()
    return [network.get_tensor(output["index"])[0] for output in network.get_output_details()]
