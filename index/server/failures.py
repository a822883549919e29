"""What an exception of the client says about the server: it may pass, or the server refuses, and why.

A refusal arrives as a gRPC status, as an HTTP status or, in the client's local mode, as a ValueError. The
status alone does not tell: for a cluster one of whose nodes is away, Qdrant answers with INTERNAL, as it does
for what is broken for good. So the texts below decide. They are those of Qdrant 1.16 to 1.19.
"""

import json
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import grpc
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim.errors import HandsimError, NotThereError, UnavailableError, one_line
from index.server.address import CA_VARIABLE, KEY_FILE_VARIABLE, KEY_VARIABLE


class DeniedError(HandsimError):
    """The API key is missing or wrong, or may not do this."""


class NotFoundError(NotThereError):
    """There is no such collection."""


class AlreadyExistsError(HandsimError):
    """There is already such a collection."""


def other_program_error(collection: str) -> HandsimError:
    """The error for a collection in the index's place that handsim did not create."""
    return HandsimError(
        f"the collection {collection} is another program's; "
        f"give this index another name: http://host:6333/NAME"
    )


_GRPC_KINDS: Final[dict[grpc.StatusCode, type[HandsimError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,  # by a server that shuts down
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: DeniedError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
}
_HTTP_KINDS: Final[dict[int, type[HandsimError]]] = {
    **dict.fromkeys((408, 429, 502, 503, 504), UnavailableError),
    **dict.fromkeys((401, 403), DeniedError),
    404: NotFoundError,
    409: AlreadyExistsError,
}
_REFUSED: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, 400, 405, 413, 422)
"""The request itself is at fault, whatever the text says of nodes: it stays so."""

_MESSAGES: Final[dict[type[HandsimError], str]] = {
    UnavailableError: "does not answer ({}); start it, or check the address",
    DeniedError: f"does not admit this ({{}}); set {KEY_VARIABLE} to an API key that may",
    NotFoundError: "has no such thing ({})",
    AlreadyExistsError: "has that already ({})",
    HandsimError: "refuses this: {}",
}


class _Text(NamedTuple):
    """What a server's text says, more precisely than its status."""

    pattern: re.Pattern[str]
    kind: type[HandsimError]
    message: str
    """What is told of the server; ``{}`` is its own text."""


def _text(kind: type[HandsimError], message: str, *patterns: str) -> _Text:
    return _Text(re.compile("|".join(patterns), re.IGNORECASE), kind, message)


_NODE_AWAY: Final = "cannot do this yet ({}); see that all its nodes run, then run the command again"
_TEXTS: Final = (
    # Lasting. First, because a cluster quotes them inside the texts below: all replicas fail for this reason.
    _text(
        HandsimError,
        _MESSAGES[HandsimError],
        r"wrong input:|bad request:|strict mode error:",  # CollectionError::BadInput, BadRequest, StrictMode
    ),
    _text(
        HandsimError,
        "has no space left ({}); free some on its nodes' disks, or move it to larger ones, then run the "
        "command again: what is written stays",
        r"no space left on device",  # local_shard/updaters: before every write; the system's own
        r"out of disk|disk quota exceeded|\(os error (28|122)\)",
    ),
    _text(
        HandsimError,
        "has not enough memory ({}); give its nodes more, or use --on-disk, then run the command again",
        r"out of memory, free:",  # CollectionError::OutOfMemory
    ),
    _text(
        DeniedError,
        f"does not admit this any more: the token has expired ({{}}); put a new one into {KEY_VARIABLE}, or "
        f"into the file that {KEY_FILE_VARIABLE} names, and run the command again",
        r"ExpiredSignature",  # auth/jwt_parser, half a minute after the token's `exp`
    ),
    _text(
        HandsimError,
        f"has a certificate that does not fit ({{}}); name the PEM file of the authority that signed it in "
        f"{CA_VARIABLE}, and use a host name that the certificate is for",
        r"CERTIFICATE_VERIFY_FAILED|is not in peer certificate|certificate verify failed",
    ),
    _text(
        HandsimError,
        "does not speak TLS there ({}); an address of a server without it begins with http://",
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG",
    ),
    # Passing: the server asked does not answer. Texts of gRPC and httpx.
    _text(
        UnavailableError,
        _MESSAGES[UnavailableError],
        r"^(failed to connect to all addresses|connections to all backends|DNS resolution failed|\[Errno)",
        r"^deadline exceeded$|^timed out$|operation timed out$",
        r"RST_STREAM|stream removed|socket closed|connection reset|broken pipe|GOAWAY",
    ),
    # Passing: it answers, but a node of its cluster died, is starting, or is filled from the others.
    _text(
        UnavailableError,
        _NODE_AWAY,
        # CollectionError::InconsistentShardFailure quotes only the first of the shards' errors.
        r"shards failed to apply operation",
        # replica_set/update, update_with_consistency: the replica that orders the writes is away.
        r"failed to apply update with \w+ ordering via leader peer",
        r"no leader could be selected",
        # replica_set/update: too few replicas took a write; Qdrant itself asks to repeat it.
        r"has no active replica|not enough (active )?replicas|does not have enough active replicas",
        r"at least one `?active`? replica|please retry|all attempts were rejected",
        # replica_set/execute_read_operation. 0 of 0: another client created the collection a moment ago.
        r"\d+ of \d+ read operations failed",
        # collection/shard_transfer, shard_holder: a shard that is not, or not yet, on the node asked.
        r"(local )?shard \S+ not found|no target shard \S+ found|no address found for peer",
        r"shard temporarily unavailable|recovery is in progress|is not in (an )?active state",
        # replica_set/remote_shard, transport_channel_pool: one node does not reach another.
        r"tonic (transport|status) error|transport error|error trying to connect|tcp connect error",
        r"failed to connect to|deadline exceeded|can't reach one of the workers",
        # storage/consensus_manager: too few nodes for a majority, or they are electing a leader.
        r"leader is not established|waiting for consensus operation|error in raft consensus|no leader",
        r"channel (sender )?(dropped|closed)|failed to propose operation",
        # CollectionError::Timeout and Cancelled, on one of the nodes.
        r"timed out|timeout( error)?:|operation cancelled|the operation was cancelled",
    ),
)

_LOCAL_MESSAGE: Final = re.compile(r"Collection .*(not found|already exists)", re.DOTALL)
_RUST_NOISE: Final = re.compile(r", details: \[\], metadata: MetadataMap \{ headers: \{[^}]*\} \}")
"""What a node prints of another node's answer beside its text."""


@dataclass(frozen=True)
class Failure:
    """What an exception of the client says."""

    kind: type[HandsimError]
    reason: str
    """The server's own text, in one line."""
    message: str
    """What is told of the server, and what to do; ``{}`` is the reason."""
    wait_s: float = 0.0
    """How long the server asks to wait before the next call."""

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later, or on another node."""
        return self.kind is UnavailableError

    def to_error(self, address: str, waited_s: float = 0.0) -> HandsimError:
        """The error for people, in one line; ``waited_s`` is how long the call was repeated."""
        has_waited = self.may_pass and waited_s >= 1
        reason = f"{self.reason}; waited for {waited_s:.0f} s" if has_waited else self.reason
        return self.kind(f"the Qdrant server at {address} {self.message.format(reason)}")


def classify(error: Exception) -> Failure | None:
    """What an exception of the client says about the server; None where it says nothing about it."""
    kind: type[HandsimError] = HandsimError
    status: grpc.StatusCode | int | None = None
    wait_s = 0.0
    if isinstance(error, ResourceExhaustedResponse):
        kind, reason, wait_s = UnavailableError, str(error), float(error.retry_after_s)
    elif isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        status = error.code()
        kind = _GRPC_KINDS.get(status, HandsimError)
        reason = error.details() or error.code().name
    elif isinstance(error, UnexpectedResponse):
        status = error.status_code
        kind = _HTTP_KINDS.get(status or 0, HandsimError)
        reason = f"{status} {error.reason_phrase} {_read_http_reason(error.content)}"
    elif isinstance(error, ResponseHandlingException):
        kind = UnavailableError if isinstance(error.source, httpx.TransportError) else HandsimError
        reason = str(error.source) or type(error.source).__name__
    elif type(error) is ValueError and (local := _LOCAL_MESSAGE.fullmatch(str(error))):
        kind = NotFoundError if local[1] == "not found" else AlreadyExistsError
        reason = str(error)
    elif isinstance(error, NotImplementedError):  # the client's local mode has no nodes
        reason = str(error) or "the client's local mode cannot do this"
    else:
        return None
    reason = _RUST_NOISE.sub("", reason)
    text = None if status in _REFUSED else _find_text(reason, kind)
    kind, message = (kind, _MESSAGES[kind]) if text is None else (text.kind, text.message)
    return Failure(kind, one_line(reason), message, wait_s)


def _find_text(reason: str, kind: type[HandsimError]) -> _Text | None:
    """The first of `_TEXTS` in a reason, if the kind that the status says leaves it open."""
    text = next((text for text in _TEXTS if text.pattern.search(reason)), None)
    if text is None or kind in (HandsimError, UnavailableError, text.kind):
        return text
    return text if kind is NotFoundError and text.kind is UnavailableError else None


def _read_http_reason(content: bytes) -> str:
    """The text of Qdrant's answer, or the whole answer of something else."""
    text = content.decode(errors="replace")
    try:
        return str(json.loads(text)["status"]["error"])
    except (ValueError, KeyError, TypeError):
        return text
