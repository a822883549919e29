"""How long steps take, and how long those will that are left."""

from collections.abc import Iterable, Mapping
from statistics import mean

from training.experiments.steps import Step


class Pace:
    """Learns from steps that are done: equal ones of another seed, else those of the same kind."""

    def __init__(self) -> None:
        self._alike: dict[tuple[str, str], list[float]] = {}
        self._kind: dict[str, list[float]] = {}

    def add(self, step: Step, seconds: float) -> None:
        """One was done."""
        self._alike.setdefault((step.kind, step.what), []).append(seconds)
        self._kind.setdefault(step.kind, []).append(seconds)

    def seconds(self, step: Step) -> float | None:
        """What one will take; None while none of its kind was done."""
        known = self._alike.get((step.kind, step.what)) or self._kind.get(step.kind)
        return mean(known) if known else None

    def seconds_left(
        self, left: Iterable[Step], under_way: Mapping[Step, float], slots: int
    ) -> tuple[float, bool]:
        """For those that are ``left``, and the rest of those ``under_way`` (seconds so far), over the slots.

        And whether that is all: False where steps are among them of which nothing is known.
        """
        guesses = [self.seconds(step) for step in left]
        rests = [
            None if guess is None else max(0.0, guess - so_far)
            for step, so_far in under_way.items()
            for guess in (self.seconds(step),)
        ]
        known = [guess for guess in (*guesses, *rests) if guess is not None]
        return sum(known) / slots, len(known) == len(guesses) + len(rests)


def as_duration(seconds: float) -> str:
    """For people: ``1 h 05 min``, ``3 min 12 s``, ``8 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
