"""Where a server's index is: `http(s)://host[:6333][/NAME][?grpc_port=6334]`."""

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from handsim.errors import HandsimError

KEY_VARIABLE: Final = "HANDSIM_QDRANT_API_KEY"
"""The only place where an API key is taken from; it is sent to the server and goes nowhere else."""

_DEFAULT_NAME: Final = "hands"
_DEFAULT_PORT: Final = 6333
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class ServerAddress:
    """An index on a server."""

    scheme: str
    """``http`` or ``https``, for both protocols."""
    host: str
    """Name or number; an IPv6 one without its brackets."""
    port: int
    """Of the REST interface."""
    grpc_port: int
    """Of the gRPC interface."""
    name: str
    """Of the index: its collections are called NAME-v0001, ..."""

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Read an address; raises HandsimError for a malformed one, and for one with credentials in it."""
        if "@" in text or "key" in text.partition("?")[2].lower():
            raise HandsimError(f"that address has credentials in it; put the API key into {KEY_VARIABLE}")
        try:
            parts = urlsplit(text)
            port = parts.port or _DEFAULT_PORT
            asked = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            grpc_port = int(asked.pop("grpc_port", [str(port + 1)])[-1])
        except ValueError as error:
            raise HandsimError(f"{_bare(text)} is not an address; {_LIKE}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or asked or parts.fragment:
            raise HandsimError(f"{_bare(text)} is not an address; {_LIKE}")
        if not 0 < grpc_port < 65536:
            raise HandsimError(f"{_bare(text)} asks for gRPC port {grpc_port}; ports are 1 to 65535")
        name = parts.path.strip("/") or _DEFAULT_NAME
        if not _NAME.fullmatch(name):
            raise HandsimError(f"{name!r} cannot name an index on a server; letters, digits and ._- can")
        return cls(parts.scheme, parts.hostname, port, grpc_port, name)

    @property
    def server(self) -> str:
        """The server's address, without the index."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        grpc = "" if self.grpc_port == self.port + 1 else f"?grpc_port={self.grpc_port}"
        return f"{self.server}/{self.name}{grpc}"


def read_key() -> str | None:
    """The API key from the environment, or None; raises HandsimError, without telling it, for an odd one."""
    key = os.environ.get(KEY_VARIABLE) or None
    # Such a key would be quoted in the complaint of whatever library sends it as a header.
    if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise HandsimError(f"{KEY_VARIABLE} holds blanks or unusual characters; copy the key once more")
    return key


_LIKE: Final = "one looks like http://127.0.0.1:6333/hands?grpc_port=6334"


def _bare(text: str) -> str:
    """The text up to its path."""
    return repr(re.split(r"(?<![:/])[/?#]", text)[0])
