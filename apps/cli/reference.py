"""The command line as Markdown: what ``--help`` prints, a page for each command; `docs/hooks.py` shows it."""

import argparse
import re
from collections.abc import Iterator

from apps.cli.main import COMMANDS, make_parser, shared_options

_WIDTH = 76


def describe_commands() -> str:
    """The page over all commands: a line for each, and the options that every one of them takes."""
    lines = [
        f"- [`handsim {name}`](handsim-{name}.md): {_escape(line)}" for name, (_, line) in COMMANDS.items()
    ]
    shared = shared_options()
    options = _describe_options(shared, shared._actions)
    return "\n".join(["# Command line", "", *lines, "", "## Options of every command", "", *options])


def describe_command(name: str) -> str:
    """The page of one of `COMMANDS`, with a section for each of its actions."""
    commands = _find_actions(make_parser([name], shared_options()))
    assert commands is not None
    return "\n".join(_describe(commands.choices[name], level=1))


def _describe(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield from ("#" * level + f" {parser.prog}", "", _escape(parser.description or ""), "")
    actions = _find_actions(parser)
    if actions is None:
        formatter = argparse.HelpFormatter(parser.prog, width=_WIDTH)
        formatter.add_usage(None, parser._actions, parser._mutually_exclusive_groups, prefix="")
        yield from ("```text", formatter.format_help().strip(), "```", "")
    shared = {option for action in shared_options()._actions for option in action.option_strings} | {"-h"}
    for group in parser._action_groups:
        own = [
            action
            for action in group._group_actions
            if action is not actions and not shared.intersection(action.option_strings)
        ]
        if options := [*_describe_options(parser, own)]:
            title = group.title or ""
            yield from (f"**{_escape(title[:1].upper() + title[1:])}**", "", *options)
    if parser.epilog:
        yield from (_escape(parser.epilog), "")
    for action in {} if actions is None else actions.choices.values():
        yield from _describe(action, level + 1)


def _find_actions(
    parser: argparse.ArgumentParser,
) -> "argparse._SubParsersAction[argparse.ArgumentParser] | None":
    return next(
        (action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None
    )


def _describe_options(parser: argparse.ArgumentParser, actions: list[argparse.Action]) -> Iterator[str]:
    """A list of definitions: each option as it is written, and its help."""
    formatter = parser._get_formatter()
    for action in actions:
        if action.help is not argparse.SUPPRESS:
            yield from (f"`{formatter._format_action_invocation(action)}`", "")
            yield from (f":   {_escape(formatter._expand_help(action)) if action.help else ''}", "")


def _escape(text: str) -> str:
    """Plain text as Markdown; what stands in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_\[\]<>&#|])", r"\\\1", part) for part in parts
    )
