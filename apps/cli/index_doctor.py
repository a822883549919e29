"""``handsim index doctor``: what is wrong with an index, on one page."""

import argparse
import json
from dataclasses import asdict
from typing import Final

from apps.cli.console import add_action, find_home, open_index
from handsim.english import pluralize
from handsim.errors import HandsimError
from index.doctor import Finding, examine

EXIT_FINDINGS: Final = 1
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
