"""Counts, shares and distances in sentences for people: one form of each everywhere."""

import math


def pluralize(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 hand``, ``2,000 hands``; ``nouns`` is the form for all but one where that is not ``noun`` and an s.

    Either may go on to the verb: ``hand is``, ``hands are``.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def percent(share: float) -> str:
    """``99.8 %``. What is not quite all is never called 100 %, and what is not quite nothing never 0 %."""
    shown = min(max(100 * share, 0.1 if share > 0 else 0.0), 99.9 if share < 1 else 100.0)
    return f"{shown:.1f} %"


def describe_distance(distance: float) -> str:
    """``distance 0.281``: Euclidean in an embedding, whose unit says nothing to people."""
    return f"distance {distance:.3f}"


def describe_place(share_further: float | None) -> str:
    """``nearer than 99.8 %`` of random pairs, of which ``share_further`` lie further apart; empty if unknown.

    Rounded down, and in hundredths from 99.9 % on: there lie most of the hands that people look at.
    """
    if share_further is None:
        return ""
    hundredths = min(math.floor(share_further * 10_000 + 1e-6), 9_999)
    return (
        f"nearer than {hundredths / 100:.2f} %"
        if hundredths >= 9_990
        else f"nearer than {hundredths // 10 / 10:.1f} %"
    )
