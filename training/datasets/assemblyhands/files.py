"""Where AssemblyHands keeps what, and its JSON files read as streams.

Files: ``annotations/<split>/assemblyhands_<split>_{ego_data,ego_calib,joint_3d}_v1-1.json`` and the pictures
below ``images/`` that ``file_name`` names (``ego_images_rectified/<split>/...``). Their keys, as the official
toolkit reads them:

- ego_data: ``images[]`` with ``id``, ``file_name``, ``seq_name``, ``camera``, ``frame_idx``, ``width``,
  ``height``; ``annotations[]`` with ``image_id``, ``bbox.{right,left}`` ([x1, y1, x2, y2] or null) and
  ``joint_valid`` [42]. The toolkit does not read ``keypoints`` [42, 3] (x, y, score); others do.
- ego_calib: ``calibration.<seq_name>`` with ``intrinsics.<camera>_mono10bit`` [3, 3] and
  ``extrinsics.<frame_idx as %06d>.<camera>_mono10bit`` [3, 4], camera = R world + t.
- joint_3d: ``annotations.<seq_name>.<frame_idx as %06d>`` with ``world_coord`` [42, 3] in mm and
  ``joint_valid`` [42].

Joints 0-20 are the right hand's, 21-41 the left's.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import ijson

from handsim.errors import HandsimError, NotThereError

SPLITS: Final = ("train", "val", "test")
VERSION: Final = "v1-1"
CAMERA_SUFFIX: Final = "_mono10bit"
DOWNLOAD_AGAIN: Final = f"download all three files of annotations {VERSION} of the split again"


def annotation_path(root: Path, split: str, kind: str) -> Path:
    """A split's ``ego_data``, ``ego_calib`` or ``joint_3d``; raises NotThereError where it is not."""
    folder = root / "annotations" / split
    path = folder / f"assemblyhands_{split}_{kind}_{VERSION}.json"
    if path.is_file():
        return path
    if not (root / "annotations").is_dir():
        raise NotThereError(
            f"{root} has no annotations/, so it is not AssemblyHands; give the folder that holds "
            "annotations/ and images/"
        )
    others = sorted(other.name for other in folder.glob(f"assemblyhands_{split}_{kind}_*.json"))
    if others:
        raise NotThereError(f"{folder} has {others[0]}, but version {VERSION} is what is read; download that")
    raise NotThereError(f"{path} is missing; {DOWNLOAD_AGAIN}")


def stream_items(path: Path, prefix: str) -> Iterator[dict[str, Any]]:
    """The objects of an array at ``prefix`` (``images.item``), one after the other.

    Raises HandsimError where the JSON is broken.
    """
    yield from _until_broken(path, ijson.items, prefix)


def stream_members(path: Path, prefix: str) -> Iterator[tuple[str, Any]]:
    """The members (key, value) of the object at ``prefix``, one after the other; raises as `stream_items`."""
    yield from _until_broken(path, ijson.kvitems, prefix)


def _until_broken(path: Path, reader: Any, prefix: str) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            yield from reader(file, prefix, use_float=True)
    except ijson.JSONError as error:
        reason = str(error).strip().splitlines()[0]
        raise HandsimError(f"{path} is not whole JSON ({reason}); {DOWNLOAD_AGAIN}") from error
