"""Signing in by OpenID Connect, behind nginx below a path: a real browser, proxy and provider."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from apps.browser.serve import find_free_port, run_server
from tests.apps.browser.end_to_end.test_proxy import NAME, nginx, read_recipe
from tests.apps.browser.end_to_end.test_search import answers
from tests.apps.browser.oidc import CLIENT_ID, CLIENT_SECRET, run_provider
from tests.apps.commands import pick_hand


def test_who_signs_in_sees_the_home_and_only_who_may_manage_changes_it(
    page: Page, own_home: Path, tmp_path: Path
) -> None:
    pytest.importorskip("authlib")
    port = find_free_port()
    site = f"http://{NAME}:{port}/hands"
    (own_home / "client-secret").write_text(f"{CLIENT_SECRET}\n")
    with run_provider() as provider:
        (own_home / "handsim.toml").write_text(
            f"""
            [browser.sign_in]
            metadata_url = "{provider.url}/.well-known/openid-configuration"
            client_id = "{CLIENT_ID}"
            client_secret_file = "client-secret"
            address = "http://{NAME}:{port}"
            look = ["*@example.org"]
            manage = ["anna@example.org"]
            """
        )
        (tmp_path / "nginx").mkdir()
        with (
            run_server(own_home, base_path="/hands") as served,
            nginx(tmp_path / "nginx", read_recipe(served.url.removesuffix("/hands"), port)),
        ):
            page.goto(f"{site}/?hand={pick_hand(own_home)}")
            expect(page.get_by_text("shown to those who sign in")).to_be_visible()
            assert not answers(page).count()
            provider.claims = {"email": "ben@example.org", "email_verified": True}
            page.get_by_role("button", name="Sign in").click()
            told = re.compile(r"ben@.?example\.org is signed in, and may look\.")
            expect(page.get_by_text(told)).to_be_visible()
            assert provider.redirects == [f"{site}/oauth2callback"]
            expect(page).to_have_url(re.compile("/hands/"))
            page.goto(f"{site}/?hand={pick_hand(own_home)}&k=7&stacked=no")
            expect(answers(page)).to_have_count(7)
            page.goto(f"{site}/index")
            expect(page.get_by_text("not change it")).to_be_visible()
            expect(page.get_by_role("button", name="Build a new version")).to_be_disabled()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_text("shown to those who sign in")).to_be_visible()
            provider.claims = {"email": "anna@example.org", "email_verified": False}
            page.get_by_role("button", name="Sign in").click()
            expect(
                page.get_by_text("may not look at this home")
            ).to_be_visible()  # anybody may claim an address
            page.get_by_role("button", name="Sign out").click()
            provider.claims = {"email": "Anna@Example.org", "email_verified": True}
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_text("may look and manage")).to_be_visible()
            page.goto(f"{site}/index")
            expect(page.get_by_role("button", name="Build a new version")).to_be_enabled()
