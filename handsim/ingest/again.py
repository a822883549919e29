"""Doing it again: what earlier runs have done of a plan, and what becomes of it.

Work is known by its key, which a file's place, size and time decide, and all options but names. Where the key
is new, the file may still be known by its content: it was moved, copied or touched.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from handsim.ingest.items import AnnotationItem, FileItem, Item, PictureItem, VideoItem, record_file
from handsim.ingest.known import KnownItems
from handsim.ingest.naming import Renaming, asked_names
from handsim.ingest.origins import IngestOptions, Origin, readable
from handsim.ingest.recordings import digest_picture, is_there
from handsim.ingest.report import IngestReport
from handsim.pool.writer import FileRecord, ItemRecord


class EarlierWork:
    """What the records of a pool make of the items of a plan."""

    def __init__(self, known: KnownItems, options: IngestOptions, report: IngestReport) -> None:
        self._known, self._options, self._report = known, options, report
        self._renames = bool(options.video_from or options.label_from)
        self._videos: dict[Path, set[str]] = {}
        """Folder -> the video names that its pictures have in the pool."""
        self.renaming = Renaming()
        self._renamed: list[tuple[FileItem, int]] = []
        """Items with hands to rename, and their rows."""

    def covers(self, item: Item) -> bool:
        """Whether an earlier run did an item; then it is reported, and renamed if that is asked for."""
        row = self._known.find(item)
        if row is None:
            return False
        if self._known.is_worth_another_look(row, self._options.retry_failed):
            self._report.retried += item.pictures
            return False
        self._report_done(row)
        if self._renames:
            self._rename(item, row)
        if isinstance(item, FileItem) and not self._options.video_from:
            self._keep_name(item, row)
        return True

    def settle(self, item: Item) -> Item | ItemRecord:
        """An item that no key covers: what to record where its content was looked at under another key, else
        the item, under the names that the pool has for it."""
        if isinstance(item, AnnotationItem) or (
            isinstance(item, PictureItem) and not self._known.has_size(item.size)
        ):
            return self._name_as_its_folder(item)
        try:
            content = item.content if isinstance(item, VideoItem) else digest_picture(item.source)
        except OSError:
            return item  # the worker says what is wrong with it
        same = self._known.files_of_content(content)
        here = {row: file for row, file in same.items() if file.path == os.fsencode(item.path)}
        if here or any(is_there(file.path) for file in same.values()):
            same = here  # a copy of another is not that one, moved
        for row, file in same.items():
            if file.outcome == item.outcome(content) and not self._known.is_worth_another_look(
                row, self._options.retry_failed
            ):
                return self._record_moved(item, row, file)
        if not same:
            return self._name_as_its_folder(item)
        file = next(iter(same.values()))
        video = item.origin.video if self._options.video_from else file.video
        return replace(item, origin=replace(item.origin, identity=file.identity, video=video))

    def find_copy(self, item: PictureItem, digest: str) -> str:
        """Another picture of the same content that is still there, for people; empty if there is none."""
        if self._known.has_size(item.size):
            for file in self._known.files_of_content(digest).values():
                if file.path != os.fsencode(item.path) and is_there(file.path):
                    return readable(os.fsdecode(file.path))
        return ""

    def _report_done(self, row: int) -> None:
        self._report.done_before += int(self._known.pictures[row])
        self._report.skipped.extend(self._known.skips(row))
        self._report.remarks.extend(self._known.remarks(row))

    def _record_moved(self, item: FileItem, row: int, file: FileRecord) -> ItemRecord:
        self._report_done(row)
        if file.path != os.fsencode(item.path):
            self._report.findings.note("moved since", item.origin.file, "nothing: known by its content")
        if self._renames:
            self._rename(item, row)
        moved = replace(file, path=os.fsencode(item.path), size=item.size)
        return replace(self._known.record(row), key=item.keys.key, file=moved)

    def _rename(self, item: Item, row: int) -> None:
        """Have the hands of an item renamed, if it was not asked for under these names already."""
        file = self._known.file(row)
        if file is not None and isinstance(item, FileItem):
            asked = asked_names(item.origin, self._options)
            if asked.video in (None, file.video) and asked.label in (None, file.label):
                return
        origins = [item.origin] if isinstance(item, FileItem) else item.origins
        names = {origin.file: asked_names(origin, self._options) for origin in origins}
        if self._known.is_former(row):
            self.renaming.by_file.update(
                {(origin.source, origin.file): names[origin.file] for origin in origins}
            )
        else:
            self.renaming.by_id.update(dict.fromkeys(self._known.hand_ids(row), names))
        if isinstance(item, FileItem):
            self._renamed.append((item, row))

    def renamed_records(self) -> Iterator[ItemRecord]:
        """What to record of the items whose hands were renamed; earlier versions recorded no files."""
        for item, row in self._renamed:
            record, asked = self._known.record(row), asked_names(item.origin, self._options)
            file = record.file or self._file_of(item, row)
            file = replace(
                file,
                path=os.fsencode(item.path),
                video=file.video if asked.video is None else asked.video,
                label=file.label if asked.label is None else asked.label,
            )
            ids = record.hand_ids
            if ids is None:
                ids = tuple(self.renaming.ids_of_file.pop((item.origin.source, item.origin.file), ()))
            yield replace(record, key=item.keys.key, hand_ids=ids, file=file)
        self._renamed.clear()

    def _file_of(self, item: FileItem, row: int) -> FileRecord:
        """The record of a file that an earlier version did not make."""
        file = record_file(item, "" if isinstance(item, VideoItem) else digest_picture(item.source))
        names = self._known.former_names(item.origin.source, item.origin.file)
        return replace(file, identity=names[0], video=names[0], label=names[1]) if names else file

    def _keep_name(self, item: FileItem, row: int) -> None:
        """Without a rule, what the pool knows keeps its name, and gives it to new pictures of its folder."""
        if isinstance(item, PictureItem) and item.hand is not None:
            return
        file, origin = self._known.file(row), item.origin
        names = self._known.former_names(origin.source, origin.file) if file is None else None
        video = names[0] if names else file.video if file else None
        if video is not None:
            if isinstance(item, PictureItem):
                self._videos.setdefault(item.path.parent, set()).add(video)
            self._note_name(origin, video)

    def _name_as_its_folder(self, item: Item) -> Item:
        if not isinstance(item, PictureItem) or item.hand is not None:
            return item
        videos = self._videos.get(item.path.parent, ())
        if len(videos) != 1:
            return item
        (video,) = videos
        self._note_name(item.origin, video)
        return replace(item, origin=replace(item.origin, video=video))

    def _note_name(self, origin: Origin, video: str) -> None:
        if video != origin.video:
            first = f"{origin.file}: {video!r}, not {origin.video!r}"
            remedy = "nothing; --video-from path renames"
            self._report.findings.note("video name kept", first, remedy)
