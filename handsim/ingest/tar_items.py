"""Pictures in tar files, WebDataset's shards among them, as items: read by their offsets, never unpacked.

A tar is like a folder of its name: rules for names, ``--include`` and ``--exclude`` see the path
``0001.tar/p1/7.jpg``, and a picture has the id that it would have in a folder ``0001``. As in WebDataset,
members that follow one another and are named alike up to the first dot are one sample: beside a picture,
``.cls`` is its label, and ``.json`` may describe the hand, where a pool exported it.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.coco import description_to_hand
from handsim.errors import UnusableError
from handsim.hand import Hand
from handsim.images import read_file
from handsim.ingest.globs import Glob
from handsim.ingest.items import PictureItem, describe_failure, file_keys
from handsim.ingest.known import KnownItems
from handsim.ingest.origins import IngestOptions, Origin, Place, find_origin, find_own_origin, readable
from handsim.ingest.report import Findings
from handsim.media import NO_PICTURE, tell_kind
from handsim.tars import BadMember, TarMember, read_members

_MAX_SAMPLE: Final = 64
"""Members that belong together, at most; where a first dot stands in each frame's name, all would."""
_SIDECARS: Final = (".cls", ".json", ".txt")
_ANNOTATIONS: Final = "annotations in a tar"
_HAND_ID: Final = re.compile("[0-7][0-9a-f]{15}")
_MAX_LABEL_BYTES: Final = 200
_MAX_JSON_BYTES: Final = 1 << 20


@dataclass(eq=False)
class TarFile:
    """A tar among the files of an ingest."""

    path: Path
    """Absolute, without links."""
    place: Place
    size: int
    time_ns: int
    share_read: float = field(default=1.0, init=False)
    """How much of it was looked through."""


def tar_items(
    tar: TarFile, options: IngestOptions, known: KnownItems, findings: Findings
) -> Iterator[PictureItem]:
    """The pictures of one tar, found while it is read; what else is in it goes to ``findings``."""
    samples = _Samples(tar, options, known, findings)
    try:
        for _, members in groupby(enumerate(read_members(tar.path)), _SampleKey()):
            yield from samples.items([member for _, member in members])
    except OSError as error:
        findings.skip_unreadable(str(tar.place.file), error)
    tar.share_read = 1.0


class _SampleKey:
    """What is equal for members that belong together."""

    def __init__(self) -> None:
        self._sample, self._first = "", 0

    def __call__(self, numbered: tuple[int, TarMember | BadMember]) -> int:
        number, member = numbered
        sample = str(_sample(member.name))
        if sample != self._sample or number - self._first >= _MAX_SAMPLE:
            self._sample, self._first = sample, number
        return self._first


def _sample(name: str) -> PurePosixPath:
    """What the members of one sample are called."""
    path = PurePosixPath(name)
    return path.parent / (path.name.partition(".")[0] or path.name)


