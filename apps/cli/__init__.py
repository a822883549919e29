"""The command line: the console script ``handsim`` and a module for each group of its commands."""

from apps.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
