"""Any other labelled hands: a folder of images and one ``hands.json`` that a short script can write.

``hands.json`` is an object. What holds for all hands comes first, then one object for each hand:

- ``unit``: ``"mm"`` or ``"m"``, of ``xyz``.
- ``joint_order``: a name in `handsim.skeleton.JOINT_ORDERS`, or the 21 names in `JOINT_NAMES` in their order.
- ``pixel_centre``: where ``K`` and ``uv`` have the first pixel's centre, 0 (OpenCV, the default) or 0.5.
- ``hands``: objects with ``picture`` (path below the folder), ``size`` (its width and height), ``side``,
  ``split``, ``K`` [3, 3] and ``xyz`` [21, 3] in the camera frame: x right, y down, z into the image. A joint
  without annotation is null. Optional: ``uv`` [21, 2] (of all hands or of none), ``person`` and ``id``.

The file is streamed, a hand at a time; a split's hands take 1.9 KB of memory each (2.5 KB of JSON, 6,700 a
second). Images are read lazily.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import ijson
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError, NotThereError, did_you_mean
from handsim.files import write_text_atomically
from handsim.geometry import PIXEL_CENTRE
from handsim.hand import SIDES
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES, JOINT_ORDERS
from handsim.synthetic import SyntheticConfig, synthesise_labelled
from handsim.synthetic.camera import project
from training.datasets.layouts import Progress, begin_layout
from training.datasets.record import MM_PER_M, HandLabel, LabelledHand, check_split, with_picture
from training.datasets.synthetic import CROP_ENLARGEMENT, split_of_people

SPLITS: Final = ("train", "val", "test")
LABELS_FILE: Final = "hands.json"
UNITS_MM: Final = {"mm": 1.0, "m": MM_PER_M}
_PIXEL_CENTRES: Final = (0.0, 0.5)
_NULL: Final = "a joint without annotation is null, not NaN"
_REQUIRED: Final = ("picture", "size", "side", "split", "K", "xyz")


class GenericHands:
    """A `HandDataset` of the hands of one split, in the order of the file.

    ``skipped`` counts those without an annotated joint. 2D joints are ``uv`` where the file has them, else
    projections of the 3D ones. Raises HandsimError for an unknown split, for a split without hands and for a
    file that is missing or not as described; it names the hand.
    """

    name = "generic"

    def __init__(self, root: Path, split: str) -> None:
        check_split(self.name, split, SPLITS)
        self.root, self.split, self.skipped = root, split, 0
        path = root / LABELS_FILE
        if not path.is_file():
            raise NotThereError(f"{path} is missing; give the folder that has {LABELS_FILE} and its images")
        scale, order, shift = _read_conventions(path)
        rows: list[_Hand] = []
        ids: set[str] = set()
        with_uv: bool | None = None
        for number, entry in enumerate(_stream(path, "hands.item")):
            hand = _Hand(entry, f"hand {number} of {path}")
            if hand.sample_id in ids:
                raise HandsimError(f"{hand.place}: id {hand.sample_id!r} is taken; give each hand its own id")
            ids.add(hand.sample_id)
            if with_uv not in {None, hand.has_uv}:
                raise HandsimError(f"{hand.place}: uv is given for some hands only; give all of them or none")
            with_uv = hand.has_uv
            if hand.split != split:
                continue
            if hand.valid.any():
                rows.append(hand)
            else:
                self.skipped += 1
        if not rows:
            raise HandsimError(
                f"{path} has no hand of split {split} with an annotated joint, of {len(ids)} hands"
            )
        self.has_keypoints = bool(with_uv)
        """Whether 2D joints are those of the file; else they are projections."""
        self._hands, self._scale, self._order, self._shift = rows, scale, order, shift

    def __len__(self) -> int:
        return len(self._hands)

    @property
    def people(self) -> frozenset[str]:
        """Of all its hands; a picture is a person where nobody says who it is."""
        return frozenset(hand.person for hand in self._hands)

    def label(self, index: int) -> HandLabel:
        """The truth of one hand; raises IndexError past the end."""
        hand = self._hands[index]
        joints_mm = (hand.xyz * self._scale)[self._order]
        intrinsics = hand.intrinsics.copy()
        intrinsics[:2, 2] += self._shift
        points = hand.uv[self._order] + self._shift if self.has_keypoints else project(joints_mm, intrinsics)
        valid = hand.valid[self._order]
        points = np.where(valid[:, None], points, np.nan)
        label = HandLabel(
            sample_id=hand.sample_id,
            subject=hand.person,
            side="left" if hand.is_left else "right",
            size_px=hand.size_px,
            keypoints_2d_px=points.astype(np.float32),
            joints_3d_mm=np.where(valid[:, None], joints_mm, np.nan).astype(np.float32),
            intrinsics=intrinsics,
            valid=valid,
        )
        return label.mirrored() if hand.is_left else label

    def __getitem__(self, index: int) -> LabelledHand:
        return with_picture(
            self.label(index), self.files(index)[0], f"correct {LABELS_FILE} or add the image"
        )

    def files(self, index: int) -> tuple[Path, ...]:
        """The image of one hand; the labels of all are in one file."""
        return (self.root / self._hands[index].picture,)


class _Hand:
    """One entry of ``hands``, checked; ``place`` says which, for messages."""

    __slots__ = (
        *("has_uv", "intrinsics", "is_left", "person", "picture", "place", "sample_id", "size_px"),
        *("split", "uv", "valid", "xyz"),
    )

    def __init__(self, entry: Any, place: str) -> None:
        self.place = place
        if not isinstance(entry, dict):
            raise HandsimError(f"{place} is not an object with {', '.join(_REQUIRED)}")
        missing = [key for key in _REQUIRED if key not in entry]
        if missing:
            raise HandsimError(f"{place} lacks {', '.join(missing)}")
        if entry["side"] not in SIDES:
            raise HandsimError(f"{place}: side is {entry['side']!r}; it is left or right")
        if entry["split"] not in SPLITS:
            raise HandsimError(f"{place}: split is {entry['split']!r}; it is one of {', '.join(SPLITS)}")
        self.picture, self.split = str(entry["picture"]), str(entry["split"])
        self.is_left = entry["side"] == "left"
        self.sample_id = str(entry.get("id", f"{self.picture}/{entry['side']}"))
        self.person = str(entry.get("person", self.picture))  # nobody says who it is
        size = _numbers(entry["size"], (2,), "size", place)
        if not (size >= 1).all() or (size % 1).any():
            raise HandsimError(f"{place}: size is {entry['size']}; it is the image's width and height")
        self.size_px = (int(size[0]), int(size[1]))
        self.intrinsics = _numbers(entry["K"], (3, 3), "K", place)
        focal, last = self.intrinsics.diagonal()[:2], self.intrinsics[2]
        if not (np.isfinite(self.intrinsics).all() and (focal > 0).all() and (last == (0, 0, 1)).all()):
            raise HandsimError(f"{place}: K is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with fx, fy above 0")
        self.xyz = _joints(entry["xyz"], 3, "xyz", place)
        self.has_uv = entry.get("uv") is not None
        self.uv = _joints(entry["uv"], 2, "uv", place) if self.has_uv else self.xyz[:, :2]
        self.valid = np.asarray(np.isfinite(np.hstack([self.xyz, self.uv])).all(axis=1))


def _joints(points: Any, dimensions: int, key: str, place: str) -> NDArray[np.float64]:
    """Joints [21, dimensions], NaN for null."""
    if isinstance(points, list):
        points = [[None] * dimensions if point is None else point for point in points]
    return _numbers(points, (JOINT_COUNT, dimensions), key, place)


def _numbers(value: Any, shape: tuple[int, ...], key: str, place: str) -> NDArray[np.float64]:
    try:
        array = np.array(value, dtype=np.float64)  # null becomes NaN
    except (TypeError, ValueError) as error:
        raise HandsimError(f"{place}: {key} is not {list(shape)} numbers ({str(error)[:60]})") from error
    if array.shape != shape:
        raise HandsimError(f"{place}: {key} has shape {list(array.shape)}; expected {list(shape)}")
    return array


def _read_conventions(path: Path) -> tuple[float, NDArray[np.intp], float]:
    """Millimetres in a unit, the order with ours = theirs[order], and what brings pixels to our centre."""
    unit, names, centre = (next(_stream(path, key), None) for key in ("unit", "joint_order", "pixel_centre"))
    if unit not in UNITS_MM:
        raise HandsimError(f'{path}: unit is {unit!r}; say whether xyz is in "mm" or in "m"')
    centre = 0.0 if centre is None else centre
    if centre not in _PIXEL_CENTRES:
        raise HandsimError(f"{path}: pixel_centre is {centre!r}; it is 0 or 0.5")
    return UNITS_MM[unit], _joint_order(names, path), PIXEL_CENTRE - float(centre)


def _joint_order(names: Any, path: Path) -> NDArray[np.intp]:
    if isinstance(names, str):
        if names not in JOINT_ORDERS:
            hint = did_you_mean(names, JOINT_ORDERS)
            raise HandsimError(
                f"{path}: there is no joint_order {names}{hint}; there are {', '.join(JOINT_ORDERS)}, or "
                f"give the {JOINT_COUNT} names in their order"
            )
        return np.array(JOINT_ORDERS[names], dtype=np.intp)
    if not isinstance(names, list) or sorted(map(str, names)) != sorted(JOINT_NAMES):
        wrong = [name for name in names if name not in JOINT_NAMES] if isinstance(names, list) else [names]
        such = f", not {wrong[0]!r}" if wrong else f", not {len(names)} with one twice or missing"
        raise HandsimError(
            f"{path}: joint_order is a name ({', '.join(JOINT_ORDERS)}) or each of {', '.join(JOINT_NAMES)} "
            f"once{such}"
        )
    return np.array([names.index(name) for name in JOINT_NAMES], dtype=np.intp)


def _stream(path: Path, prefix: str) -> Iterator[Any]:
    """Yield what is at ``prefix``; raises HandsimError for broken JSON."""
    try:
        with path.open("rb") as file:
            yield from ijson.items(file, prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HandsimError(f"{path} is not whole JSON ({reason}); {_NULL}") from error


def write_generic(root: Path, config: SyntheticConfig, progress: Progress | None = None) -> None:
    """Write the hands of a world into an empty folder, with the optional fields: an example of the layout.

    Splits are by people. ``hands.json`` is written last: without it the folder is not a dataset. Raises
    HandsimError for a folder that is not empty and for fewer than three videos, one for each split.
    """
    begin_layout(root, "generic", config, least_videos=len(SPLITS))
    split_of = split_of_people(config)
    (root / "images").mkdir()
    hands: list[dict[str, Any]] = []
    pictures = synthesise_labelled(config, crop_enlargement=CROP_ENLARGEMENT)
    for number, picture in enumerate(pictures):
        path = f"images/{number:07d}.png"
        Image.fromarray(picture.image).save(root / path)
        height, width = picture.image.shape[:2]
        hands.append(
            {
                "id": f"{picture.video:06d}/{picture.frame:06d}",
                "person": f"{picture.person:06d}",
                "picture": path,
                "size": [width, height],
                "side": picture.side,
                "split": SPLITS[split_of[picture.person]],
                "K": picture.intrinsics.tolist(),
                "xyz": picture.joints_3d_mm.tolist(),
                "uv": picture.keypoints_2d_px.tolist(),
            }
        )
        if progress:
            progress(number + 1, config.videos * config.hands_per_video)
    conventions = {"unit": "mm", "joint_order": "handsim", "pixel_centre": PIXEL_CENTRE}
    write_text_atomically(root / LABELS_FILE, json.dumps({**conventions, "hands": hands}) + "\n")
