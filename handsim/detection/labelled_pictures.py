"""Pictures with labelled hands, of any format of annotations, to measure a detector with."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from handsim.annotations import AnnotatedHand, AnnotationFile, AnnotationOptions, BadAnnotation, OwnHand
from handsim.annotations.annotated_hand import box_around_joints, check_box
from handsim.annotations.hand100m import points_in_picture
from handsim.annotations.pictures import PictureFinder
from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.hand import Side, labelled_joints
from handsim.metrics.detection import TrueHand, longer_side

_NOT_FOUND: Final = "no such picture"


@dataclass(eq=False)
class LabelledPicture:
    """One picture and what is labelled in it."""

    path: Path
    hands: list[AnnotatedHand | OwnHand] = field(default_factory=list)

    def true_hands(self, size_px: tuple[int, int], min_size_px: float = 0.0) -> list[TrueHand]:
        """Its hands, as the picture of that width and height shows them; nothing is asked of smaller ones.

        Raises UnusableError for a picture of another size than its labels say, and for boxes outside of it.
        """
        return [_true_hand(hand, size_px, min_size_px) for hand in self.hands]


@dataclass(eq=False)
class LabelledPictures:
    """All pictures of a file of annotations, and which annotations could not be used."""

    pictures: list[LabelledPicture] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How many annotations or pictures, by the reason."""
    examples: dict[str, str] = field(default_factory=dict)
    """Of each reason the first case."""

    def leave_out(self, reason: str, detail: str) -> None:
        """Count what cannot be used."""
        self.left_out[reason] += 1
        self.examples.setdefault(reason, detail)


def read_labelled_pictures(
    labels: Path, images: Path | None = None, options: AnnotationOptions | None = None
) -> LabelledPictures:
    """Read annotations of any format, and find their pictures below ``images`` (default: beside the file).

    A hand needs a box or one joint, but no side. Pictures that COCO lists without a hand are among them: what
    is found there is false. Raises NotThereError for files that are not there, HandsimError where no picture
    is found or the file holds no annotations.
    """
    if not labels.is_file():
        raise NotThereError(f"there is no file {labels}; --labels takes one of annotations")
    folder = images or labels.parent
    if not folder.is_dir():
        raise NotThereError(f"{folder} is no directory; --images takes the one with the pictures")
    read = LabelledPictures()
    pictures = _Pictures(folder, read)
    options = options or AnnotationOptions(side="unknown", boxes=True, min_joints=1)
    # As an ingest of the folder names it: some formats name no picture, theirs has the file's own name.
    below = PurePosixPath(labels.absolute().parent.name or "labels", labels.name)
    try:
        file = AnnotationFile(labels, below, options)
        for name in file.pictures():
            pictures.find(name)
        for annotation in file.read():
            if isinstance(annotation, BadAnnotation):
                read.leave_out(annotation.reason, annotation.detail)
            elif picture := pictures.find(annotation.image):
                picture.hands.append(annotation)
    except UnusableError as error:
        if not read.pictures:
            raise HandsimError(f"{labels}: {error}") from error
        read.leave_out(error.reason, error.detail)
    if read.pictures:
        return read
    if not pictures.by_name:
        why = next(iter(read.examples.values()), "it names none")
        raise HandsimError(f"{labels} has no picture to look into: {why}")
    raise NotThereError(
        f"none of the {len(pictures.by_name):,} pictures that {labels} names is in {folder} (the first: "
        f"{next(iter(pictures.by_name))}); give their folder by --images"
    )


class _Pictures:
    """Pictures as they are named: each is one, by whatever names."""

    def __init__(self, folder: Path, read: LabelledPictures) -> None:
        self._folder, self._read, self._finder = folder, read, PictureFinder(folder)
        self.by_name: dict[str, LabelledPicture | None] = {}
        self._by_path: dict[PurePosixPath, LabelledPicture] = {}

    def find(self, name: str) -> LabelledPicture | None:
        """The picture of a name; None, and counted once, where it cannot be found."""
        if name not in self.by_name:
            self.by_name[name] = self._find(name)
        return self.by_name[name]

    def _find(self, name: str) -> LabelledPicture | None:
        try:
            below = self._finder.find(name, PurePosixPath())
            if below is None:
                raise UnusableError(_NOT_FOUND, f"{name} is not in {self._folder}")
        except UnusableError as error:
            self._read.leave_out(error.reason, error.detail)
            return None
        if below not in self._by_path:
            self._by_path[below] = LabelledPicture(self._folder / below)
            self._read.pictures.append(self._by_path[below])
        return self._by_path[below]


def _true_hand(hand: AnnotatedHand | OwnHand, size_px: tuple[int, int], min_size_px: float) -> TrueHand:
    width, height = size_px
    if isinstance(hand, OwnHand):
        # A pool's picture shows a right hand, and a left one mirrored.
        joints = hand.hand.picture_keypoints[:, :2].astype(np.float64) * (width, height)
        box = np.array(box_around_joints(joints[labelled_joints(joints)]))
        side: Side = "unknown" if hand.hand.side == "unknown" else "right"
        return TrueHand(box, side, joints, longer_side(box) < min_size_px)
    points = hand.points
    if hand.unit == "pixels":
        if hand.size not in (None, size_px):
            said = f"{hand.size[0]} x {hand.size[1]}" if hand.size else ""
            detail = f"labelled as {said}, and it is {width} x {height}; give the pictures that were labelled"
            raise UnusableError("wrong picture size", detail)
    elif hand.unit == "crop":
        assert hand.box_px is not None
        points = points_in_picture(points, hand.box_px, size_px)
    else:
        points = points * (width, height, width)
    joints = points[:, :2]
    is_labelled = labelled_joints(joints)
    # The box of a detection is tight around its joints, so that of a hand is too where all are labelled.
    if hand.box_px is None or is_labelled.all():
        box_px = box_around_joints(joints[is_labelled])
    else:
        box_px = hand.box_px
    check_box(box_px, size_px)
    box = np.array(box_px)
    is_ignored = hand.is_crowd or longer_side(box) < min_size_px
    return TrueHand(box, hand.side or "unknown", joints if is_labelled.any() else None, is_ignored)
