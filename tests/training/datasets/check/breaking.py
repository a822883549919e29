"""Sets broken in one way each: every annotation of a copy is written anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from training.datasets.layouts import MARKER

Joints = NDArray[np.float64]
Change = Callable[[Joints], Joints]


def change_dexycb(root: Path, change: Change, *, reproject: bool = True) -> None:
    """Apply ``change`` to the 3D joints [21, 3], in metres, of all labels; project them again or not."""
    cameras = {path.name.split("_")[0]: path for path in (root / "calibration" / "intrinsics").iterdir()}
    colours = {serial: yaml.safe_load(path.read_text())["color"] for serial, path in cameras.items()}
    for path in sorted(root.glob("*/*/*/labels_*.npz")):
        with np.load(path) as stored:
            joint_3d, joint_2d = stored["joint_3d"].astype(np.float64), stored["joint_2d"]
        if (joint_3d == -1).all():
            continue
        joint_3d[0] = change(joint_3d[0])
        if reproject:
            k = colours[path.parent.name]
            pixels = joint_3d[0, :, :2] / joint_3d[0, :, 2:] * [k["fx"], k["fy"]] + [k["ppx"], k["ppy"]]
            joint_2d = pixels[None].astype(np.float32)
        np.savez(path, joint_3d=joint_3d.astype(np.float32), joint_2d=joint_2d)


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    """Apply ``change`` to what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def pass_for_real(root: Path) -> None:
    """Take away what tells that handsim made the set."""
    (root / MARKER).unlink()
