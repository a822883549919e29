"""``handsim index doctor``, and the recall that an index is to reach: ``build`` and ``verify --recall``."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from apps.cli.console import add_action, find_home, format_table, open_index, option_type
from handsim.english import pluralize
from handsim.errors import HandsimError
from index.doctor import Finding, examine
from index.ef_sweep import EfMeasurement, check_target_recall

EXIT_FINDINGS: Final = 1
TARGET_RECALL: Final = 0.995
_PATIENCE: Final = "5"
"""Seconds, unless the command line says otherwise: what does not answer now is what is asked about."""
_TITLES: Final = {"wrong": "To mend", "unknown": "Not checked", "hint": "Worth knowing"}


def add_arguments(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the action."""
    doctor = add_action(actions, "doctor", "what is wrong with an index, and what to do; changes nothing")
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    options.patience = options.patience or _PATIENCE
    address = str(options.index or find_home(options).index)
    try:
        with open_index(options, address) as catalog:
            findings = examine(catalog)
    except HandsimError as error:  # it cannot even be opened
        findings = [Finding("wrong", str(error))]
    exit_code = EXIT_FINDINGS if any(finding.severity == "wrong" for finding in findings) else 0
    if options.json:
        print(json.dumps({"index": address, "findings": [asdict(finding) for finding in findings]}))
    else:
        print(format_page(address, findings))
    return exit_code


def add_recall_argument(parser: argparse.ArgumentParser, line: str, usual: float | None = None) -> None:
    """Declare ``--recall``."""
    check = option_type(lambda text: check_target_recall(float(text)))
    parser.add_argument("--recall", type=check, default=usual, metavar="SHARE", help=line)


def format_sweep(measured: Sequence[EfMeasurement], best: EfMeasurement | None) -> str:
    """The table of a sweep; the ``best`` is the one that queries take from then on."""
    rows = [
        [
            "chosen" if one is best else "",
            f"{one.ef}",
            f"{one.recall_at_1:.4f}",
            f"{one.recall_at_10:.4f}",
            f"{one.hands_per_second:,.0f}",
        ]
        for one in measured
    ]
    return format_table(["", ">ef", ">recall@1", ">recall@10", ">hands/s"], rows)


def format_page(address: str, findings: list[Finding]) -> str:
    """The findings in groups, each with its remedy."""
    wrong = sum(finding.severity == "wrong" for finding in findings)
    lines = [f"{address}: {pluralize(wrong, 'thing')} to mend" if wrong else f"{address} is sound"]
    for severity, title in _TITLES.items():
        group = [finding for finding in findings if finding.severity == severity]
        if group:
            lines += ["", f"{title}:"]
        for finding in group:
            lines.append(f"  - {finding.text}")
            if finding.remedy:
                lines.append(f"    {finding.remedy}")
    return "\n".join(lines)
