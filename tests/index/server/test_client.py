"""Addresses and keys of servers, and which errors are repeated, which are not, and how long anybody waits."""

import math
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim import HandsimError
from handsim.errors import NotThereError, UnavailableError
from index.server.client import (
    KEY_VARIABLE,
    AlreadyExistsError,
    Connection,
    DeniedError,
    ServerAddress,
    check_version,
    read_key,
)

ADDRESSES = {
    "http://localhost": ("http", "localhost", 6333, 6334, "hands"),
    "http://localhost/": ("http", "localhost", 6333, 6334, "hands"),
    "https://qdrant.example.org:7333/demo": ("https", "qdrant.example.org", 7333, 7334, "demo"),
    "http://127.0.0.1:6333/a.b_c-1?grpc_port=9000": ("http", "127.0.0.1", 6333, 9000, "a.b_c-1"),
    "http://[::1]:6333/hands": ("http", "::1", 6333, 6334, "hands"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_has_defaults(text: str) -> None:
    address = ServerAddress.parse(text)
    assert (address.scheme, address.host, address.port, address.grpc_port, address.name) == ADDRESSES[text]
    assert ServerAddress.parse(f"{address.server}/{address.name}?grpc_port={address.grpc_port}") == address


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host/a/b",
        "http://host/a b",
        "http://host/hands?grpc_port=x",
        "http://host/hands?grpc_port=0",
        "http://host/hands?colour=red",
        "http://host/hands#part",
    ],
)
def test_other_texts_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(HandsimError) as caught:
        ServerAddress.parse(text)
    assert "\n" not in str(caught.value)


@settings(max_examples=30)
@given(st.from_regex(r"[A-Za-z0-9/:#?&=%@.]{8,20}", fullmatch=True))
def test_credentials_in_an_address_are_refused_and_not_repeated(secret: str) -> None:
    secret = f"s3cr{secret}et"
    for text in (
        f"http://user:{secret}@host:6333/hands",
        f"https://{secret}@host/hands",
        f"http://host:6333/hands?api_key={secret}",
        f"http://host:6333/hands?api-key={secret}&grpc_port=6334",
    ):
        with pytest.raises(HandsimError) as caught:
            ServerAddress.parse(text)
        assert "s3cr" not in str(caught.value)
        assert caught.value.__cause__ is None or "s3cr" not in str(caught.value.__cause__)


def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key() is None
    for key in ("", "eyJ.abc-_="):
        monkeypatch.setenv(KEY_VARIABLE, key)
        assert read_key() == (key or None)
    for key in ("with a blank", "line\nbreak", "schlüssel"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(HandsimError) as caught:
            read_key()
        assert key not in str(caught.value)


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


TRANSIENT: list[Exception] = [
    RpcError(grpc.StatusCode.UNAVAILABLE),
    RpcError(grpc.StatusCode.DEADLINE_EXCEEDED),
    RpcError(grpc.StatusCode.RESOURCE_EXHAUSTED),
    RpcError(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    RpcError(grpc.StatusCode.INTERNAL, "Service internal error: 0 of 0 read operations failed"),
    *(http_error(status) for status in (429, 502, 503, 504)),
    http_error(500, "0 of 0 read operations failed"),
    ResponseHandlingException(httpx.ConnectError("Connection refused")),
    ResponseHandlingException(httpx.ReadError("Connection reset by peer")),
    ResponseHandlingException(httpx.ReadTimeout("timed out")),
    ResourceExhaustedResponse("slower, please", retry_after_s=3),
]

LASTING: list[tuple[Exception, type[HandsimError]]] = [
    (RpcError(grpc.StatusCode.UNAUTHENTICATED), DeniedError),
    (RpcError(grpc.StatusCode.PERMISSION_DENIED), DeniedError),
    (http_error(401), DeniedError),
    (http_error(403), DeniedError),
    (RpcError(grpc.StatusCode.NOT_FOUND), NotThereError),
    (http_error(404), NotThereError),
    (RpcError(grpc.StatusCode.ALREADY_EXISTS), AlreadyExistsError),
    (http_error(409), AlreadyExistsError),
    (RpcError(grpc.StatusCode.INVALID_ARGUMENT, "expected dim: 14,\n got 5"), HandsimError),
    (http_error(400, "expected dim: 14,\n got 5"), HandsimError),
    (http_error(500), HandsimError),
    (ResponseHandlingException(ValueError("no JSON")), HandsimError),
]


class FailingServer:
    """Raises an error some times, then answers."""

    def __init__(self, error: Exception, times: int) -> None:
        self.pauses: list[float] = []
        self.connection = Connection(QdrantClient(":memory:"), "http://there:6333", sleep=self.pauses.append)
        self._error = error
        self._left = times

    def answer(self, client: QdrantClient) -> str:
        if self._left:
            self._left -= 1
            raise self._error
        return "an answer"


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_a_call_is_repeated_after_a_transient_error(error: Exception) -> None:
    server = FailingServer(error, times=2)
    assert server.connection.call(server.answer) == "an answer"
    assert len(server.pauses) == 2
    if isinstance(error, ResourceExhaustedResponse):
        assert min(server.pauses) >= 3, "as long as the server asks for"


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_nobody_waits_for_ever(error: Exception) -> None:
    server = FailingServer(error, times=1000)
    with pytest.raises(UnavailableError, match=r"http://there:6333 does not answer \(.*\); start") as caught:
        server.connection.call(server.answer)
    assert "\n" not in str(caught.value)
    assert len(server.pauses) == 7
    assert 10 < math.fsum(server.pauses) < 60
    assert server.pauses[-1] > server.pauses[0] or isinstance(error, ResourceExhaustedResponse)


@pytest.mark.parametrize(("error", "kind"), LASTING, ids=repr)
def test_other_errors_are_raised_at_once(error: Exception, kind: type[HandsimError]) -> None:
    server = FailingServer(error, times=1)
    with pytest.raises(kind) as caught:
        server.connection.call(server.answer)
    assert server.pauses == []
    assert not isinstance(caught.value, UnavailableError)
    assert "\n" not in str(caught.value)
    assert "http://there:6333" in str(caught.value)


def test_an_error_of_our_own_keeps_its_type() -> None:
    server = FailingServer(TypeError("ours"), times=1)
    with pytest.raises(TypeError, match="ours"):
        server.connection.call(server.answer)


def test_without_retries_there_is_one_try() -> None:
    server = FailingServer(RpcError(grpc.StatusCode.UNAVAILABLE), times=1)
    with pytest.raises(UnavailableError):
        server.connection.without_retries().call(server.answer)
    assert server.pauses == []


@pytest.mark.parametrize("version", ["1.15.9", "0.40.0", "unknown"])
def test_servers_without_metadata_are_refused(version: str) -> None:
    with pytest.raises(HandsimError, match=f"runs Qdrant {version}; handsim needs 1.16 or newer"):
        check_version(version, "http://there:6333")
    for newer in ("1.16.0", "1.16.3-dev", "2.0"):
        check_version(newer, "http://there:6333")
