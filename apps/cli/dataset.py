"""``handsim dataset``: check whether a labelled dataset is complete and sound, or add its hands to a pool."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from apps.cli.console import (
    add_action,
    check_folder_name,
    find_home,
    format_command,
    format_table,
    progress_bar,
)
from apps.cli.main import EXIT_BAD_INPUT
from handsim.english import pluralize
from handsim.files import write_text_atomically

if TYPE_CHECKING:
    from training.datasets.check import CheckReport

_NAMED: Final = 8
"""Bad labels that are printed; bad.json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = add_action(
        actions,
        "check",
        "what is there, what is missing, and whether joints, cameras and images fit together",
    )
    check.add_argument(
        "name",
        metavar="NAME",
        help="freihand, dexycb, assemblyhands, ho3d, interhand, coco_wholebody, hint, generic or synthetic",
    )
    check.add_argument("root", type=Path, metavar="ROOT", help="the folder it was extracted in")
    line = "only this split; repeatable (default: those that make up the whole set)"
    check.add_argument("--split", action="append", metavar="S", help=line)
    line = "where check.json, bad.json and the figures go (default: checks/NAME in the home)"
    check.add_argument("--out", type=Path, metavar="DIR", help=line)
    for name, default, line in (
        ("--labels", 400, "hands whose joints are read"),
        ("--pictures", 200, "hands of these whose images are decoded"),
        ("--seed", 0, "which hands those are"),
    ):
        check.add_argument(name, type=int, default=default, metavar="N", help=f"{line} (%(default)s)")
    line = "let the hand detector look for N of these hands, and name labels that it contradicts (0: none)"
    check.add_argument("--look", type=int, default=0, metavar="N", help=line)
    line = "read all labels, so that the list of bad ones is complete"
    check.add_argument("--all-labels", action="store_true", help=line)
    check.set_defaults(run=_check)
    to_pool = add_action(
        actions, "to-pool", "add its hands, with their joints in 3D, to the pool: retrieval is measured there"
    )
    to_pool.add_argument("name", metavar="NAME", help="as for check")
    to_pool.add_argument("root", type=Path, metavar="ROOT", help="the folder it was extracted in")
    line = "only this split; repeatable (default: those that make up the whole set)"
    to_pool.add_argument("--split", action="append", metavar="S", help=line)
    to_pool.set_defaults(run=_to_pool)


def _check(options: argparse.Namespace) -> int:
    from apps.cli.figures import plot_bad_labels, plot_dataset_samples, save_figure
    from training.datasets.bad_list import write_bad_list
    from training.datasets.check import CheckOptions, check_dataset

    check_options = CheckOptions(
        options.labels, options.pictures, options.seed, options.all_labels, options.look
    )
    if options.out is not None:
        check_folder_name("--out", options.out)
    out = options.out or find_home(options).path / "checks" / options.name
    with progress_bar("reading") as progress:
        report = check_dataset(options.name, options.root, options.split, check_options, progress)
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomically(out / "check.json", json.dumps(report.to_json(), indent=1) + "\n")
    write_bad_list(out / "bad.json", report.name, report.bad)
    figures = {
        "samples.png": plot_dataset_samples(report.samples) if report.samples else None,
        "worst.png": plot_bad_labels(report.worst) if report.worst else None,
    }
    for name, figure in figures.items():
        if figure is not None:
            save_figure(figure, out / name)
        else:
            (out / name).unlink(missing_ok=True)  # of an earlier check, which found some
    if report.splits:
        rows = [
            [
                count.split,
                *("" if n is None else f"{n:,}" for n in (count.hands, count.skipped, count.official)),
            ]
            for count in report.splits
        ]
        print(format_table(["split", ">hands", ">not annotated", ">official"], rows), end="\n\n")
    findings = [[finding.check, finding.verdict, finding.detail] for finding in report.findings]
    print(format_table(["check", "", ""], findings))
    if worst := _describe_worst(report):
        print(worst)
    drawn = " and ".join(name for name, figure in figures.items() if figure is not None)
    print(f"\nwritten to {out}" + (f"; look at {drawn}" if drawn else ""))
    return EXIT_BAD_INPUT if report.failed else 0


def _describe_worst(report: "CheckReport") -> str:
    """The worst labels, and how to train without them."""
    named = sorted(
        ((hand, split.split) for split in report.bad for hand in split.bad), key=lambda pair: -pair[0].excess
    )
    if not named:
        return ""
    rows = [[hand.sample_id, split, hand.reasons[0]] for hand, split in named[:_NAMED]]
    table = format_table(["worst labels", "split", "why"], rows)
    more = f"\nand {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
    read, hands = (sum(getattr(split, key) for split in report.bad) for key in ("read", "hands"))
    part = (
        f", which has {read:,} of {pluralize(hands, 'hand')}: --all-labels reads all" if read < hands else ""
    )
    return f"\n{table}{more}\nhandsim finetune --skip-bad leaves out those of bad.json{part}"


def _to_pool(options: argparse.Namespace) -> int:
    from training.datasets.open_dataset import ONLY_IN_2D
    from training.datasets.to_pool import add_to_pool

    pool = find_home(options).pool
    with progress_bar("reading") as progress:
        report = add_to_pool(pool, options.name, options.root, options.split, progress)
    print(
        f"{pluralize(report.hands, 'hand')}: {report.added:,} new in {pool}, {report.known:,} looked at "
        f"before, {report.skipped.total():,} left out"
    )
    if report.skipped:
        rows = [[reason, f"{n:,}", report.examples[reason]] for reason, n in report.skipped.most_common()]
        print(format_table(["left out", ">hands", "such as"], rows))
    if report.skipped.total() == report.hands:
        return EXIT_BAD_INPUT
    if report.added:
        commands = ["index build"]
        if options.name not in ONLY_IN_2D:
            commands.append("evaluate retrieval --labels3d")
        print("next: " + "\n      ".join(format_command(options, command) for command in commands))
    return 0
