"""The sign-in that a home's ``handsim.toml`` asks for, by OpenID Connect, and who may do what.

    [browser.sign_in]
    metadata_url = "https://accounts.example/.well-known/openid-configuration"
    client_id = "hands"
    client_secret_file = "/etc/handsim/client-secret"   # or client_secret_env = "NAME"
    address = "https://hands.example"                   # of the proxy; the redirect address is made of it
    look = ["*@example.org"]
    manage = ["anna@example.org"]

Streamlit does the sign-in itself (`st.login`); here are its settings, and the roles.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from handsim.errors import HandsimError
from handsim.home import Home

Role = Literal["look", "manage"]

_EMAIL: Final = "email"
_TEXTS: Final = (
    "metadata_url",
    "client_id",
    "client_secret_file",
    "client_secret_env",
    "cookie_secret_file",
    "cookie_secret_env",
    "address",
    "claim",
)
_LISTS: Final = ("look", "manage")
_CALLBACK: Final = "oauth2callback"
_LEAST_SECRET: Final = 32
"""Letters of the secret that signs the cookies."""


@dataclass(frozen=True)
class SignIn:
    """One provider, and the roles of those whom it knows."""

    metadata_url: str
    client_id: str
    client_secret: str = field(repr=False)
    cookie_secret: str = field(repr=False)
    address: str | None
    """Scheme and host under which people open the page; None: this computer's own."""
    claim: str
    """What tells people apart: their e-mail address, or another claim of the provider, such as groups."""
    look: tuple[str, ...]
    """Values of the claim; ``*`` is everybody, ``*@example.org`` everybody there."""
    manage: tuple[str, ...]

    def find_role(self, user: Mapping[str, Any]) -> Role | None:
        """What the provider's claims entitle to; who may manage may look, too. None: to nothing."""
        if not user.get("is_logged_in"):
            return None
        values = user.get(self.claim)
        # Else somebody could have themselves called by another one's address.
        if self.claim == _EMAIL and user.get("email_verified") is not True:
            values = None
        values = values if isinstance(values, list | tuple) else [values]
        names = [value.casefold() for value in values if isinstance(value, str)]
        if _match(names, self.manage):
            return "manage"
        return "look" if "*" in self.look or _match(names, self.look) else None

    def find_address(self, port: int) -> str:
        """Where people must open the page: the cookie of a sign-in is that of its host."""
        return self.address or f"http://localhost:{port}"

    def make_secrets(self, base_path: str, port: int) -> dict[str, Any]:
        """The settings as Streamlit's secrets have them, for a server below ``base_path``.

        The redirect address is that of the settings, whatever headers a request has.
        """
        path = f"/{base_path.strip('/')}".rstrip("/")
        return {
            "auth": {
                "redirect_uri": f"{self.find_address(port)}{path}/{_CALLBACK}",
                "cookie_secret": self.cookie_secret,
                "client_id": self.client_id,
                "client_secret": self.client_secret,
                "server_metadata_url": self.metadata_url,
            }
        }


def _match(names: list[str], patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        domain = pattern[1:].casefold() if pattern.startswith("*@") else None
        if any(name.endswith(domain) if domain else name == pattern.casefold() for name in names):
            return True
    return False


def read_sign_in(home: Home) -> SignIn | None:
    """What the home's ``handsim.toml`` says; None if it asks for no sign-in.

    Raises HandsimError for a table that cannot be used, naming the key.
    """
    file = home.path / "handsim.toml"
    if not file.exists():
        return None
    try:
        browser = tomllib.loads(file.read_text("utf-8")).get("browser", {})
    except (OSError, ValueError) as error:
        raise HandsimError(f"{file} cannot be read as TOML: {error}") from error
    if not isinstance(browser, dict) or set(browser) - {"sign_in"}:
        raise HandsimError(f"{file}: [browser] holds nothing but the table [browser.sign_in]")
    return _Table(file, browser["sign_in"]).read() if "sign_in" in browser else None


@dataclass(frozen=True)
class _Table:
    """The table, and the file that it stands in, for errors."""

    file: Path
    values: Any

    def read(self) -> SignIn:
        if not isinstance(self.values, dict):
            raise self._error("is not a table")
        for name, value in self.values.items():
            if name not in (*_TEXTS, *_LISTS):
                raise self._error(f"has the key {name}; it may have {', '.join((*_TEXTS, *_LISTS))}")
            if name in _LISTS:
                if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
                    raise self._error(f"says {name} = {value!r}; it is a list of texts")
            elif not isinstance(value, str) or not value:
                raise self._error(f"says {name} = {value!r}; it is a text")
        look, manage = (tuple(self.values.get(name, ())) for name in _LISTS)
        if not (look or manage):
            raise self._error('lets nobody in; add look = ["*"] or manage = ["you@example.org"]')
        if "*" in manage:
            raise self._error('says manage = ["*"]; name those who may change the home')
        return SignIn(
            metadata_url=self._url("metadata_url"),
            client_id=self._text("client_id"),
            client_secret=self._secret("client_secret"),
            cookie_secret=self._cookie_secret(),
            address=self._address(),
            claim=self.values.get("claim", _EMAIL),
            look=look,
            manage=manage,
        )

    def _text(self, name: str) -> str:
        if name not in self.values:
            raise self._error(f"lacks {name}; add it")
        return str(self.values[name])

    def _url(self, name: str) -> str:
        url = urlsplit(self._text(name))
        if url.scheme not in ("http", "https") or not url.hostname:
            raise self._error(f"says {name} = {url.geturl()!r}; it is an address with https://")
        return url.geturl()

    def _address(self) -> str | None:
        """Without a path: that is the server's own, from ``--base-path``."""
        if "address" not in self.values:
            return None
        address = self._url("address").rstrip("/")
        if not re.fullmatch(r"https?://[^/?#@]+", address):
            raise self._error(
                f"says address = {address!r}; give scheme and host alone, as https://hands.example; "
                "its path is that of --base-path"
            )
        return address

    def _secret(self, name: str) -> str:
        by_file, by_variable = self.values.get(f"{name}_file"), self.values.get(f"{name}_env")
        if (by_file is None) == (by_variable is None):
            raise self._error(f"needs either {name}_file or {name}_env")
        if by_variable is not None:
            secret, place = os.environ.get(by_variable, ""), f"the variable {by_variable}"
        else:
            path = self.file.parent / str(by_file)
            place = str(path)
            try:
                secret = path.read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                raise self._error(f"names {name}_file = {path}, which cannot be read: {error}") from error
        if not secret:
            raise self._error(f"takes its {name} from {place}, which is empty; set it")
        return secret

    def _cookie_secret(self) -> str:
        """The one that is given; else a new one, and people sign in again after the server's next start."""
        if not {"cookie_secret_file", "cookie_secret_env"} & self.values.keys():
            return token_hex()
        secret = self._secret("cookie_secret")
        if len(secret) < _LEAST_SECRET:
            raise self._error(
                f"has a cookie secret of {len(secret)} letters; make one of at least {_LEAST_SECRET}, "
                "as `openssl rand -hex 32` does"
            )
        return secret

    def _error(self, what: str) -> HandsimError:
        return HandsimError(f"{self.file}: [browser.sign_in] {what}")
