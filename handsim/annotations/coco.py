"""COCO keypoints of hands, and COCO-WholeBody: both hands of each person.

Format (cocodataset.org, Lin et al., ECCV 2014): ``images[]`` with ``id``, ``file_name``, ``width``,
``height``; ``categories[]`` with ``name`` and ``keypoints`` (names); ``annotations[]`` with ``image_id``,
``category_id``, ``bbox`` (x, y, width, height) and ``keypoints``: 21 times x, y, flag, and flag 0 says
"not labelled". A side stands in the annotation or in its ``attributes``, where CVAT writes it (``side``,
``handedness``, ``is_right``, ``lefthand_valid`` and ``righthand_valid``), or in the category's name.
COCO-WholeBody (Jin et al., ECCV 2020) has ``lefthand_kpts``, ``lefthand_box`` and ``lefthand_valid``, and
the same for the right hand. What a pool exported (`handsim.coco`) comes back as the same hands. The lists
may stand in any order.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.annotations.annotated_hand import AnnotationFormat, AnnotationOptions, OwnHand, RawHand
from handsim.annotations.joint_orders import JointOrder, order_of_names
from handsim.annotations.json_stream import JsonStream
from handsim.coco import ID_KEY, annotation_to_hand
from handsim.errors import HandsimError, UnusableError
from handsim.geometry import CROP_SIZE_PX
from handsim.hand import MAX_HAND_ID, SIDES
from handsim.hashing import hash64
from handsim.skeleton import JOINT_COUNT

_SIDE_FIELDS: Final = (
    "handsim_side",
    "side",
    "handedness",
    "hand_side",
    "hand_type",
    "left_right",
    "is_right",
)
_TOLD_IMAGES: Final = 100
_WHOLE_BODY_NUMBERS: Final = 133 * 3
"""`keypoints` of a person whose parts are not told apart: body, feet, face, left hand, right hand."""
_FLAT_HANDS: Final = {"left": slice(91 * 3, 112 * 3), "right": slice(112 * 3, 133 * 3)}


class ImageTable:
    """Names and sizes of pictures by id: about 40 bytes a picture and its name, so that millions fit."""

    def __init__(self) -> None:
        self._ids, self._ends, self._sizes = array("q"), array("q", [0]), array("i")
        self._names = bytearray()
        self._rows: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, image: Any) -> None:
        """Add one of ``images[]``; raises KeyError, TypeError or ValueError for one that cannot be used."""
        number, name = _number(image["id"]), str(image["file_name"]).encode("utf-8", "surrogatepass")
        width, height = (int(image.get(side) or 0) for side in ("width", "height"))
        self._sizes.extend(
            (width, height) if min(width, height) > 0 and max(width, height) < 2**31 else (0, 0)
        )
        self._ids.append(number)
        self._names += name
        self._ends.append(len(self._names))

    def find(self, image_id: Any, place: str) -> tuple[str, tuple[int, int] | None]:
        """Name and size (None: not told) of a picture; raises UnusableError for an id that is not there."""
        ids, rows = self._sorted_ids()
        number = _number(image_id) if isinstance(image_id, (int, str)) else MAX_HAND_ID
        at = int(ids.searchsorted(number))
        if at == len(self) or int(ids[at]) != number:
            raise UnusableError("no such image", f"{place}: image_id {image_id!r:.99} is not among images[]")
        row = int(rows[at])
        width, height = self._sizes[2 * row : 2 * row + 2]
        name = self._names[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")
        return name, (width, height) if width else None

    def names(self) -> Iterator[str]:
        """The names of all pictures, in the file's order."""
        for start, end in zip(self._ends[:-1], self._ends[1:], strict=True):
            yield self._names[start:end].decode("utf-8", "surrogatepass")

    def ids_twice(self) -> list[int]:
        """Ids that more than one picture has."""
        ids, _ = self._sorted_ids()
        twice: list[int] = np.unique(ids[1:][ids[1:] == ids[:-1]]).tolist()
        return twice

    def _sorted_ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All ids in order, and the row of each; computed once all pictures are there."""
        if self._rows is None:
            ids = np.array(self._ids, dtype=np.int64)
            rows = ids.argsort(kind="stable")
            self._rows = ids[rows], rows
        return self._rows


def _number(image_id: Any) -> int:
    """An id as 63 bits: numbers as they are, also in the form of a text, and the hash of another text."""
    if isinstance(image_id, str):
        if not image_id.isdecimal() or len(image_id) > 18:
            return hash64(image_id.encode()) & MAX_HAND_ID
    elif not isinstance(image_id, int) or abs(image_id) > MAX_HAND_ID:
        raise TypeError(f"{image_id!r:.99} is no id")
    return int(image_id)


@dataclass(frozen=True)
class Category:
    """One of ``categories[]``."""

    name: str = ""
    joint_order: JointOrder | None = None
    is_hand: bool = False


@dataclass(eq=False)
class CocoIndex:
    """What must be known before the annotations are read; they may come first in the file."""

    images: ImageTable = field(default_factory=ImageTable)
    categories: list[dict[str, Any]] = field(default_factory=list)
    format: AnnotationFormat | None = None
    """Told by the first annotation with keypoints."""
    bad_images: list[str] = field(default_factory=list)
    """Entries of ``images[]`` that cannot be used, the first few."""
    breaks_off: bool = False

    @classmethod
    def read(cls, path: Path, expected: AnnotationFormat | None) -> "CocoIndex":
        """Read a file until all is known that its format needs, at most to where it ends or breaks off.

        Raises UnusableError for a file without ``images[]``.
        """
        index = cls(format=expected)
        with JsonStream(path) as stream:
            try:
                index._read_members(stream)
            except UnusableError as error:  # whoever reads the annotations meets it again
                index.breaks_off = True
                if index.format and not len(index.images):
                    place, _, _ = error.detail.partition(";")
                    detail = f"{place}, before images[]: no picture is known; get the whole file"
                    raise UnusableError(error.reason, detail) from error
        if not len(index.images):
            raise UnusableError("not annotations", "images[] names no picture (file_name) with an id")
        index.format = index.format or "coco"
        return index

    def _read_members(self, stream: JsonStream) -> None:
        for name, entry in stream.members():
            if name == "images":
                self._add_image(entry)
            elif name == "categories" and isinstance(entry, dict):
                self.categories.append(entry)
            elif name == "annotations":
                self.format = self.format or _tell_format(entry)
                has_categories = self.categories or self.format not in (None, "coco")
                if has_categories and self.format and len(self.images):
                    return

    def _add_image(self, entry: Any) -> None:
        try:
            self.images.add(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if len(self.bad_images) < _TOLD_IMAGES:
                self.bad_images.append(f"{entry!r:.60} of images[] has no id and file_name ({error!r:.60})")

    def records(self, stream: JsonStream) -> Iterator[Any]:
        """The entries of ``annotations[]``, after what is wrong with ``images[]``."""
        if self.breaks_off and self.format == "coco" and not self.categories:
            unknown = (
                "the file breaks off before categories[]: sides and the order of joints are unknown there"
            )
            yield UnusableError(
                "no categories", f"{unknown}; joints are taken as --joint-order or we have them"
            )
        for detail in self.bad_images:
            yield UnusableError("bad image", detail)
        for image_id in self.images.ids_twice()[:_TOLD_IMAGES]:
            yield UnusableError("id twice", f"images[] has the id {image_id} twice; the first is taken")
        yield from (entry for name, entry in stream.members() if name == "annotations")


def _tell_format(record: Any) -> AnnotationFormat | None:
    if not isinstance(record, dict):
        return None
    if "keypoint_25d" in record or "boxes" in record:
        return "hand100m"
    numbers = len(record.get("keypoints") or ())
    if numbers == 3 * JOINT_COUNT:
        return "coco"
    if numbers == _WHOLE_BODY_NUMBERS or "lefthand_kpts" in record or "righthand_kpts" in record:
        return "coco-wholebody"
    return None


def _read_category(entry: dict[str, Any], options: AnnotationOptions) -> Category:
    name, names = str(entry.get("name", "")), entry.get("keypoints") or ()
    is_hand = len(names) == JOINT_COUNT or any(word in name.lower() for word in ("hand", *SIDES))
    try:
        order = order_of_names(names)
    except HandsimError as error:
        raise UnusableError("joint order", f"category {name!r}: {error}") from error
    if order is not None and options.joint_order not in (None, order):
        says = f"the keypoints of category {name!r} are named in another order than --joint-order says"
        raise UnusableError("joint order", f"{says}; leave it out, or mend the names")
    return Category(name, order, is_hand)


class CocoReader:
    """Hands of ``annotations[]``; see `handsim.annotations.formats.AnnotationReader`."""

    def __init__(self, index: CocoIndex, options: AnnotationOptions) -> None:
        """Raises UnusableError for joints whose names contradict one another or ``--joint-order``."""
        self._index = index
        self._categories = {entry.get("id"): _read_category(entry, options) for entry in index.categories}
        self._has_hands = any(category.is_hand for category in self._categories.values())
        self._is_whole_body = index.format == "coco-wholebody"

    def records(self, stream: JsonStream) -> Iterator[Any]:
        return self._index.records(stream)

    def hands(self, number: int, record: dict[str, Any]) -> Iterator[RawHand | OwnHand]:
        """The hands of one annotation: one, or both of a person."""
        key = record.get("id", f"#{number}")
        place = f"annotation {key!r:.40}"
        image, size = self._index.images.find(record.get("image_id"), place)
        if ID_KEY in record:
            yield OwnHand(place, image, annotation_to_hand(record, size[0] if size else CROP_SIZE_PX))
            return
        if not self._is_whole_body:
            yield self._hand(record, RawHand(place, image, key, size=size))
            return
        for side in SIDES:
            hand = RawHand(f"{place}, {side} hand", image, f"{key}/{side}", side, size=size)
            hand.third, hand.box_has_size = "flag", True
            hand.is_crowd = bool(record.get("iscrowd"))
            if f"{side}hand_kpts" in record:
                hand.keypoints, hand.box = record[f"{side}hand_kpts"], record.get(f"{side}hand_box")
                is_there = record.get(f"{side}hand_valid", True)
            else:
                hand.keypoints = (record.get("keypoints") or [])[_FLAT_HANDS[side]]
                is_there = any(hand.keypoints[2::3])
            if is_there:
                yield hand

    def _hand(self, record: dict[str, Any], hand: RawHand) -> RawHand:
        category = self._categories.get(record.get("category_id"), Category(is_hand=True))
        if self._has_hands and not category.is_hand:
            raise UnusableError("not a hand", f"{hand.place} is of the category {category.name!r}")
        hand.side = _side(record, category)
        hand.joint_order = category.joint_order
        hand.keypoints, hand.third = record.get("keypoints"), "flag"
        hand.box, hand.box_has_size = record.get("bbox"), True
        hand.score = record.get("score")
        hand.is_crowd = bool(record.get("iscrowd"))
        return hand


def _side(record: dict[str, Any], category: Category) -> object:
    attributes = record.get("attributes")
    for fields in (record, attributes) if isinstance(attributes, dict) else (record,):
        for name in _SIDE_FIELDS:
            if fields.get(name) not in (None, ""):
                side: object = fields[name]
                return side
    valid = [side for side in SIDES if record.get(f"{side}hand_valid")]
    named = [side for side in SIDES if side in category.name.lower()]
    return next((sides[0] for sides in (valid, named) if len(sides) == 1), None)
