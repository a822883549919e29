"""What Qdrant 1.16 to 1.19 answers while a node is away, and what it refuses for good.

The texts are built as its source builds them; the names of its files stand beside them.
"""

from typing import Any

import grpc
import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim import HandsimError
from handsim.errors import NotThereError, UnavailableError
from index.server.failures import AlreadyExistsError, DeniedError, classify

Code = grpc.StatusCode


class RpcError(grpc.RpcError, grpc.Call):  # type: ignore[misc]  # grpc ships no types
    """What gRPC raises, without the call it belongs to."""

    def __init__(self, code: grpc.StatusCode, details: str = "some reason") -> None:
        self._code = code
        self._details = details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    add_callback = cancel = initial_metadata = is_active = time_remaining = trailing_metadata = None


def http_error(status: int, content: str = '{"status":{"error":"some reason"}}') -> UnexpectedResponse:
    return UnexpectedResponse(status, "Some Phrase", content.encode(), httpx.Headers())


TRANSPORT = (
    'Service internal error: Tonic status error: status: Unavailable, message: "Failed to connect to '
    'http://node-2:6335/, error: transport error", details: [], metadata: MetadataMap { headers: {} }'
)

PASSING = [
    # collection/shards/replica_set/update.rs
    f"Service internal error: Failed to apply update with Strong ordering via leader peer 42: {TRANSPORT}",
    "Service internal error: Cannot update shard hands-v0001:3 with Medium ordering because no leader could "
    "be selected",
    "Service internal error: The replica set for shard 3 on peer 42 has no active replica",
    "Service internal error: Some replica of shard 3 failed to apply operation and deactivation timed out "
    "after 30s. Consistency of this update is not guaranteed. Please retry. Failed peer: 42, error: "
    f"{TRANSPORT}",
    "Service internal error: Failed to apply operation to at least one `Active` replica. Consistency of this "
    "update is not guaranteed. Please retry. ",
    "Service internal error: Failed to apply operation PointOperation(UpsertPoints(...)) after 3 attempts, "
    "all attempts were rejected",
    "Service internal error: Not enough replicas to apply the operation",
    # collection/operations/types.rs: CollectionError, and its conversion from the answer of another node
    f"Service internal error: 2 out of 3 shards failed to apply operation. First error captured: {TRANSPORT}",
    "Service internal error: 1 out of 6 shards failed to apply operation. First error captured: "
    "Service internal error: a reason that nobody has read before",
    TRANSPORT,
    "Service internal error: Tonic transport error: transport error: error trying to connect: tcp connect "
    "error: Connection refused (os error 111)",
    "Service internal error: Operation cancelled: task 4711 was cancelled",
    "Timeout error: Operation 'update' timed out after 60s",
    "Service internal error: Can't reach one of the workers: channel closed",
    # collection/shards/replica_set/execute_read_operation.rs
    "Service internal error: The replica set for shard 2 on peer 42 does not have enough active replicas",
    f"Service internal error: 1 of 1 read operations failed:\n  {TRANSPORT}",
    "Service internal error: 0 of 0 read operations failed",
    # collection/shards/remote_shard.rs, collection/collection/point_ops.rs
    "Service internal error: Local shard 3 not found",
    "Service internal error: no address found for peer 42",
    "Pre-condition failure: Precondition failed: No target shard 3 found for update",
    "Shard temporarily unavailable: partial snapshot recovery is in progress",
    # storage/content_manager/consensus_manager.rs
    "Service internal error: Waiting for consensus operation commit failed. Timeout set at: 10 seconds",
    "Service internal error: Failed to propose operation: leader is not established within 10s",
    "Service internal error: Error occurred while waiting for consensus operation. Channel sender dropped "
    "(channel closed)",
    "Service internal error: Error in Raft consensus: raft: proposal dropped",
    "Service internal error: Broadcast channel sender dropped: channel closed",
]
REFUSED = [
    # An operation that every node refuses stays refused, even where a cluster wraps it.
    "Service internal error: 3 out of 3 shards failed to apply operation. First error captured: Wrong input: "
    "Vector dimension error: expected dim: 14, got 5",
    "Service internal error: Bad request: strict mode",
    "Service internal error: RocksDB open error: Corruption",
    "Service internal error: task 3 panicked",
]
FULL_DISK = [
    "Service internal error: No space left on device: WAL buffer size exceeds available disk space",
    "Service internal error: 1 out of 3 shards failed to apply operation. First error captured: Service "
    "internal error: No space left on device: WAL buffer size exceeds available disk space",
    "Service internal error: Failed to apply update with Strong ordering via leader peer 42: Service "
    "internal error: File IO error: No space left on device (os error 28)",
]


