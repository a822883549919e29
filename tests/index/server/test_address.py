"""Addresses of servers and clusters, and the keys and authorities that the environment holds."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim import HandsimError
from index.server.address import (
    CA_VARIABLE,
    KEY_FILE_VARIABLE,
    KEY_VARIABLE,
    NodeAddress,
    ServerAddress,
    read_ca,
    read_key,
)

ADDRESSES = {
    "http://localhost": (["localhost 6333 6334"], "hands"),
    "http://localhost/": (["localhost 6333 6334"], "hands"),
    "https://qdrant.example.org:7333/demo": (["qdrant.example.org 7333 7334"], "demo"),
    "http://127.0.0.1:6333/a.b_c-1?grpc_port=9000": (["127.0.0.1 6333 9000"], "a.b_c-1"),
    "http://[::1]:6333/hands": (["::1 6333 6334"], "hands"),
    "http://a,b,C/x": (["a 6333 6334", "b 6333 6334", "c 6333 6334"], "x"),
    "http://a,b,c:7333": (["a 7333 7334", "b 7333 7334", "c 7333 7334"], "hands"),
    "http://a:6333,b:6343": (["a 6333 6334", "b 6343 6344"], "hands"),
    "https://[::1]:1,[::2]:2?grpc_port=3,4": (["::1 1 3", "::2 2 4"], "hands"),
    "http://a,b?grpc_port=9": (["a 6333 9", "b 6333 9"], "hands"),
    "http://a,a:6333": (["a 6333 6334"], "hands"),
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_has_defaults(text: str) -> None:
    address = ServerAddress.parse(text)
    nodes, name = ADDRESSES[text]
    assert [f"{node.host} {node.port} {node.grpc_port}" for node in address.nodes] == nodes
    assert {node.scheme for node in address.nodes} == {text.partition(":")[0]}
    assert (address.name, address.patience_s) == (name, 60)
    assert ServerAddress.parse(str(address)) == address


def test_an_address_says_how_long_its_server_is_waited_for() -> None:
    address = ServerAddress.parse("http://a:1/x?patience=0.5&grpc_port=2")
    assert address == ServerAddress((NodeAddress("http", "a", 1, 2),), "x", 0.5)
    assert str(address) == "http://a:1/x?grpc_port=2&patience=0.5"


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
        "http://a,,b",
        "http://a,http://b",
        "http://a:1,b:2,c",
        "http://a,b,c?grpc_port=1,2",
        "http://a?patience=soon",
        "http://a?patience=-1",
        "http://a?patience=inf",
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
        f"http://a,user:{secret}@b/hands",
        f"http://host:6333/hands?api_key={secret}",
        f"http://host:6333/hands?api-key={secret}&grpc_port=6334",
    ):
        with pytest.raises(HandsimError) as caught:
            ServerAddress.parse(text)
        assert "s3cr" not in str(caught.value)
        assert caught.value.__cause__ is None or "s3cr" not in str(caught.value.__cause__)


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (KEY_VARIABLE, KEY_FILE_VARIABLE, CA_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_key() is None
    for key in ("", "eyJ.abc-_="):
        monkeypatch.setenv(KEY_VARIABLE, key)
        assert read_key() == (key or None)
    for key in ("with a blank", "line\nbreak", "schlüssel"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(HandsimError) as caught:
            read_key()
        assert key not in str(caught.value)


def test_a_key_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("eyJ.abc-_=\n")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(file))
    assert read_key() == "eyJ.abc-_="
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert read_key() == "eyJ.abc-_="
    monkeypatch.setenv(KEY_VARIABLE, "another")
    with pytest.raises(HandsimError, match=f"both {KEY_VARIABLE} and {KEY_FILE_VARIABLE} are set"):
        read_key()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "no text"),
        (b"two words", "holds blanks"),
    ],
)
def test_a_key_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(file))
    with pytest.raises(HandsimError, match=message) as caught:
        read_key()
    line = str(caught.value)
    assert str(file) in line
    assert "\n" not in line
    assert "two words" not in line


def test_a_folder_is_no_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path))
    with pytest.raises(
        HandsimError, match=f"cannot be read from {tmp_path}, which {KEY_FILE_VARIABLE} names: Is a"
    ):
        read_key()


def test_authorities_are_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_ca() is None
    file = tmp_path / "ca.pem"
    monkeypatch.setenv(CA_VARIABLE, str(file))
    with pytest.raises(HandsimError, match=rf"{CA_VARIABLE} cannot be read from {file}: No such file"):
        read_ca()
    file.write_text("no certificate")
    with pytest.raises(HandsimError, match="it holds no certificate in PEM; name a PEM file"):
        read_ca()
