"""Behind a reverse proxy, below a path: the recipe for nginx in docs/browser.md, and a real nginx."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from apps.browser.serve import find_free_port, run_server
from tests.apps.browser.end_to_end.test_pages import go
from tests.apps.browser.end_to_end.test_search import answers, hand_of
from tests.apps.commands import pick_hand
from tests.conftest import REPOSITORY

_NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")
NAME = "hands.localhost"
"""Browsers look up no name below localhost; it is this computer's."""


def read_recipe(server: str, port: int) -> str:
    """The recipe of the docs, in front of a server, at a port of this computer, without passwords."""
    page = (REPOSITORY / "docs" / "browser.md").read_text("utf-8")
    found = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert found
    recipe = found[1].replace("listen 80;", f"listen 127.0.0.1:{port};").replace("hands.example", NAME)
    recipe = recipe.replace("http://127.0.0.1:8501", server)
    return "".join(line for line in recipe.splitlines(keepends=True) if "auth_basic" not in line)


@contextmanager
def nginx(folder: Path, recipe: str) -> Iterator[None]:
    """Run it in a folder of its own, until the block ends."""
    if _NGINX is None:
        pytest.skip("nginx is needed: Debian's package nginx")
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; pid {folder / 'pid'}; error_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{recipe}}}\n"
    )
    command = [_NGINX, "-p", str(folder), "-c", str(file)]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen(command) as server:
        try:
            while not (folder / "pid").exists():  # written once it listens
                assert server.poll() is None, "nginx ended at once"
                time.sleep(0.05)
            yield
        finally:
            server.terminate()


def test_all_pages_work_behind_nginx_below_a_path(page: Page, home: Path, tmp_path: Path) -> None:
    port = find_free_port()
    site = f"http://{NAME}:{port}/hands"
    with run_server(home, "--allowed-host", NAME, base_path="/hands") as served:
        with urlopen(f"{served.url}/_stcore/health") as health:
            assert health.read() == b"ok"
        with nginx(tmp_path, read_recipe(served.url.removesuffix("/hands"), port)):
            with page.expect_response(f"{site}/started") as started:
                page.goto(f"{site}/?hand={pick_hand(home)}&k=7&stacked=no")
            assert started.value.ok
            expect(answers(page)).to_have_count(7)
            expect(answers(page).locator("img")).to_have_count(7)
            clicked = hand_of(answers(page).nth(2))
            answers(page).nth(2).locator("button.frame").click()
            expect(page).to_have_url(re.compile(rf"/hands/\?hand={clicked}"))
            go(page, "Mining")
            expect(page).to_have_url(re.compile(r"/hands/mining"))
            expect(page.get_by_text("Mining policy")).to_be_visible()
            page.context.grant_permissions(["clipboard-read", "clipboard-write"])
            page.get_by_role("button", name="Copy link").click()
            expect(page.locator(".st-key-header").get_by_role("status")).to_have_text("Copied")
            assert page.evaluate("navigator.clipboard.readText()") == f"{site}/mining"
            page.reload()
            expect(page.get_by_text("Mining policy")).to_be_visible()
