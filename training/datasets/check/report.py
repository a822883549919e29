"""What the doctor found, as a whole."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.datasets.check.finding import Finding
from training.datasets.record import LabelledHand


@dataclass(frozen=True)
class SplitCount:
    """How many hands a split has."""

    split: str
    """Its name."""
    hands: int
    """Samples."""
    skipped: int
    """Hands that are none, as no joint of theirs is annotated."""
    official: int | None
    """Samples of the official dataset, where that is known and the set is not made by handsim."""


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What was found in one dataset."""

    name: str
    """The dataset's."""
    root: Path
    """Where it lies."""
    splits: tuple[SplitCount, ...]
    """The splits that could be opened."""
    findings: tuple[Finding, ...]
    """What each check found."""
    samples: tuple[LabelledHand, ...]
    """Hands to be drawn."""

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(finding for finding in self.findings if finding.verdict == "failed")

    def to_json(self) -> dict[str, Any]:
        """All but the samples, of which it has the ids."""
        return {
            "dataset": self.name,
            "root": str(self.root),
            "passed": not self.failed,
            "splits": [asdict(split) for split in self.splits],
            "findings": [asdict(finding) for finding in self.findings],
            "samples": [sample.sample_id for sample in self.samples],
        }
