"""The JSON that every embedding is written as: reading it, and refusing what is none."""

import json
from pathlib import Path
from typing import Any

from handsim.errors import HandsimError, NotThereError


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``; raises NotThereError, or HandsimError when it is none."""
    if not path.exists():
        raise NotThereError(f"there is no embedding at {path}; `handsim embedding fit` makes one")
    try:
        facts = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise not_an_embedding(path, error) from error
    if not isinstance(facts, dict):
        raise not_an_embedding(path, f"a JSON {type(facts).__name__}, not an object")
    return facts


def not_an_embedding(origin: str | Path, why: object) -> HandsimError:
    """The error for facts from ``origin`` that are damaged or something else altogether."""
    return HandsimError(f"{origin} is not an embedding, or is damaged ({why}); fit it again")


def check_version(facts: dict[str, Any], newest: int, origin: str | Path) -> None:
    """Raise HandsimError unless the facts have a format version, and one no newer than ``newest``."""
    version = facts.get("version")
    if not isinstance(version, int):
        raise not_an_embedding(origin, "its format version is missing")
    if version > newest:
        raise HandsimError(f"{origin} has format {version}, this handsim reads up to {newest}; upgrade it")


def check_fingerprint(facts: dict[str, Any], fingerprint: str, origin: str | Path) -> None:
    """Raise HandsimError unless ``fingerprint``, of the numbers as read, is the one written there."""
    if facts.get("fingerprint") != fingerprint:
        raise HandsimError(
            f"{origin} was altered: its numbers do not have its fingerprint {facts.get('fingerprint')}; "
            f"fit it again"
        )