@pytest.mark.parametrize("text", PASSING)
def test_what_a_cluster_answers_while_a_node_is_away_may_pass(text: str) -> None:
    for error in (
        RpcError(Code.INTERNAL, text),
        RpcError(Code.FAILED_PRECONDITION, text),
        http_error(500, text),
    ):
        failure = classify(error)
        assert failure is not None
        assert failure.may_pass, failure
        assert isinstance(failure.to_error("http://a"), UnavailableError)


@pytest.mark.parametrize("text", [*PASSING, *REFUSED, *FULL_DISK])
def test_a_request_that_is_at_fault_stays_refused_whatever_its_text_says(text: str) -> None:
    for error in (RpcError(Code.INVALID_ARGUMENT, text), http_error(400, text)):
        failure = classify(error)
        assert failure is not None
        assert failure.kind is HandsimError


@pytest.mark.parametrize("text", REFUSED)
def test_other_internal_errors_are_lasting(text: str) -> None:
    for error in (RpcError(Code.INTERNAL, text), http_error(500, text)):
        failure = classify(error)
        assert failure is not None
        assert failure.kind is HandsimError
        assert "refuses this: " in str(failure.to_error("http://a"))


@pytest.mark.parametrize("text", FULL_DISK)
def test_a_full_disk_is_lasting_and_says_what_to_do(text: str) -> None:
    for error in (RpcError(Code.INTERNAL, text), http_error(500, text)):
        failure = classify(error)
        assert failure is not None
        line = str(failure.to_error("http://a"))
        assert failure.kind is HandsimError
        assert "http://a has no space left (" in line
        assert "free some" in line


STATUSES: list[tuple[Exception, type[HandsimError]]] = [
    (RpcError(Code.UNAVAILABLE), UnavailableError),
    (RpcError(Code.CANCELLED), UnavailableError),
    (RpcError(Code.DEADLINE_EXCEEDED), UnavailableError),
    (RpcError(Code.RESOURCE_EXHAUSTED), UnavailableError),
    (RpcError(Code.INTERNAL, "Received RST_STREAM with error code 2"), UnavailableError),
    (RpcError(Code.UNKNOWN, "Stream removed"), UnavailableError),
    (RpcError(Code.NOT_FOUND, "Not found: Shard 3 not found"), UnavailableError),
    *((http_error(status), UnavailableError) for status in (408, 429, 502, 503, 504)),
    (ResponseHandlingException(httpx.ConnectError("Connection refused")), UnavailableError),
    (ResponseHandlingException(httpx.ReadError("Connection reset by peer")), UnavailableError),
    (ResponseHandlingException(httpx.ReadTimeout("timed out")), UnavailableError),
    (ResourceExhaustedResponse("slower, please", retry_after_s=3), UnavailableError),
    (RpcError(Code.UNAUTHENTICATED), DeniedError),
    (RpcError(Code.PERMISSION_DENIED), DeniedError),
    (RpcError(Code.PERMISSION_DENIED, "the rule for timeout: 3"), DeniedError),
    (http_error(401), DeniedError),
    (http_error(403), DeniedError),
    (RpcError(Code.NOT_FOUND, "Not found: Collection `hands` doesn't exist!"), NotThereError),
    (http_error(404), NotThereError),
    (RpcError(Code.ALREADY_EXISTS), AlreadyExistsError),
    (http_error(409), AlreadyExistsError),
    (RpcError(Code.ALREADY_EXISTS, "Wrong input: Collection `hands` already exists!"), AlreadyExistsError),
    (RpcError(Code.INVALID_ARGUMENT, "expected dim: 14,\n got 5"), HandsimError),
    (http_error(400, "expected dim: 14,\n got 5"), HandsimError),
    (http_error(500), HandsimError),
    (ResponseHandlingException(ValueError("no JSON")), HandsimError),
]


