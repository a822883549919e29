"""Where the pairs of pre-training come from."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from handsim.errors import HandsimError
from index.mining import DEFAULT_POLICY, MiningPolicy

Positives = Literal["neighbours", "temporal", "own"]


@dataclass(frozen=True)
class PairSettings:
    """Which hands are pairs, and which are further negatives.

    Raises HandsimError for a value out of its bounds, and for one that this kind of positives does not use.
    """

    positives: Positives = "neighbours"
    """``neighbours``: a hand in a similar pose in another video, from the index (SiMHand); ``temporal``: the
    same hand of a video a moment before or after (TempCLR); ``own``: another view of the anchor (SimCLR,
    PeCLR)."""
    depth: bool = False
    """Only take neighbours from an index that compares 2.5D poses (`handsim embedding fit --depth`)."""
    up_to_turn: bool = False
    """Only from one that compares hands up to a turn (`--up-to-turn`); neither is asked of a table."""
    policy: MiningPolicy = DEFAULT_POLICY
    """Which neighbours are positives; one of them is drawn, all equally likely."""
    ef: int | None = None
    """Candidates examined on the index's graph (HNSW's ef); None: the number it was built with."""
    window_frames: int = 90
    """How far a temporal positive may be from its anchor, in frames of the video; 90 are 3 s of most."""
    negatives_per_anchor: int = 0
    """Hands from a band of distances about each anchor, of other videos, added to all denominators."""
    negative_min_distance: float = 0.0
    """Where the band begins, in the index's embedding; nearer hands have a similar pose: no negatives."""
    negative_max_distance: float | None = None
    """Where the band ends; None: it has no end."""
    negative_top_k: int = 16
    """An anchor's negatives are drawn among this many of the band's nearest hands."""
    prefetch: int = 4
    """Batches for which pairs are drawn ahead. A version published meanwhile is used that many later."""
    pin_version: str | None = None
    """Stay in this version of the index, whatever is published; ``current`` is the one at the start."""
    table: str | None = None
    """A Parquet file that `handsim mine` wrote: its pairs instead of live ones."""
    include_list: str | None = None
    """Train on the hands of this list of the home alone (`handsim list`), as if the pool held no others."""
    exclude_list: str | None = None
    """Train without the hands of this list of the home; the browser adds to ``left-out``."""
    patience_s: float = 600.0
    """How long to wait for an index that does not answer, in seconds."""

    def __post_init__(self) -> None:
        if self.positives not in get_args(Positives):
            raise HandsimError(
                f"positives is {self.positives!r}; it is one of {', '.join(get_args(Positives))}"
            )
        for name, least in (("ef", 1), ("window_frames", 1), ("negatives_per_anchor", 0), ("prefetch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise HandsimError(f"{name} is {value}; it is at least {least}")
        if not (math.isfinite(self.patience_s) and self.patience_s >= 0):
            raise HandsimError(f"patience_s is {self.patience_s}; it is a number of seconds, at least 0")
        self._check_index_is_used()
        if self.negatives_per_anchor:
            self._check_band()

    def _check_index_is_used(self) -> None:
        """Refuse settings that only pairs from the live index use."""
        if self.positives != "neighbours":
            why = f"positives is {self.positives!r}, and those need no index"
            unused = ["negatives_per_anchor", "pin_version", "table"]
        elif self.table is not None:
            why = "a table of mined pairs needs no index"
            unused = ["negatives_per_anchor", "pin_version"]
        else:
            return
        for name in unused:
            if getattr(self, name):
                raise HandsimError(f"{name} is {getattr(self, name)!r}, but {why}; leave one of them out")

    def check_kind(self, origin: str, *, depth: bool, up_to_turn: bool) -> None:
        """Raise HandsimError where neighbours of ``origin`` are not found as these settings ask for."""
        asked = {"depth": self.depth and not depth, "up_to_turn": self.up_to_turn and not up_to_turn}
        if lacking := [name for name, lacks in asked.items() if lacks]:
            found = (
                f"{'2.5D' if depth else '2D'} poses, {'up to a turn' if up_to_turn else 'as they are held'}"
            )
            options = [
                f"--{name.replace('_', '-')}"
                for name, wanted in (
                    ("depth", self.depth or depth),
                    ("up_to_turn", self.up_to_turn or up_to_turn),
                )
                if wanted
            ]
            raise HandsimError(
                f"{origin} finds neighbours by {found}, and pairs.{' and pairs.'.join(lacking)} ask for "
                f"more; run `handsim embedding fit {' '.join(options)}` and `handsim index build`, or set "
                f"{'it' if len(lacking) == 1 else 'them'} to false"
            )

    def _check_band(self) -> None:
        low, high = self.negative_min_distance, self.negative_max_distance
        if not (math.isfinite(low) and low > 0):
            raise HandsimError(
                f"negative_min_distance is {low}; with negatives it is above 0, because the nearest "
                f"hands have the pose of the anchor"
            )
        if high is not None and not (math.isfinite(high) and high > low):
            raise HandsimError(f"negative_max_distance is {high}; the band begins at {low} and ends further")
        if self.negative_top_k < self.negatives_per_anchor:
            raise HandsimError(
                f"negative_top_k is {self.negative_top_k}; {self.negatives_per_anchor} negatives are drawn "
                f"among at least as many"
            )
