"""Small ONNX networks that take and answer what the published ones do, and whose answers are known.

To them a hand is a bright red patch: a right one pure red, a left one magenta. A detector finds one of each;
a pose network puts the joints at fixed fractions of the patch (`JOINTS`). They see colours as normalised in
training: with channels swapped, or as they are, they find nothing.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray

RIGHT, LEFT = (255, 0, 0), (255, 0, 255)
JOINTS = np.random.default_rng(3).uniform(size=(21, 2)).astype(np.float32)
"""x and y of a hand's joints, in widths and heights of its patch."""
JOINTS[:2] = [[0, 0], [1, 1]]
JOINT_SCORE = 0.75
BOX_SCORES = (0.9, 0.8)
"""Of the right hand and of the left one."""

_REDUCE = "<axes = [2, 3], keepdims = 0>"
_MASKS = """
    is_high = Greater (red, middle)
    is_normalised = Less (red, limit)
    bright = And (is_high, is_normalised)
    is_blue = Greater (blue, middle)
    magenta = And (bright, is_blue)
    is_not_blue = Not (is_blue)
    pure = And (bright, is_not_blue)
"""


def write_detector(path: Path, batch: int | str = "N", width: int = 320, height: int = 320) -> Path:
    """RTMDet's, of normalised BGR: dets [N, 2, 5] and labels [N, 2]."""
    nodes = f"""
        blue, green, red = Split <axis = 1> (input)
        {_MASKS} {_extent("pure")} {_extent("magenta")}
        both = Concat <axis = 1> (pure_box, magenta_box)
        boxes = Reshape (both, two_boxes)
        founds = Concat <axis = 1> (pure_any, magenta_any)
        flat_scores = Mul (founds, box_scores)
        scores = Unsqueeze (flat_scores, axis_2)
        dets = Concat <axis = 2> (boxes, scores)
        nothing = Sub (founds, founds)
        labels = Cast <to = 7> (nothing)
    """
    constants: dict[str, ArrayLike] = {
        **_constants(width, height),
        "two_boxes": np.array([-1, 2, 4]),
        "box_scores": np.array([BOX_SCORES], dtype=np.float32),
    }
    answers = f"float[{batch}, 2, 5] dets, int64[{batch}, 2] labels"
    return write_network(path, f"float[{batch}, 3, {height}, {width}] input", answers, nodes, constants)


