"""FreiHAND (Zimmermann et al., ICCV 2019, arXiv 1909.04349), read lazily from the official layout.

``training/rgb/%08d.jpg`` has U hands four times, on four backgrounds: image id + U v is version v of hand id,
whose labels are entry id of ``training_{K,xyz}.json`` (K in pixels, joints in metres in the camera frame, in
our order) and ``training_verts.json`` (MANO's mesh, 778 vertices in metres). ``evaluation/rgb`` and
``evaluation_K.json`` come with them; ``evaluation_{xyz,verts}.json`` are a separate download. All hands are
right hands. FreiHAND has no validation split: ours is a fixed random twentieth of the training hands, with
all their versions.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import PIXEL_CENTRE
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import project
from training.datasets.large_json import explain_errors, stream
from training.datasets.record import MM_PER_M, HandLabel, LabelledHand, check_split, with_picture

SPLITS: Final = ("train", "train_v0", "val", "eval")
"""``train_v0``: the training hands in their first version only, on the green screen."""
VERSIONS: Final = 4
SIZE_PX: Final = (224, 224)
VALIDATION_EVERY: Final = 20
"""One hand in so many is for validation, at least one."""
_VALIDATION_SEED: Final = 0
_DOWNLOAD_AGAIN: Final = "download and extract FreiHAND_pub_v2.zip again"


class FreiHAND:
    """A `HandDataset` of one split.

    ``eval`` can be opened without ``evaluation_xyz.json``, for predictions: its joints are then NaN and not
    valid. Raises HandsimError for an unknown split, and for files that are missing, damaged or of another
    version.
    """

    name = "freihand"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        part = "evaluation" if split == "eval" else "training"
        self._pictures = root / part / "rgb"
        if not self._pictures.is_dir():
            raise NotThereError(
                f"{self._pictures} is not there; give the folder that FreiHAND was extracted in, with "
                f"training/, evaluation/ and training_xyz.json"
            )
        self._intrinsics = _read(root / f"{part}_K.json", (3, 3), np.float64)
        hands = len(self._intrinsics)
        truth = find_labels(root, part, "xyz") if split == "eval" else root / "training_xyz.json"
        self._joints_mm = np.full((hands, JOINT_COUNT, 3), np.nan, dtype=np.float32)
        if truth is not None:
            self._joints_mm = _read(truth, (JOINT_COUNT, 3), np.float32) * np.float32(MM_PER_M)
            if len(self._joints_mm) != hands:
                raise HandsimError(
                    f"{truth} has {len(self._joints_mm)} hands and {part}_K.json {hands}; {_DOWNLOAD_AGAIN}"
                )
        self.has_truth = truth is not None
        """Whether the joints are known."""
        self._numbers = _picture_numbers(split, hands)

    def __len__(self) -> int:
        return len(self._numbers)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        number = int(self._numbers[index])
        hand = number % len(self._intrinsics)
        joints_mm, intrinsics = self._joints_mm[hand], self._intrinsics[hand].copy()
        intrinsics[:2, 2] += PIXEL_CENTRE  # whole numbers in the official code
        part = self._pictures.parent.name
        return HandLabel(
            sample_id=f"{part}/{number:08d}",
            subject=f"{part}/{hand:08d}",  # FreiHAND does not say whose hands they are
            side="right",
            size_px=SIZE_PX,
            keypoints_2d_px=project(joints_mm.astype(np.float64), intrinsics).astype(np.float32),
            joints_3d_mm=joints_mm.copy(),
            intrinsics=intrinsics,
            valid=np.isfinite(joints_mm).all(axis=1),
        )

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(self.label(index), self.files(index)[0], _DOWNLOAD_AGAIN)

    def read_vertices_mm(self, sample_ids: Sequence[str]) -> NDArray[np.float32]:
        """The meshes [N, V, 3] of hands of this split, in mm in the camera frame.

        The file is streamed: a gigabyte takes a minute. Raises NotThereError where it is not there,
        HandsimError for one that is damaged or of another version.
        """
        part, count = self._pictures.parent.name, len(self._intrinsics)
        path = find_labels(self.root, part, "verts")
        if path is None:
            archive = "FreiHAND_pub_v2_eval.zip" if self.split == "eval" else "FreiHAND_pub_v2.zip"
            raise NotThereError(f"{part}_verts.json, of {archive}, is missing; put it beside {part}_xyz.json")
        numbers = [int(name.rsplit("/", 1)[1]) % count for name in sample_ids]
        wanted, meshes, hands = set(numbers), dict[int, NDArray[np.float32]](), 0
        for hands, mesh in enumerate(stream_points_mm(path, "item", _DOWNLOAD_AGAIN), start=1):
            if hands - 1 in wanted:
                meshes[hands - 1] = mesh
        if hands != count or len({len(mesh) for mesh in meshes.values()}) > 1:
            raise HandsimError(
                f"{path} has {hands} meshes and {part}_K.json {count} hands, each with as many vertices; "
                f"{_DOWNLOAD_AGAIN}"
            )
        return np.stack([meshes[number] for number in numbers])

    def files(self, index: int) -> tuple[Path, ...]:
        """The image of one hand; all labels are in files of their own."""
        return (self._pictures / f"{int(self._numbers[index]):08d}.jpg",)


def find_labels(root: Path, part: str, kind: str) -> Path | None:
    """``PART_KIND.json``, as ``evaluation_xyz.json``, of FreiHAND in ``root``; None where it is not there.

    That of the evaluation is in an archive of its own, FreiHAND_pub_v2_eval.zip, and is found where that is
    often extracted: ``root``, its evaluation/, the folder named as ``root`` with ``_eval`` appended, and the
    archive's own folder in or beside ``root``.
    """
    whole = root.absolute()  # "." has no name
    folders = [whole]
    if part == "evaluation":
        folders += [whole / "evaluation", whole.with_name(f"{whole.name}_eval")]
        folders += [folder / "FreiHAND_pub_v2_eval" for folder in (whole, whole.parent)]
    paths = (folder / f"{part}_{kind}.json" for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def stream_points_mm(path: Path, prefix: str, remedy: str) -> Iterator[NDArray[np.float32]]:
    """Points [P, 3] in mm of one hand after the other, of a JSON file in metres that has them at ``prefix``.

    Raises HandsimError, ending in ``remedy``, for what is no whole JSON and what is no list of points.
    """
    with explain_errors(path, "FreiHAND's files", remedy):
        for number, points in enumerate(stream(path, ijson.items, prefix, remedy)):
            metres = np.array(points, dtype=np.float64)
            if metres.ndim != 2 or metres.shape[1] != 3:
                raise ValueError(f"entry {number} has {list(metres.shape)} numbers, not [points, 3]")
            yield (metres * MM_PER_M).astype(np.float32)


def _picture_numbers(split: str, hands: int) -> NDArray[np.int64]:
    """The numbers of the images of a split, version after version."""
    if split == "eval":
        return np.arange(hands)
    shuffled = np.random.default_rng(_VALIDATION_SEED).permutation(hands)
    in_validation = np.isin(np.arange(hands), shuffled[: max(1, hands // VALIDATION_EVERY)])
    chosen = np.flatnonzero(in_validation if split == "val" else ~in_validation)
    versions = np.arange(1 if split == "train_v0" else VERSIONS)
    return (versions[:, None] * hands + chosen).ravel()


def _read(path: Path, shape: tuple[int, int], dtype: type[np.floating]) -> NDArray[Any]:
    """Read an array [N, *shape] from a JSON file."""
    if not path.is_file():
        raise NotThereError(f"{path} is missing; {_DOWNLOAD_AGAIN}")
    try:
        array = np.array(json.loads(path.read_bytes()), dtype=dtype)
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read ({str(error)[:80]}); {_DOWNLOAD_AGAIN}") from error
    if array.ndim != 3 or array.shape[1:] != shape or not len(array):
        raise HandsimError(
            f"{path} holds {list(array.shape)} numbers; FreiHAND's version 2 has "
            f"[N, {shape[0]}, {shape[1]}]; {_DOWNLOAD_AGAIN}"
        )
    finite = np.isfinite(array).all(axis=(1, 2))
    if not finite.all():
        raise HandsimError(
            f"{path} has numbers that are not finite, of {(~finite).sum()} of {len(array)} hands, such as "
            f"hand {np.flatnonzero(~finite)[0]}; {_DOWNLOAD_AGAIN}"
        )
    return array
