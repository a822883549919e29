"""Annotations of hundreds of megabytes of JSON, read an entry at a time, and what is wrong with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ijson

from handsim.errors import HandsimError


class Numbers(dict[str, int]):
    """Numbers names in the order of their first use."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


def stream(path: Path, reader: Any, prefix: str, remedy: str) -> Iterator[Any]:
    """Yield what ``reader`` of ijson finds at ``prefix``: the ``items`` of an array (``images.item``), or
    ``kvitems`` of an object. Raises HandsimError, ending in ``remedy``, for broken JSON.
    """
    try:
        with path.open("rb") as file:
            yield from reader(file, prefix, use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise HandsimError(f"{path} is not whole JSON ({reason}); {remedy}") from error


@contextmanager
def explain_errors(path: Path, version: str, remedy: str) -> Iterator[None]:
    """Raise HandsimError, in one sentence, for contents of another form than ``version`` has."""
    try:
        yield
    except HandsimError:
        raise
    except KeyError as error:
        raise HandsimError(f"{path} lacks {error.args[0]!r}, so it is not {version}; {remedy}") from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise HandsimError(f"{path} is not as in {version} ({str(error)[:80]}); {remedy}") from error