@pytest.mark.parametrize(("error", "kind"), STATUSES, ids=repr)
def test_a_status_is_one_kind_of_error_in_one_line(error: Exception, kind: type[HandsimError]) -> None:
    failure = classify(error)
    assert failure is not None
    raised = failure.to_error("http://there:6333", waited_s=61)
    assert isinstance(raised, kind)
    assert isinstance(raised, UnavailableError) == (kind is UnavailableError) == failure.may_pass
    assert str(raised).startswith("the Qdrant server at http://there:6333 ")
    assert "\n" not in str(raised)
    assert ("waited for 61 s" in str(raised)) == failure.may_pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RpcError(Code.PERMISSION_DENIED, "ExpiredSignature"),
            "the token has expired (ExpiredSignature); put a",
        ),
        (http_error(403, "ExpiredSignature"), "the token has expired"),
        (
            ResponseHandlingException(
                httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
            ),
            "HANDSIM_QDRANT_CA",
        ),
        (
            RpcError(Code.UNAVAILABLE, "Peer name localhost is not in peer certificate"),
            "use a host name that the certificate is for",
        ),
        (
            ResponseHandlingException(httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number")),
            "begins with http://",
        ),
        (
            RpcError(Code.INTERNAL, "Service internal error: Out of memory, free: 12, optimizer"),
            "has not enough memory",
        ),
    ],
    ids=repr,
)
def test_what_a_person_can_mend_is_told_at_once(error: Exception, message: str) -> None:
    failure = classify(error)
    assert failure is not None
    assert not failure.may_pass
    assert message in str(failure.to_error("http://a"))


def test_an_error_of_our_own_says_nothing_of_the_server() -> None:
    assert classify(TypeError("ours")) is None
    assert classify(HandsimError("ours")) is None


def test_a_message_is_whole_and_without_what_rust_prints_beside_it() -> None:
    text = PASSING[0]
    failure = classify(RpcError(Code.INTERNAL, text))
    assert failure is not None
    line = str(failure.to_error("http://a"))
    assert "via leader peer 42" in line
    assert "Failed to connect to http://node-2:6335/, error: transport error" in line
    assert "MetadataMap" not in line
    # A text that holds a whole batch of vectors keeps its beginning and its end.
    operation = (
        "Failed to apply operation " + "0.123, " * 10_000 + "after 3 attempts, all attempts were rejected"
    )
    failure = classify(RpcError(Code.INTERNAL, operation))
    assert failure is not None
    line = str(failure.to_error("http://a"))
    assert len(line) < 1300
    assert "Failed to apply operation" in line
    assert "all attempts were rejected" in line


def test_an_answer_of_rest_is_read_as_qdrant_writes_it() -> None:
    failure = classify(http_error(404, '{"status":{"error":"Not found: Collection `x`"},"time":0.1}'))
    assert failure is not None
    assert failure.reason == "404 Some Phrase Not found: Collection `x`"
    failure = classify(http_error(502, "<html>\n<h1>Bad Gateway</h1></html>"))
    assert failure is not None
    assert failure.reason == "502 Some Phrase <html> <h1>Bad Gateway</h1></html>"
