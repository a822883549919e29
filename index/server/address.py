"""Where a Qdrant server is, and what opens it: its nodes, the API key, the authority of its certificate.

An address is ``http(s)://HOST[:6333][,HOST[:PORT]...][/NAME][?grpc_port=6334&patience=60]``: one server, or
several nodes of one cluster, of which the next is asked when one dies. Key and authority are not in it,
because addresses are written into files and shown: they come from the environment.
"""

import math
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from handsim.errors import HandsimError

KEY_VARIABLE: Final = "HANDSIM_QDRANT_API_KEY"
"""Holds the API key, or a JSON Web Token; it is sent to the server and nowhere else."""
KEY_FILE_VARIABLE: Final = "HANDSIM_QDRANT_API_KEY_FILE"
"""Names a file that holds the key instead, as Docker and Kubernetes hand secrets over."""
CA_VARIABLE: Final = "HANDSIM_QDRANT_CA"
"""Names a PEM file with the authorities that a server's certificate may be of; unset: the usual ones."""

PATIENCE_S: Final = 60.0
"""How long a call is repeated on a server that is away, unless somebody says otherwise."""

_DEFAULT_NAME: Final = "hands"
_DEFAULT_PORT: Final = 6333
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_NODE: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:,\s]+)(?::(\d+))?")
_EXAMPLE: Final = "one looks like http://127.0.0.1:6333/hands?grpc_port=6334, or http://a,b,c:6333/hands"


@dataclass(frozen=True)
class NodeAddress:
    """One server, or one node of a cluster."""

    scheme: str
    """``http`` or ``https``, for both protocols."""
    host: str
    """Name or number; an IPv6 one without its brackets."""
    port: int
    """The port of the REST interface."""
    grpc_port: int
    """The port of the gRPC interface."""

    @property
    def url(self) -> str:
        """Its REST interface."""
        return f"{self.scheme}://{_bracketed(self.host)}:{self.port}"


@dataclass(frozen=True)
class ServerAddress:
    """An index on a server or a cluster."""

    nodes: tuple[NodeAddress, ...]
    """At least one; several are nodes of one cluster."""
    name: str
    """The name of the index: its collections are called NAME-v0001, ..."""
    patience_s: float = PATIENCE_S
    """How long each call is repeated while the server is away."""

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Read an address; raises HandsimError for a malformed one, and for one with credentials in it.

        A port that only one of several hosts has counts for all of them.
        """
        if "@" in text or "key" in text.partition("?")[2].lower():
            raise HandsimError(
                f"that address has credentials in it; put the API key into {KEY_VARIABLE}, or name a file "
                f"that holds it in {KEY_FILE_VARIABLE}"
            )
        shortened = repr(re.split(r"(?<![:/])[/?#]", text)[0])
        try:
            parts = urlsplit(text)
            options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            hosts = _parse_hosts(parts.netloc)
            ports = _fill_ports([port for _, port in hosts], shortened)
            grpc_ports = [int(port) for port in options.pop("grpc_port", [""])[-1].split(",") if port]
            patience_s = parse_patience(options.pop("patience", [str(PATIENCE_S)])[-1])
            if parts.scheme not in ("http", "https") or options or parts.fragment:
                raise ValueError("another scheme, or more than a path and a port")
        except ValueError as error:
            if isinstance(error, HandsimError):
                raise
            raise HandsimError(f"{shortened} is not an address; {_EXAMPLE}") from error
        if len(grpc_ports) not in (0, 1, len(hosts)):
            raise HandsimError(
                f"{shortened} names {len(hosts)} hosts and {len(grpc_ports)} gRPC ports; give one port for "
                f"all, or one for each"
            )
        grpc_ports = grpc_ports or [port + 1 for port in ports]
        for port in (*ports, *grpc_ports):
            if not 0 < port < 65536:
                raise HandsimError(f"{shortened} asks for port {port}; ports are 1 to 65535")
        name = parts.path.strip("/") or _DEFAULT_NAME
        if not _NAME.fullmatch(name):
            raise HandsimError(f"{name!r} cannot name an index on a server; letters, digits and ._- can")
        grpc_ports = grpc_ports * len(hosts) if len(grpc_ports) == 1 else grpc_ports
        nodes = [
            NodeAddress(parts.scheme, host, port, grpc_port)
            for (host, _), port, grpc_port in zip(hosts, ports, grpc_ports, strict=True)
        ]
        return cls(tuple(dict.fromkeys(nodes)), name, patience_s)

    @property
    def server(self) -> str:
        """The server's address, without the index."""
        hosts = ",".join(f"{_bracketed(node.host)}:{node.port}" for node in self.nodes)
        return f"{self.nodes[0].scheme}://{hosts}"

    def __str__(self) -> str:
        """What `parse` reads as this address."""
        grpc_ports = ",".join(str(node.grpc_port) for node in self.nodes)
        return f"{self.server}/{self.name}?grpc_port={grpc_ports}&patience={self.patience_s:g}"


def parse_patience(text: str) -> float:
    """Seconds; raises HandsimError for anything but a number of them, at least 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise HandsimError(f"the patience is {text!r}; it is a number of seconds, at least 0")
    return seconds


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _parse_hosts(netloc: str) -> list[tuple[str, int | None]]:
    """Host, in lower case, and port of each node; raises ValueError."""
    matches = [_NODE.fullmatch(part) for part in netloc.split(",")]
    hosts = [(match[1].strip("[]").lower(), match[2]) for match in matches if match is not None]
    if len(hosts) < len(matches):
        raise ValueError("no host, or another port than a number")
    return [(host, None if port is None else int(port)) for host, port in hosts]


def _fill_ports(ports: list[int | None], shortened: str) -> list[int]:
    """The port of each node; raises HandsimError where several are given and one lacks."""
    given = [port for port in ports if port is not None]
    if len(given) > 1 and len(given) < len(ports):
        raise HandsimError(f"{shortened} gives some hosts a port and others none; give each its own, or one")
    common = given[0] if given else _DEFAULT_PORT
    return [common if port is None else port for port in ports]


def read_key() -> str | None:
    """The API key from the environment, or None; raises HandsimError, without the key, for an odd one."""
    key, place = os.environ.get(KEY_VARIABLE) or None, KEY_VARIABLE
    if file := os.environ.get(KEY_FILE_VARIABLE):
        if key is not None:
            raise HandsimError(f"both {KEY_VARIABLE} and {KEY_FILE_VARIABLE} are set; unset one of them")
        try:
            key, place = Path(file).read_text().strip(), f"{file}, which {KEY_FILE_VARIABLE} names,"
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise HandsimError(
                f"the API key cannot be read from {file}, which {KEY_FILE_VARIABLE} names: {reason}"
            ) from None
        if not key:
            raise HandsimError(f"{place} is empty; write the API key into it")
    # The library that sends the key as a header would quote such a key in its error message.
    if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise HandsimError(f"{place} holds blanks or unusual characters; copy the key once more")
    return key


def read_ca() -> Path | None:
    """The file of authorities that `CA_VARIABLE` names, or None; raises HandsimError for a file of none."""
    file = os.environ.get(CA_VARIABLE)
    if not file:
        return None
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # SSLError is one
        reason = "it holds no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise HandsimError(
            f"the authorities of {CA_VARIABLE} cannot be read from {file}: {reason}; name a PEM file of the "
            f"authority that signed the server's certificate"
        ) from None
    return Path(file)
