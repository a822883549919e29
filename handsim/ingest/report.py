"""What an ingest found, and what it could not use."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from handsim.atomic_file import write_text_atomically
from handsim.pool import Skip


@dataclass(eq=False)
class IngestReport:
    """One ingest, over everything below the paths that were named, whenever it was looked at."""

    paths: list[str]
    """What the user named."""
    pictures: int = 0
    """Pictures, expected frames and annotations in all."""
    done_before: int = 0
    """Of these, looked at by an earlier run."""
    done_now: int = 0
    """Of these, looked at by this run."""
    hands_found: int = 0
    """Hands this run found."""
    hands_new: int = 0
    """Of these, hands the pool did not have yet."""
    hands_in_pool: int = 0
    """All hands of the pool, after this run."""
    seconds: float = 0.0
    """How long this run took."""
    interrupted: bool = False
    """Whether it was stopped before the end; running it again goes on from there."""
    rungs: dict[str, int] = field(default_factory=dict)
    """How many hands each try of the detector's ladder found in this run."""
    skipped: list[Skip] = field(default_factory=list)
    """What could not be used and why, a line per file and reason."""

    def reasons(self) -> dict[str, int]:
        """How many pictures (or files) each reason cost, most first."""
        counts: Counter[str] = Counter()
        for skip in self.skipped:
            counts[skip.reason] += skip.count
        return dict(counts.most_common())

    def merged_skips(self) -> list[Skip]:
        """One line per file and reason: stretches of one video are told together."""
        merged: dict[tuple[str, str], Skip] = {}
        for skip in self.skipped:
            known = merged.get((skip.file, skip.reason))
            count = skip.count + (known.count if known else 0)
            detail = known.detail if known else skip.detail
            merged[skip.file, skip.reason] = Skip(skip.file, skip.reason, detail, count)
        return sorted(merged.values(), key=lambda skip: (skip.reason, skip.file))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        facts = {name: value for name, value in asdict(self).items() if name != "skipped"}
        return {
            **facts,
            "reasons": self.reasons(),
            "skipped": [asdict(skip) for skip in self.merged_skips()],
        }

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_text_atomically(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")
