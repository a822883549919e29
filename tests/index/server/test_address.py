"""Addresses of servers, and keys that are told to nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from index.server.client import KEY_VARIABLE, ServerAddress, read_key

GOOD = {
    "http://localhost": ("http", "localhost", 6333, 6334, "hands"),
    "http://localhost/": ("http", "localhost", 6333, 6334, "hands"),
    "https://qdrant.example.org:7333/demo": ("https", "qdrant.example.org", 7333, 7334, "demo"),
    "http://127.0.0.1:6333/a.b_c-1?grpc_port=9000": ("http", "127.0.0.1", 6333, 9000, "a.b_c-1"),
    "http://[::1]:6333/hands": ("http", "::1", 6333, 6334, "hands"),
}


@pytest.mark.parametrize("text", GOOD)
def test_parts(text: str) -> None:
    address = ServerAddress.parse(text)
    assert (address.scheme, address.host, address.port, address.grpc_port, address.name) == GOOD[text]
    assert ServerAddress.parse(str(address)) == address


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
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(HandsimError) as caught:
        ServerAddress.parse(text)
    assert "\n" not in str(caught.value)


@given(st.from_regex(r"[A-Za-z0-9/:#?&=%@.]{8,20}", fullmatch=True))
def test_credentials_are_refused_and_not_repeated(secret: str) -> None:
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


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert read_key() is None
    monkeypatch.setenv(KEY_VARIABLE, "")
    assert read_key() is None
    monkeypatch.setenv(KEY_VARIABLE, "eyJ.abc-_=")
    assert read_key() == "eyJ.abc-_="
    for odd in ("with a blank", "line\nbreak", "schlüssel"):
        monkeypatch.setenv(KEY_VARIABLE, odd)
        with pytest.raises(HandsimError) as caught:
            read_key()
        assert odd not in str(caught.value)
