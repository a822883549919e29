"""A newcomer's first minutes: from an empty home to a search, in the browser alone."""

import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

from apps.browser.serve import run_server
from tests.apps.browser.end_to_end.test_search import answers


def test_from_an_empty_home_to_a_search_without_the_command_line(
    page: Page, tmp_path: Path, model_path: Path, shared_data: Path
) -> None:
    home, photographs = tmp_path / "home", tmp_path / "photographs"
    home.mkdir()
    for person in ("p002", "p004"):
        shutil.copytree(shared_data / "sign_digits" / person, photographs / person)
    count = sum(path.is_file() for path in photographs.rglob("*"))
    with run_server(home) as served:
        page.goto(served.url)
        # Seen also where no mouse hovers over them.
        expect(page.get_by_role("button", name="Copy to clipboard")).to_have_count(3)
        page.get_by_role("button", name="Add photographs").click()
        page.get_by_text("A folder", exact=True).click()
        page.locator("input[webkitdirectory]").set_input_files(photographs)
        page.get_by_role("button", name=f"Add {count} photographs").click()
        page.get_by_role("button", name="Build the index").click(
            timeout=300_000
        )  # by itself, when they are in
        page.get_by_role("button", name="Search", exact=True).click(timeout=300_000)
        page.locator(".grid[aria-label='Hands to begin with'] button.frame").first.click()
        expect(answers(page).first).to_contain_text("p00")  # the folder is the person
