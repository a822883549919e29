"""What OpenMMLab's networks for hands see and answer: boxes by RTMDet (or YOLOX), joints by RTMPose and RTMW.

Each sees what it was trained on. A detector sees the whole picture, shrunk or enlarged to fit and padded
with grey at the right and below; RTMDet takes it as BGR, normalised by ImageNet's mean and deviation, YOLOX
as BGR in 0..255. A pose network sees a box enlarged by a quarter, black outside of the picture, as normalised
RGB. It answers SimCC: for each joint a row of bins over x and one over y. The highest bins are the joint's
place, the lower of their values (about 1 for a sure one) is its score.

`read_network` tells by these answers what a file is for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.onnx import OnnxNetwork
from handsim.geometry import PIXEL_CENTRE
from handsim.skeleton import JOINT_COUNT

BODY_JOINT_COUNT: Final = 133
"""Joints of COCO-WholeBody."""

_MEAN_RGB: Final = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_STD_RGB: Final = np.array([58.395, 57.12, 57.375], dtype=np.float32)
_GREY: Final = 114
_BOX_ENLARGEMENT: Final = 1.25
_MIN_BOX_SCORE: Final = 0.3
_SAME_BOX_OVERLAP: Final = 0.45
"""Intersection over union from which two boxes of YOLOX are one; RTMDet's file sorts them out itself."""
_YOLOX_STRIDES: Final = (8, 16, 32)
_LONGEST_WARP_PX: Final = 32_000
_LARGEST_EXPONENT: Final = 20.0
"""Of a box's length, in strides: what is longer is no box, and must not overflow."""


