"""New names for hands that a pool has already, by another ``--video-from`` or ``--label-from``."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from handsim.ingest.origins import IngestOptions, Origin
from handsim.pool import layout


class Names(NamedTuple):
    """What a hand is to be called; None: as it is."""

    video: str | None
    label: str | None


def asked_names(origin: Origin, options: IngestOptions) -> Names:
    """Of a file: only a rule that was given renames, never the default."""
    return Names(origin.video if options.video_from else None, origin.label if options.label_from else None)


@dataclass
class Renaming:
    """Hands that are to be named anew, and how."""

    by_id: dict[int, Mapping[str, Names]] = field(default_factory=dict)
    """Hand -> the names of each file that it may be of."""
    by_file: dict[tuple[str, str], Names] = field(default_factory=dict)
    """Source and file -> names, for hands of which earlier versions recorded no ids."""
    videos: dict[int, str] = field(default_factory=dict)
    """Found by `find`: hand -> its new video, where it has another one."""
    labels: dict[int, str | None] = field(default_factory=dict)
    """Likewise, its new label."""
    ids_of_file: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """Likewise, the hands of each file of ``by_file``."""

    def find(self, pool: Path) -> int:
        """Find the hands that have other names; returns how many there are."""
        if not self.by_id and not self.by_file:
            return 0
        removed = set(layout.read_removed(pool).tolist())
        with layout.reading(pool) as parts:
            for part in parts:
                columns = ["hand_id", "source", "file", "video", "label"]
                table = layout.read_columns(part, layout.HANDS_FILE, columns).to_pydict()
                for hand_id, source, file, video, label in zip(*table.values(), strict=True):
                    if hand_id in removed:
                        continue
                    names = self._names(hand_id, source, file)
                    if names.video is not None and names.video != video:
                        self.videos[hand_id] = names.video
                    if names.label is not None and names.label != label:
                        self.labels[hand_id] = names.label
        return len(self.videos.keys() | self.labels.keys())

    def _names(self, hand_id: int, source: str, file: str) -> Names:
        if (files := self.by_id.get(hand_id)) is not None:
            # The one file of an item may have moved since the hand was found.
            return files.get(file) or (next(iter(files.values())) if len(files) == 1 else Names(None, None))
        if (names := self.by_file.get((source, file))) is not None:
            self.ids_of_file[source, file].append(hand_id)
            return names
        return Names(None, None)
