"""Files of annotations: which format one has, and its hands in file order."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from handsim.annotations.annotated_hand import (
    Annotation,
    AnnotationFormat,
    AnnotationOptions,
    BadAnnotation,
    OwnHand,
    RawHand,
    check_hand,
)
from handsim.annotations.coco import CocoIndex, CocoReader
from handsim.annotations.freihand import FreiHANDReader
from handsim.annotations.hand100m import Hand100MReader
from handsim.annotations.json_stream import JsonStream
from handsim.annotations.jsonl import JsonLinesReader
from handsim.annotations.mediapipe import LANDMARKS, MediaPipeReader
from handsim.annotations.openpose import OpenPoseReader
from handsim.annotations.wilor import ARCHIVE, SIDE_FIELDS, WiLoRReader
from handsim.errors import UnusableError

_HEAD_BYTES: Final = 1 << 16
_IDS_PER_PICTURE: Final = ("mediapipe", "wilor")
_ODD_VALUES: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What reading a record raises that is not as its format says."""


class AnnotationReader(Protocol):
    """How a format's file is taken apart."""

    def records(self, stream: JsonStream) -> Iterator[Any]:
        """The file's records, or the UnusableError of a damaged one; raises it where the file breaks off."""

    def hands(self, number: int, record: Any) -> Iterable[RawHand | OwnHand]:
        """The hands of record ``number``, from 0 on; may raise anything that odd values raise."""


class AnnotationFile:
    """One file of annotations."""

    def __init__(self, path: Path, file: PurePosixPath, options: AnnotationOptions) -> None:
        """Tell the format by the first 64 kilobytes. ``file`` is its path below the folder that was ingested.

        Raises UnusableError for a file that holds no annotations.
        """
        self.path, self.file, self._options = path, file, options
        self.format: AnnotationFormat | None = options.format or _tell_format(path)
        """None: in the layout of COCO; its annotations tell more."""
        self.share_read = 0.0
        """How much of the file has been read."""

    @property
    def root(self) -> Path:
        """The folder that was ingested, or the file's own where a link leads to it."""
        below = self.file.parts[1:]
        return (
            self.path.parents[len(below) - 1] if self.path.parts[-len(below) :] == below else self.path.parent
        )

    def read(self) -> Iterator[Annotation]:
        """Every hand; raises UnusableError where the file breaks off, or if it cannot be read at all."""
        reader = self._open()
        seen: set[int] = set()
        is_empty = True
        with JsonStream(self.path) as stream:
            for number, record in enumerate(reader.records(stream)):
                self.share_read = stream.share_read
                try:
                    if isinstance(record, UnusableError):
                        raise record
                    if not isinstance(record, (dict, tuple)):
                        raise UnusableError("bad annotation", f"record {number}: {record!r:.60} is no object")
                    for raw in reader.hands(number, record):
                        is_empty = False
                        yield self._check(raw, seen)
                except UnusableError as error:
                    is_empty = False
                    yield BadAnnotation("", error.reason, error.detail)
                except _ODD_VALUES as error:
                    yield BadAnnotation("", "bad annotation", f"record {number}: {_describe(error)}")
        self.share_read = 1.0
        if is_empty and self._options.format and _tell_format(self.path) != self._options.format:
            raise UnusableError("not annotations", f"no hand is in it as {self.format}; leave out --format")

    def pictures(self) -> Iterator[str]:
        """The names of pictures that it lists whether or not a hand is in them; only COCO's layout does.

        Raises UnusableError as `read` does.
        """
        if self.format in (None, "coco", "coco-wholebody"):
            yield from CocoIndex.read(self.path, self.format).images.names()

    def _open(self) -> AnnotationReader:
        if self.format in (None, "coco", "coco-wholebody", "hand100m"):
            index = CocoIndex.read(self.path, self.format)
            self.format = index.format
            return Hand100MReader(index) if self.format == "hand100m" else CocoReader(index, self._options)
        if self.format == "freihand":
            return FreiHANDReader(self.path, self._options)
        if self.format == "openpose":
            return OpenPoseReader(self.file)
        if self.format == "mediapipe":
            return MediaPipeReader(self.file)
        return WiLoRReader(self.path, self.file) if self.format == "wilor" else JsonLinesReader()

    def _check(self, raw: RawHand | OwnHand, seen: set[int]) -> Annotation:
        try:
            key = hash((raw.image, raw.key) if self.format in _IDS_PER_PICTURE else raw.key)
            if key in seen:
                raise UnusableError("id twice", "it stands here a second time; the first is taken")
            hand = raw if isinstance(raw, OwnHand) else check_hand(raw, self._options)
        except UnusableError as error:
            return BadAnnotation(raw.image, error.reason, f"{raw.place}: {error.detail}")
        except _ODD_VALUES as error:
            return BadAnnotation(raw.image, "bad annotation", f"{raw.place}: {_describe(error)}")
        seen.add(key)
        return hand


def _describe(error: Exception) -> str:
    """An odd value in one line of bounded length."""
    if isinstance(error, KeyError):
        return f"the field {error} is missing"
    return f"{type(error).__name__}: {error}"[:200].replace("\n", " ")


def _tell_format(path: Path) -> AnnotationFormat | None:
    """The format by a file's first bytes, None for the layout of COCO; raises UnusableError for any other."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    if head.startswith(ARCHIVE):
        return "wilor"
    text = head.decode("utf-8-sig", "replace").lstrip()
    names = set(re.findall(r'"(\w+)"\s*:', text))
    if text.startswith("{") and "people" in names:
        return "openpose"
    if text.startswith("{") and names.intersection(("images", "annotations", "categories")):
        return None
    if names.intersection(LANDMARKS):
        return "mediapipe"
    if names.intersection(SIDE_FIELDS):
        return "wilor"
    if "image" in names and names.intersection(("keypoints", "box")):
        return "handsim-jsonl"
    if re.match(r"\[\s*\[\s*\[", text):
        return "freihand"
    if not text:
        raise UnusableError("empty file", "0 bytes")
    raise UnusableError(
        "not annotations", "none of the formats is recognised by its first 64 KB; see --format"
    )
