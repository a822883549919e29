"""The sign-in of handsim.toml: what it may say, and who may do what, enforced where it is done."""

import re
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from apps.browser.sign_in import SignIn, read_sign_in
from handsim.errors import HandsimError
from handsim.home import Home
from index import open_catalog
from tests.apps.browser.conftest import Visit
from tests.apps.browser.index.test_page import texts

_TABLE = """
[browser.sign_in]
metadata_url = "https://accounts.example/.well-known/openid-configuration"
client_id = "hands"
client_secret_file = "secret"
look = ["*@example.org", "carl@else.where"]
manage = ["Anna@example.org"]
"""


def write(home: Path, table: str = _TABLE, secret: str = "s3cret\n") -> Home:
    (home / "secret").write_text(secret)
    (home / "handsim.toml").write_text(table)
    return Home(home)


def read(home: Path, table: str = _TABLE) -> SignIn:
    sign_in = read_sign_in(write(home, table))
    assert sign_in is not None
    return sign_in


def test_a_home_without_the_table_asks_for_no_sign_in_and_with_it_keeps_its_index(tmp_path: Path) -> None:
    assert read_sign_in(Home(tmp_path)) is None
    assert read_sign_in(write(tmp_path, 'index = "http://server:6333"')) is None
    home = write(tmp_path, 'index = "http://server:6333"\n' + _TABLE)
    assert read_sign_in(home) is not None
    assert home.index == "http://server:6333"


def user(email: str | None = None, **claims: Any) -> dict[str, Any]:
    return {"is_logged_in": True, "email": email, "email_verified": True, **claims}


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({}, None),
        (user("anna@example.org") | {"is_logged_in": False}, None),
        (user("ANNA@example.ORG"), "manage"),
        (user("ben@example.org"), "look"),
        (user("carl@else.where"), "look"),
        (user("dora@else.where"), None),
        (user("anna@example.org.evil"), None),
        (user("evil@notexample.org"), None),
        (user("anna@example.org", email_verified=False), None),
        ({"is_logged_in": True, "email": "anna@example.org"}, None),
        (user(None, groups=["anna@example.org"]), None),
    ],
)
def test_an_address_that_the_provider_vouches_for_has_its_role(
    tmp_path: Path, claims: dict[str, Any], role: str | None
) -> None:
    assert read(tmp_path).find_role(claims) == role


def test_roles_go_by_another_claim_too_and_everybody_may_look(tmp_path: Path) -> None:
    groups = read(tmp_path, _TABLE.replace("carl@else.where", "hands") + 'claim = "groups"\n')
    assert groups.find_role({"is_logged_in": True, "groups": ["other", "hands"]}) == "look"
    assert groups.find_role({"is_logged_in": True, "groups": "anna@example.org"}) == "manage"
    assert groups.find_role(user("anna@example.org")) is None
    everybody = read(tmp_path, _TABLE.replace("carl@else.where", "*"))
    assert everybody.find_role({"is_logged_in": True}) == "look"
    assert everybody.find_role({}) is None


@pytest.mark.parametrize(
    ("line", "base", "redirect"),
    [
        ("", "", "http://localhost:8501/oauth2callback"),
        ("", "hands", "http://localhost:8501/hands/oauth2callback"),
        ('address = "https://hands.example/"', "/a/b/", "https://hands.example/a/b/oauth2callback"),
    ],
)
def test_the_redirect_address_is_below_the_base_path(
    tmp_path: Path, line: str, base: str, redirect: str
) -> None:
    secrets = read(tmp_path, f"{_TABLE}{line}\n").make_secrets(base, 8501)["auth"]
    assert secrets["redirect_uri"] == redirect
    assert secrets["client_secret"] == "s3cret"
    assert "s3cret" not in repr(read(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("client_id", "client", "has the key client; it may have metadata_url"),
        ('client_id = "hands"', "", "lacks client_id; add it"),
        ('"hands"', "7", "says client_id = 7; it is a text"),
        ('"https://accounts', '"accounts', "says metadata_url = 'accounts.*it is an address with https://"),
        ("client_secret_file", "client_secret", "has the key client_secret;"),
        ('client_secret_file = "secret"', "", "needs either client_secret_file or client_secret_env"),
        ('"secret"', '"none"', "names client_secret_file = .*none, which cannot be read"),
        ('_file = "secret"', '_env = "HANDSIM_NOT_SET"', "from the variable HANDSIM_NOT_SET, which is empty"),
        ("look =", "look = 1 #", "says look = 1; it is a list of texts"),
        ('["Anna@example.org"]', '["*"]', "name those who may change the home"),
        ("look =", 'cookie_secret_file = "secret"\nlook =', "a cookie secret of 6 letters; .* at least 32"),
        ("look =", 'address = "https://a.b/hands"\nlook =', "give scheme and host alone"),
        ("[browser.sign_in]", "[browser]\nsign_in = 3\n[browser.x]", "nothing but the table"),
        ("[browser.sign_in]", "[browser.sign_in", "cannot be read as TOML"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in _TABLE
    with pytest.raises(HandsimError) as told:
        read_sign_in(write(tmp_path, _TABLE.replace(old, new, 1)))
    assert re.search(message, str(told.value))
    assert "\n" not in str(told.value).replace("cannot be read as TOML", "") or "TOML" in message


def test_a_table_that_lets_nobody_in_is_refused(tmp_path: Path) -> None:
    table = _TABLE.partition("look =")[0]
    with pytest.raises(HandsimError, match="lets nobody in"):
        read_sign_in(write(tmp_path, table))


def sign_in_as(visit: Visit, home: Path, email: str, page: str = "") -> AppTest:
    return visit(home, page, user=user(email))


@pytest.mark.slow
def test_who_may_look_sees_all_and_changes_nothing_whatever_a_page_offers(
    visit: Visit, own_home: Path
) -> None:
    write(own_home)
    assert "may not look at this home" in sign_in_as(visit, own_home, "eve@else.where").warning[0].value
    page = sign_in_as(visit, own_home, "ben@example.org")
    assert "Some of **60** hands" in texts(page)
    page = sign_in_as(visit, own_home, "ben@example.org", "index")
    assert page.button("index_build").disabled
    page.session_state["index_pending"] = ("verify", "v0001")  # as if the page had offered it
    page.run()
    page.button("index_yes").click().run()
    assert "may look at this home, not change it" in texts(page)
    assert not sign_in_as(visit, own_home, "ben@example.org", "add").file_uploader
    page = sign_in_as(visit, own_home, "anna@example.org", "index")
    page.session_state["index_pending"] = ("rollback", "v0001")
    page.run()
    page.button("index_yes").click().run()
    assert "v0001 is the only version" in page.error[0].value.replace("\\", "")
    assert open_catalog(own_home / "index").current_name() == "v0001"
