"""What an ingest has found and done, for people and as JSON."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from handsim.annotations.json_stream import BREAKS_OFF
from handsim.files import write_text_atomically
from handsim.ingest.origins import readable
from handsim.pool.writer import CRASHED, DETECTOR_FAILED, FAILED, UNREADABLE, Skip

TOOK_TOO_LONG: Final = "took too long"

_REMEDIES: Final = {
    "not an image or video": "nothing, if it is none",
    "no hand": "nothing, if none is to be seen",
    "no video name": "widen --video-from",
    "empty file": "copy it again",
    "truncated image": "copy it again",
    "corrupt image": "copy it again",
    "too many pixels": "scale it down",
    "truncated tar": "copy it again: the rest is taken then",
    "damaged tar": "copy it again, if its source is whole",
    "link in a tar": "nothing: what it leads to is used",
    "sparse file in a tar": "unpack it",
    "video in a tar": "unpack it",
    "animation in a tar": "unpack it",
    "annotations in a tar": "nothing, or unpack them",
    "tar in a tar": "unpack it",
    "wrong suffix": "rename it, for --shard",
    "truncated video": "copy it again: the rest is taken then",
    "damaged video": "copy it again, if its source is whole",
    "not annotations": "nothing, if it is none; or --format",
    BREAKS_OFF: "get the whole file",
    "too few joints": "--min-joints or --boxes",
    "no side": "--side says it",
    "no hand in box": "nothing, if none is to be seen",
    "joints outside box": "mend the box, or leave it out",
    "box outside": "give it in pixels of the picture",
    "bad side": "write left, right or unknown",
    "bad image": "rename it, or --images",
    "id twice": "give each its own id",
    "joint order": "--joint-order, or mend the names",
    "wrong joint count": "21 joints of 2 or 3 numbers",
    "no such image": "list it in images[]",
    "part of FreiHAND": "nothing, or give *_xyz.json",
    "missing field": "add it, or another --format",
    "bad annotation": "mend it, or another --format",
    "not a hand": "nothing, if it is none",
    "no picture size": "give width and height, or pictures",
    "wrong picture size": "give the pictures of the annotations",
    UNREADABLE: "see that it can be read, and run again",
    CRASHED: "run again",
    FAILED: "run again; report it if it fails again",
    DETECTOR_FAILED: "mend the detector, and run again",
    TOOK_TOO_LONG: "convert it, or --retry-failed",
}
"""What to do about a reason."""
UNLABELLED_REMEDY: Final = "nothing, or embedding fit --unlabelled complete"
NO_SIDE_REMEDY: Final = "pool relabel --set-side; no index takes them until then"
_OTHER_REMEDY: Final = "see the report in JSON"


@dataclass
class Note:
    """Something to know of an ingest that is about many files."""

    what: str
    count: int
    first: str
    """The first of them, for people."""
    remedy: str


@dataclass(eq=False)
class Findings:
    """What was passed over on the way to the files, and what is to be told of them."""

    notes: dict[str, Note] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)
    """Files and folders that cannot be used, and why."""

    def note(self, what: str, first: str, remedy: str, count: int = 1) -> None:
        """Count something; the first of its kind is named."""
        self.notes.setdefault(what, Note(what, 0, first, remedy)).count += count

    def skip_unreadable(self, name: str, error: OSError) -> None:
        """Note a folder or file that cannot be opened."""
        self.skipped.append(Skip(name, UNREADABLE, error.strerror or str(error)))


@dataclass(frozen=True)
class TableRow:
    """A line of the table that ends a report."""

    block: str
    """``not used``, ``used all the same`` or ``to know``."""
    what: str
    count: int
    first: str
    """The first of them."""
    detail: str
    """What is wrong with that one."""
    remedy: str


@dataclass(eq=False)
class IngestReport:
    """One ingest, over everything below the paths that were named, whenever it was looked at."""

    paths: list[str]
    pictures: int = 0
    """Pictures, expected frames and annotations in all."""
    done_before: int = 0
    """Of these, looked at by an earlier run."""
    done_now: int = 0
    """Of these, looked at by this run."""
    retried: int = 0
    """Of these, looked at before to no use."""
    hands_found: int = 0
    """Hands this run found."""
    hands_new: int = 0
    """Of these, hands the pool did not have yet."""
    hands_renamed: int = 0
    """Hands of the pool that got another video name or label."""
    hands_in_pool: int = 0
    """All hands of the pool, after this run."""
    tracks: int = 0
    """Hands over the frames of videos that this run began to follow."""
    seconds: float = 0.0
    interrupted: bool = False
    """Whether it was stopped before the end; running it again goes on from there."""
    shard: str | None = None
    """Which share of the files it was, such as 3/16; None: all."""
    dry_run: bool = False
    """Whether nothing was done: what would be is told."""
    to_do: Counter[str] = field(default_factory=Counter)
    """Of a dry run: how many pictures, frames and annotations would be looked at."""
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found in this run."""
    detectors: Counter[str] = field(default_factory=Counter)
    """How many hands each detector of a chain found in this run."""
    findings: Findings = field(default_factory=Findings)
    remarks: list[Skip] = field(default_factory=list)
    """What is wrong with what was used all the same, a line per file and reason."""

    @property
    def skipped(self) -> list[Skip]:
        """What could not be used and why."""
        return self.findings.skipped

    def reasons(self) -> dict[str, int]:
        """How many pictures (or files) each reason cost, most first."""
        counts: Counter[str] = Counter()
        for skip in self.skipped:
            counts[skip.reason] += skip.count
        return dict(counts.most_common())

    def merged_skips(self) -> list[Skip]:
        """One line per file and reason, also for a video of several stretches."""
        return _merge(self.skipped)

    @staticmethod
    def explain_skip(skip: Skip) -> str:
        """What became of one file, and what to do, in a sentence."""
        detail = f" ({skip.detail})" if skip.detail else ""
        return f"{skip.file}: {skip.reason}{detail}; {_REMEDIES.get(skip.reason, _OTHER_REMEDY)}."

    def table(self) -> list[TableRow]:
        """What was not used, what was used all the same, and what else there is to know: a row per kind."""
        rows = []
        for block, skips in (("not used", self.skipped), ("used all the same", self.remarks)):
            merged = _merge(skips)
            counts: Counter[str] = Counter()
            for skip in merged:
                counts[skip.reason] += skip.count
            for reason, count in counts.most_common():
                first = next(skip for skip in merged if skip.reason == reason)
                remedy = _REMEDIES.get(reason, _OTHER_REMEDY)
                rows.append(TableRow(block, reason, count, first.file, first.detail, remedy))
        notes = self.findings.notes.values()
        return rows + [
            TableRow("to know", note.what, note.count, note.first, "", note.remedy) for note in notes
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        values = {name: value for name, value in vars(self).items() if name != "findings"}
        values["paths"] = [readable(path) for path in self.paths]
        values["rungs"] = dict(values.pop("stages"))  # as reports on disk call it
        values["reasons"] = self.reasons()
        values["skipped"] = [asdict(skip) for skip in self.merged_skips()]
        values["remarks"] = [asdict(remark) for remark in _merge(self.remarks)]
        values["table"] = [asdict(row) for row in self.table()]
        return values

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"
        write_text_atomically(path, text.encode("utf-8", "backslashreplace").decode())


def _merge(skips: Iterable[Skip]) -> list[Skip]:
    """One line per file and reason, by reason and file."""
    merged: dict[tuple[str, str], Skip] = {}
    for skip in skips:
        first = merged.setdefault((skip.file, skip.reason), skip)
        if first is not skip:
            count = first.count + skip.count
            merged[skip.file, skip.reason] = Skip(skip.file, skip.reason, first.detail, count)
    return sorted(merged.values(), key=lambda skip: (skip.reason, skip.file))
