"""Counts in sentences for people."""


def pluralize(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 hand``, ``2,000 hands``; ``nouns`` is the form for all but one where that is not ``noun`` and an s.

    Either may go on to the verb: ``hand is``, ``hands are``.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
