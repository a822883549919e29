"""The command line as Markdown."""

import re

import pytest

from apps.cli import COMMANDS, main
from apps.cli.reference import describe_command, describe_commands
from tests.apps.commands import Capture


@pytest.mark.parametrize("command", COMMANDS)
def test_the_reference_names_every_option_that_the_help_names(command: str, capsys: Capture) -> None:
    page = describe_command(command)
    actions = re.findall(rf"^## handsim {command} (\S+)$", page, re.MULTILINE)
    for action in actions or [None]:
        with pytest.raises(SystemExit, match="0"):
            main([command, *([action] if action else []), "--help"])
        options = set(re.findall(r"^  (?:-\w[ \w]*, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE))
        assert options
        for option in options - {"--help"}:
            assert option in (page if option not in SHARED else describe_commands()), option


SHARED = ("--home", "--index", "--patience")


def test_text_of_the_help_is_not_taken_for_markdown() -> None:
    page = describe_command("ingest")
    assert r"such as '\*.jpg' or 'take?/rgb/\*\*'" in page
    assert "`handsim pool merge`" in page
