"""What went wrong in a call to a Qdrant server, told apart by what can be done about it.

The same refusal arrives as a gRPC status, as an HTTP status or, in the client's local mode, as a
ValueError: whoever calls sees one of the errors below instead, with one line for people.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim.errors import HandsimError, NotThereError

Kind = Literal["passing", "denied", "absent", "present", "refused"]


class DeniedError(HandsimError):
    """The API key is missing or wrong, or may not do this."""


class AbsentError(NotThereError):
    """There is no such collection."""


class PresentError(HandsimError):
    """There is such a collection already."""


@dataclass(frozen=True)
class Fault:
    """What went wrong."""

    kind: Kind
    """``passing`` may succeed when tried again; nothing else does."""
    why: str
    """In the server's words, one line."""
    wait_s: float = 0.0
    """How long the server asks to be left alone."""


_BY_GRPC: Final[dict[grpc.StatusCode, Kind]] = {
    grpc.StatusCode.UNAVAILABLE: "passing",
    grpc.StatusCode.CANCELLED: "passing",  # by a server that shuts down
    grpc.StatusCode.DEADLINE_EXCEEDED: "passing",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "passing",
    grpc.StatusCode.UNAUTHENTICATED: "denied",
    grpc.StatusCode.PERMISSION_DENIED: "denied",
    grpc.StatusCode.NOT_FOUND: "absent",
    grpc.StatusCode.ALREADY_EXISTS: "present",
}
_BY_HTTP: Final[dict[int, Kind]] = {
    **dict.fromkeys((408, 429, 502, 503, 504), "passing"),
    **dict.fromkeys((401, 403), "denied"),
    404: "absent",
    409: "present",
}
_PASSING_WORDS: Final = re.compile(
    # A stream cut by a dying server; a collection that another client created a moment ago.
    r"RST_STREAM|Stream removed|0 of 0 read operations failed"
)
_LOCAL: Final[dict[str, Kind]] = {"not found": "absent", "already exists": "present"}


def fault_of(error: Exception) -> Fault | None:
    """The fault that an exception of the client stands for; None for one that is no answer of a server."""
    if isinstance(error, ResourceExhaustedResponse):
        return Fault("passing", _line(str(error)), float(error.retry_after_s))
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        why = _line(error.details() or error.code().name)
        kind = _BY_GRPC.get(error.code(), "refused")
        return Fault("passing" if _PASSING_WORDS.search(why) else kind, why)
    if isinstance(error, UnexpectedResponse):
        why = _line(f"{error.status_code} {error.reason_phrase} {error.content.decode(errors='replace')}")
        kind = _BY_HTTP.get(error.status_code or 0, "refused")
        return Fault("passing" if _PASSING_WORDS.search(why) else kind, why)
    if isinstance(error, ResponseHandlingException):
        kind = "passing" if isinstance(error.source, httpx.TransportError) else "refused"
        return Fault(kind, _line(str(error.source) or type(error.source).__name__))
    if type(error) is ValueError and str(error).startswith("Collection "):
        for ending, kind in _LOCAL.items():
            if str(error).endswith(ending):
                return Fault(kind, _line(str(error)))
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