class _Samples:
    """Makes the items of one tar."""

    def __init__(self, tar: TarFile, options: IngestOptions, known: KnownItems, findings: Findings) -> None:
        self._tar, self._options, self._known, self._findings = tar, options, known, findings
        self._shard = options.shard
        self._is_included = _matches(options.include, [tar.place.below])

    def items(self, members: Sequence[TarMember | BadMember]) -> Iterator[PictureItem]:
        """The pictures among members that belong together; one machine does them all."""
        if self._shard is not None and not self._shard.has(self._tar.path.name, members[0].name):
            return
        pictures, sidecars = list[PictureItem](), list[TarMember]()
        others: list[tuple[TarMember | BadMember, Exception]] = []
        for member in filter(self._is_wanted, members):
            try:
                if isinstance(member, BadMember):
                    raise member.error
                self._tar.share_read = (member.offset + member.size) / self._tar.size
                if PurePosixPath(member.name).suffix.lower() in _SIDECARS:
                    sidecars.append(member)
                else:
                    pictures.append(self._picture(member))
            except (UnusableError, OSError) as error:
                others.append((member, error))
        for member, why in others:
            is_data = isinstance(why, UnusableError) and why.reason in (NO_PICTURE, _ANNOTATIONS)
            if pictures and is_data and isinstance(member, TarMember):
                sidecars.append(member)
            else:
                self._findings.skipped.append(describe_failure(self._file(member), why))
        if sidecars:
            remedy = "nothing: they are no pictures"
            self._findings.note("sidecars in tars", self._file(sidecars[0]), remedy, len(sidecars))
        for picture in pictures:
            try:
                yield self._complete(picture, sidecars)
            except (UnusableError, OSError) as error:
                self._findings.skipped.append(describe_failure(picture.origin.file, error))

    def _is_wanted(self, member: TarMember | BadMember) -> bool:
        """Whether a member is asked for, by its name."""
        if not member.name:
            return True
        below = self._place(member).below
        folders = [below, *list(below.parents)[: len(PurePosixPath(member.name).parts) - 1]]
        if any(folder.name.startswith(".") for folder in folders):
            self._findings.note("hidden", self._file(member), "rename it to use it")
        elif _matches(self._options.exclude, folders):
            self._findings.note("left out by --exclude", self._file(member), "nothing")
        elif self._options.include and not (self._is_included or _matches(self._options.include, [below])):
            self._findings.note("left out by --include", self._file(member), "nothing")
        else:
            return True
        return False

    def _place(self, member: TarMember | BadMember) -> Place:
        return replace(self._tar.place, below=self._tar.place.below / readable(member.name))

    def _file(self, member: TarMember | BadMember) -> str:
        """For people."""
        return str(self._place(member).file)

    def _picture(self, member: TarMember) -> PictureItem:
        """A member as a picture; raises UnusableError for anything else."""
        origin = find_origin(self._place(member), self._options)
        if "/" not in member.name and self._options.video_from is None:
            origin = replace(origin, identity=self._tar.place.below.stem)  # as unpacked in a folder
        item = self._item(member, origin, ["picture", origin.source, self._options.detector])
        if not self._known.is_done(item, self._options.retry_failed):
            kind = tell_kind(member)
            if kind != "picture":
                raise UnusableError(f"{kind} in a tar", "only pictures are read there")
        return item

    def _item(
        self, member: TarMember, origin: Origin, work: Sequence[str], hand: Hand | None = None
    ) -> PictureItem:
        place = [*work, "tar", member.offset]
        keys = file_keys(member.path, member.size, self._tar.time_ns, place, [])
        return PictureItem(keys, member.path, member.size, origin, json.dumps(work), member=member, hand=hand)

    def _complete(self, item: PictureItem, sidecars: Sequence[TarMember]) -> PictureItem:
        """A picture with what its sidecars say of it; UnusableError if the hand is not as exported."""
        assert item.member is not None
        for sidecar in sidecars:
            suffix = PurePosixPath(sidecar.name).suffix.lower()
            if suffix == ".json" and (hand := _read_hand(sidecar)) is not None:
                origin = find_own_origin(hand, self._options)
                return self._item(item.member, origin, ["own hand"], hand)
            if suffix == ".cls" and self._options.label_from is None:
                item = replace(item, origin=replace(item.origin, label=_read_label(sidecar)))
        return item


def _matches(globs: Sequence[Glob], paths: Sequence[PurePosixPath]) -> bool:
    return any(glob.matches(path) for glob in globs for path in paths)


def _read_hand(sidecar: TarMember) -> Hand | None:
    """The hand that a pool exported under its id, if it is that."""
    name = _sample(sidecar.name).name
    if not _HAND_ID.fullmatch(name) or not 0 < sidecar.size <= _MAX_JSON_BYTES:
        return None
    try:
        description = json.loads(read_file(sidecar))
    except ValueError:  # UnusableError among them
        return None
    is_ours = isinstance(description, dict) and description.get("id") == name
    return description_to_hand(description) if is_ours else None


def _read_label(sidecar: TarMember) -> str | None:
    """A class, where that is a line of text."""
    if not 0 < sidecar.size <= _MAX_LABEL_BYTES:
        return None
    return readable(os.fsdecode(read_file(sidecar))).strip() or None