def write_yolox(path: Path, width: int = 416, height: int = 416) -> Path:
    """YOLOX's for one class, of BGR in 0..255: every cell answers the box of the pure red patch."""
    cells = [
        (column, row, stride)
        for stride in (8, 16, 32)
        for row in range(height // stride)
        for column in range(width // stride)
    ]
    nodes = f"""
        blue, green, red = Split <axis = 1> (input)
        {_MASKS} {_extent("pure")}
        low, high = Split <axis = 1> (pure_box)
        twice = Add (low, high)
        flat_centre = Mul (twice, half)
        extent = Sub (high, low)
        flat_size = Max (extent, one)
        centre = Unsqueeze (flat_centre, axis_1)
        size = Unsqueeze (flat_size, axis_1)
        centre_cells = Div (centre, strides)
        from_cell = Sub (centre_cells, cells)
        size_cells = Div (size, strides)
        logarithm = Log (size_cells)
        found = Unsqueeze (pure_any, axis_1)
        scores = Mul (found, cell_scores)
        output = Concat <axis = 2> (from_cell, logarithm, scores)
    """
    constants: dict[str, ArrayLike] = {
        **_constants(width, height),
        "middle": np.float32(127),
        "limit": np.float32(256),
        "axis_1": np.array([1]),
        "half": np.float32(0.5),
        "cells": np.array(cells, dtype=np.float32)[None, :, :2],
        "strides": np.array(cells, dtype=np.float32)[None, :, 2:],
        "cell_scores": np.full((1, len(cells), 2), BOX_SCORES[0], dtype=np.float32),
    }
    answers = f"float[N, {len(cells)}, 6] output"
    return write_network(path, f"float[N, 3, {height}, {width}] input", answers, nodes, constants)


def write_hand_pose(path: Path, batch: int | str = "N", extra: str = "") -> Path:
    """RTMPose's for hands: the joints of the red or magenta patch, in a crop of 256x256."""
    return _write_pose(path, batch, 256, 256, JOINTS, {"bright": np.ones(21, dtype=bool)}, extra)


def write_faulty_hand_pose(path: Path) -> Path:
    """The same, but it answers NaN for a left hand: the root of -1."""
    nodes = """
        number = Cast <to = 1> (magenta)
        row = ReduceMax <axes = [3], keepdims = 0> (number)
        any = ReduceMax <axes = [2]> (row)
        minus = Neg (any)
        extra = Sqrt (minus)
    """
    return write_hand_pose(path, extra=nodes)


def write_fixed_hand_pose(path: Path, joints: NDArray[np.floating]) -> Path:
    """The same, but its joints [21, 2] are always at these parts of the box."""
    places = 2 * 256 * (0.5 + (joints - 0.5) / 1.25)  # two bins a pixel; the box is enlarged by a quarter
    rows = (np.arange(512) == places.round()[..., None]).astype(np.float32)
    nodes = """
        some = ReduceMax <axes = [1, 2], keepdims = 0> (input)
        one_each = ReduceMax <axes = [1]> (some)
        row_each = Unsqueeze (one_each, axis_2)
        zero = Sub (row_each, row_each)
        simcc_x = Add (zero, rows_x)
        simcc_y = Add (zero, rows_y)
    """
    constants = {"axis_2": np.array([2]), "rows_x": rows[None, :, 0], "rows_y": rows[None, :, 1]}
    answers = "float[N, 21, 512] simcc_x, float[N, 21, 512] simcc_y"
    return write_network(path, "float[N, 3, 256, 256] input", answers, nodes, constants)


def write_body_pose(path: Path, batch: int | str = "N") -> Path:
    """RTMW's: the left hand's joints in the magenta patch, the right hand's in the red one; no others."""
    joints = np.zeros((133, 2))
    joints[91:112] = joints[112:133] = JOINTS
    numbers = np.arange(133)
    is_left, is_right = (numbers >= 91) & (numbers < 112), numbers >= 112
    return _write_pose(path, batch, 192, 256, joints, {"magenta": is_left, "pure": is_right})


def write_network(
    path: Path, takes: str, answers: str, nodes: str, constants: dict[str, ArrayLike] | None = None
) -> Path:
    """A network of nodes in ONNX's text form."""
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> network ({takes}) => ({answers}) {{ {nodes} }}'
    )
    for name, values in (constants or {}).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def _write_pose(
    path: Path,
    batch: int | str,
    width: int,
    height: int,
    joints: NDArray[np.floating],
    members: dict[str, NDArray[np.bool_]],
    extra: str = "",
) -> Path:
    """SimCC of ``joints`` [K, 2], fractions of a patch; of each mask, the joints that belong to it.

    Nodes for an output ``extra`` [N, 1, 1] are added to it.
    """
    count = len(joints)
    nodes = f"""
        red, green, blue = Split <axis = 1> (input)
        {_MASKS} {extra}
    """
    constants: dict[str, ArrayLike] = {**_constants(width, height), "half": np.float32(0.5)}
    for axis, name in enumerate("xy"):
        constants[f"bins_{name}"] = np.arange(2 * (width, height)[axis], dtype=np.float32)[None, None]
        constants[f"place_{name}"] = joints[None, :, axis].astype(np.float32)
    for mask, is_member in members.items():
        constants[f"{mask}_weight"] = np.where(is_member, JOINT_SCORE, 0).astype(np.float32)[None, :, None]
        nodes += _extent(mask) + "".join(_peaks(mask, name) for name in "xy")
    for name in "xy":
        parts = ", ".join([f"{mask}_{name}_peaks" for mask in members] + ["extra"] * bool(extra))
        nodes += f"simcc_{name} = Sum ({parts})\n"
    answers = f"float[{batch}, {count}, {2 * width}] simcc_x, float[{batch}, {count}, {2 * height}] simcc_y"
    return write_network(path, f"float[{batch}, 3, {height}, {width}] input", answers, nodes, constants)


def _constants(width: int, height: int) -> dict[str, ArrayLike]:
    return {
        "columns": np.arange(width, dtype=np.float32)[None, None, None],
        "rows": np.arange(height, dtype=np.float32)[None, None, :, None],
        "far": np.float32(1e4),
        "near": np.float32(0),
        "one": np.float32(1),
        "axis_2": np.array([2]),
        # Of a normalised channel: 255 is 2.2 to 2.7, the grey of the padding -0.2 to 0.2, and 0 below -1.8.
        "middle": np.float32(0.3),
        "limit": np.float32(3),
    }


def _extent(mask: str) -> str:
    """Nodes for the first and last column and row of a mask [N, 1, H, W], and for its box [N, 4]."""
    nodes = f"""
        {mask}_number = Cast <to = 1> ({mask})
        {mask}_any = ReduceMax {_REDUCE} ({mask}_number)
    """
    for name, grid in (("x", "columns"), ("y", "rows")):
        nodes += f"""
            {mask}_{name}_from = Where ({mask}, {grid}, far)
            {mask}_{name}_upto = Where ({mask}, {grid}, near)
            {mask}_{name}0 = ReduceMin {_REDUCE} ({mask}_{name}_from)
            {mask}_{name}1 = ReduceMax {_REDUCE} ({mask}_{name}_upto)
            {mask}_{name}_end = Add ({mask}_{name}1, one)
        """
    return nodes + f"{mask}_box = Concat <axis = 1> ({mask}_x0, {mask}_y0, {mask}_x_end, {mask}_y_end)\n"


def _peaks(mask: str, axis: str) -> str:
    """Nodes for the SimCC rows [N, K, bins] of an axis: a bell around each joint, two bins a pixel.

    The centre of the first pixel is 0, so a patch begins half a pixel before that of its own first one.
    """
    name = f"{mask}_{axis}"
    return f"""
        {name}_length = Sub ({name}_end, {name}0)
        {name}_inside = Mul ({name}_length, place_{axis})
        {name}_edge = Sub ({name}0, half)
        {name}_place = Add ({name}_edge, {name}_inside)
        {name}_row = Unsqueeze ({name}_place, axis_2)
        {name}_pixels = Mul (bins_{axis}, half)
        {name}_apart = Sub ({name}_pixels, {name}_row)
        {name}_square = Mul ({name}_apart, {name}_apart)
        {name}_minus = Neg ({name}_square)
        {name}_bell = Exp ({name}_minus)
        {name}_peaks = Mul ({name}_bell, {mask}_weight)
    """