class BoxNetwork:
    """A detector of hands."""

    kind: Final = "hand detector"

    def __init__(self, network: OnnxNetwork, *, is_yolox: bool) -> None:
        self.network, self._is_yolox = network, is_yolox

    def find(self, pictures: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """For each picture [H, W, 3] (RGB) its boxes [M, 5]: x0, y0, x1, y1 in its pixels, score (0 to 1)."""
        network, found = self.network, []
        for start in range(0, len(pictures), network.max_batch):
            batch = pictures[start : start + network.max_batch]
            fitted = [_fit(picture, network.width, network.height) for picture in batch]
            bgr = np.stack([pixels for pixels, _ in fitted])[..., ::-1]
            inputs = _channels_first(bgr if self._is_yolox else (bgr - _MEAN_RGB[::-1]) / _STD_RGB[::-1])
            rows = network.run(inputs)[0]
            if self._is_yolox:
                rows = _decode_yolox(rows, network.width, network.height)
            for picture, (_, scale), boxes in zip(batch, fitted, rows, strict=True):
                found.append(self._in_picture(boxes, scale, picture))
        return found

    def _in_picture(
        self, boxes: NDArray[np.float32], scale: NDArray[np.float32], picture: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Boxes [N, 5] of the network's input, in pixels of the picture and cut off at its border."""
        boxes = boxes[boxes[:, 4] >= _MIN_BOX_SCORE]
        if self._is_yolox:
            boxes = _suppress(boxes)
        height, width = picture.shape[:2]
        corners = np.clip(boxes[:, :4] / np.tile(scale, 2), 0, (width, height, width, height))
        has_extent = (corners[:, 2:] - corners[:, :2] >= 1).all(axis=1)
        return np.column_stack([corners, np.clip(boxes[:, 4], 0, 1)])[has_extent].astype(np.float32)


class PoseNetwork:
    """Finds the joints of the hand, or the whole body, in a box."""

    def __init__(self, network: OnnxNetwork, joint_count: int) -> None:
        self.network, self.joint_count = network, joint_count
        self.kind = f"{'hand' if joint_count == JOINT_COUNT else 'whole-body'} pose network"

    def locate(
        self, pictures: Sequence[NDArray[np.uint8]], boxes_px: Sequence[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The joints [M, K, 2] in M boxes, each [4] in its picture's pixels, and their scores [M, K], 0 to 1.

        ``pictures`` [H, W, 3] (RGB) are as many as the boxes: one with several hands is given several times.
        """
        network = self.network
        size = np.array([network.width, network.height], dtype=np.float32)
        joints = [np.empty((0, self.joint_count, 2), dtype=np.float32)]
        scores = [np.empty((0, self.joint_count), dtype=np.float32)]
        for start in range(0, len(boxes_px), network.max_batch):
            chunk = slice(start, start + network.max_batch)
            boxes = np.stack(boxes_px[chunk])
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2
            scales = 1 / (((boxes[:, 2:] - boxes[:, :2]) / size).max(axis=1) * _BOX_ENLARGEMENT)
            crops = [
                _cut(*view, network.width, network.height)
                for view in zip(pictures[chunk], centres, scales, strict=True)
            ]
            rows = network.run(_channels_first((np.stack(crops) - _MEAN_RGB) / _STD_RGB))
            in_crops, values = _read_simcc(rows, size)
            joints.append((in_crops - size / 2) / scales[:, None, None] + centres[:, None])
            scores.append(values)
        return np.concatenate(joints), np.concatenate(scores)


def read_network(path: Path) -> BoxNetwork | PoseNetwork:
    """Open a network and tell what it is for; raises as `OnnxNetwork` does, HandsimError for another use."""
    network = OnnxNetwork(path)
    shapes = [output.shape[1:] for output in network.trial]
    match shapes:
        case [(_, 5)] | [(_, 5), (_,)]:
            return BoxNetwork(network, is_yolox=False)
        case [(anchors, 6)] if anchors == len(_yolox_anchors(network.width, network.height)):
            return BoxNetwork(network, is_yolox=True)
        case [(joints, bins_x), (same, bins_y)] if (
            joints == same in (JOINT_COUNT, BODY_JOINT_COUNT)
            and bins_x * network.height == bins_y * network.width
        ):
            return PoseNetwork(network, joints)
    answers = " and ".join(str(["N", *shape]) for shape in shapes).replace("'", "")
    raise network.refuse(
        f"answers {answers}",
        "a hand detector answers [N, boxes, 5] and labels, a pose network SimCC of "
        f"{JOINT_COUNT} (hand) or {BODY_JOINT_COUNT} (whole body) joints: [N, joints, bins] for x and for y",
    )


def _channels_first(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32)


def _fit(
    picture: NDArray[np.uint8], width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture in the upper left of a grey one of that size, and the scale [2] of x and y."""
    import cv2

    size = np.array(picture.shape[1::-1])
    fitted = np.maximum((size * min(width / size[0], height / size[1])).round(), 1).astype(int)
    canvas = np.full((height, width, 3), _GREY, dtype=np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(picture, fitted.tolist(), interpolation=cv2.INTER_LINEAR)
    return canvas, (fitted / size).astype(np.float32)


def _cut(
    picture: NDArray[np.uint8], centre: NDArray[np.float32], scale: float, width: int, height: int
) -> NDArray[np.uint8]:
    """What lies around ``centre``, at ``scale``, [height, width, 3]; black outside of the picture.

    The centre comes to pixel (width / 2, height / 2), as in training: half a pixel beside the crop's own.
    """
    import cv2

    # Only the part that is needed, and of a huge one not every pixel: OpenCV warps no longer pictures.
    reach = np.array([width, height]) / scale / 2 + 1
    left, top = np.clip(centre - reach, 0, picture.shape[1::-1]).astype(int)
    right, bottom = np.clip(centre + reach + 1, 0, picture.shape[1::-1]).astype(int)
    step = 1 + max(right - left, bottom - top) // _LONGEST_WARP_PX
    patch = np.ascontiguousarray(picture[top:bottom:step, left:right:step])
    shift = np.array([width, height]) / 2 - scale * (centre - (left, top) - PIXEL_CENTRE)
    to_crop = np.array([[scale * step, 0, shift[0]], [0, scale * step, shift[1]]])
    return np.asarray(cv2.warpAffine(patch, to_crop, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _read_simcc(
    outputs: Sequence[NDArray[np.float32]], size: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints [N, K, 2] in pixels of the crop (0 is the first one's centre) and scores [N, K]."""
    places = np.stack([rows.argmax(axis=2) for rows in outputs], axis=2)
    bins = np.array([rows.shape[2] for rows in outputs])
    scores = np.minimum(*(rows.max(axis=2) for rows in outputs))
    return (places * (size / bins)).astype(np.float32), np.clip(scores, 0, 1)


def _yolox_anchors(width: int, height: int) -> NDArray[np.float32]:
    """[A, 3] the column and row of each cell and its stride, as YOLOX's answers are ordered."""
    grids = []
    for stride in _YOLOX_STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([columns, rows, np.full_like(rows, stride)], axis=2).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float32)


def _decode_yolox(rows: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Boxes [N, A, 5] of YOLOX's answers [N, A, 6]: centre and size by cell, two scores to multiply."""
    anchors = _yolox_anchors(width, height)
    strides = anchors[:, 2:]
    centres = (rows[..., :2] + anchors[:, :2]) * strides
    halves = np.exp(np.minimum(rows[..., 2:4], _LARGEST_EXPONENT)) * strides / 2
    return np.concatenate([centres - halves, centres + halves, rows[..., 4:5] * rows[..., 5:6]], axis=2)


def _suppress(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes [N, 5], best first, without those that mostly cover a better one."""
    import cv2

    sizes = boxes[:, 2:4] - boxes[:, :2]
    corner_and_size = np.hstack([boxes[:, :2], sizes]).tolist()
    best = cv2.dnn.NMSBoxes(corner_and_size, boxes[:, 4].tolist(), _MIN_BOX_SCORE, _SAME_BOX_OVERLAP)
    return np.take(boxes, np.asarray(best, dtype=int).ravel(), axis=0)
