"""Which faults pass, which do not, and how long anybody waits."""

import math
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim import HandsimError
from handsim.errors import NotThereError, UnavailableError
from index.server.client import AlreadyExistsError, Connection, DeniedError, check_version


class RpcFault(grpc.RpcError, grpc.Call):  # type: ignore[misc]  # grpc ships no types
    """What gRPC raises, but for the call it belongs to."""

    def __init__(self, code: grpc.StatusCode, details: str = "some reason") -> None:
        self._code = code
        self._details = details

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    add_callback = cancel = initial_metadata = is_active = time_remaining = trailing_metadata = None


def http_fault(status: int, content: str = '{"status":{"error":"some reason"}}') -> UnexpectedResponse:
    return UnexpectedResponse(status, "Some Phrase", content.encode(), httpx.Headers())


PASSING: list[Callable[[], Exception]] = [
    *(
        lambda code=code: RpcFault(code)
        for code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        )
    ),
    lambda: RpcFault(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    lambda: RpcFault(grpc.StatusCode.INTERNAL, "Service internal error: 0 of 0 read operations failed"),
    *(lambda status=status: http_fault(status) for status in (429, 502, 503, 504)),
    lambda: http_fault(500, "0 of 0 read operations failed"),
    lambda: ResponseHandlingException(httpx.ConnectError("Connection refused")),
    lambda: ResponseHandlingException(httpx.ReadError("Connection reset by peer")),
    lambda: ResponseHandlingException(httpx.ReadTimeout("timed out")),
    lambda: ResourceExhaustedResponse("slower, please", retry_after_s=3),
]

LASTING: list[tuple[Callable[[], Exception], type[HandsimError]]] = [
    (lambda: RpcFault(grpc.StatusCode.UNAUTHENTICATED), DeniedError),
    (lambda: RpcFault(grpc.StatusCode.PERMISSION_DENIED), DeniedError),
    (lambda: http_fault(401), DeniedError),
    (lambda: http_fault(403), DeniedError),
    (lambda: RpcFault(grpc.StatusCode.NOT_FOUND), NotThereError),
    (lambda: http_fault(404), NotThereError),
    (lambda: RpcFault(grpc.StatusCode.ALREADY_EXISTS), AlreadyExistsError),
    (lambda: http_fault(409), AlreadyExistsError),
    (lambda: RpcFault(grpc.StatusCode.INVALID_ARGUMENT, "expected dim: 14,\n got 5"), HandsimError),
    (lambda: http_fault(400, "expected dim: 14,\n got 5"), HandsimError),
    (lambda: http_fault(500), HandsimError),
    (lambda: ResponseHandlingException(ValueError("no JSON")), HandsimError),
]


def connection(pauses: list[float]) -> Connection:
    return Connection(QdrantClient(":memory:"), "http://there:6333", sleep=pauses.append)


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(fault: Callable[[], Exception]) -> None:
    pauses: list[float] = []
    left = [fault(), fault()]

    def ask(client: QdrantClient) -> str:
        if left:
            raise left.pop()
        return "an answer"

    assert connection(pauses).call(ask) == "an answer"
    assert len(pauses) == 2
    if isinstance(fault(), ResourceExhaustedResponse):
        assert min(pauses) >= 3, "as long as the server asks for"


@pytest.mark.parametrize("fault", PASSING)
def test_nobody_waits_for_ever(fault: Callable[[], Exception]) -> None:
    pauses: list[float] = []

    def ask(client: QdrantClient) -> None:
        raise fault()

    with pytest.raises(
        UnavailableError, match=r"http://there:6333 does not answer \(.*\); start it"
    ) as caught:
        connection(pauses).call(ask)
    assert "\n" not in str(caught.value)
    assert len(pauses) == 7
    assert 10 < math.fsum(pauses) < 60
    assert pauses[-1] > pauses[0] or isinstance(fault(), ResourceExhaustedResponse)


@pytest.mark.parametrize(("fault", "kind"), LASTING)
def test_what_does_not_pass_is_told_at_once(fault: Callable[[], Exception], kind: type[HandsimError]) -> None:
    pauses: list[float] = []

    def ask(client: QdrantClient) -> None:
        raise fault()

    with pytest.raises(kind) as caught:
        connection(pauses).call(ask)
    assert pauses == []
    assert not isinstance(caught.value, UnavailableError)
    assert "\n" not in str(caught.value)
    assert "http://there:6333" in str(caught.value)


def test_our_own_mistakes_keep_their_traceback() -> None:
    def ask(client: QdrantClient) -> None:
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        connection([]).call(ask)


def test_the_hasty_try_once() -> None:
    pauses: list[float] = []

    def ask(client: QdrantClient) -> None:
        raise RpcFault(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(UnavailableError):
        connection(pauses).without_retries().call(ask)
    assert pauses == []


@given(st.integers(0, 3), st.integers(0, 40), st.sampled_from(["", ".3", ".0-dev"]))
def test_versions_older_than_metadata_are_refused(major: int, minor: int, rest: str) -> None:
    version = f"{major}.{minor}{rest}"
    if (major, minor) >= (1, 16):
        check_version(version, "http://there:6333")
    else:
        with pytest.raises(HandsimError, match=f"runs Qdrant {version}; handsim needs 1.16 or newer"):
            check_version(version, "http://there:6333")
