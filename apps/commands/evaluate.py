"""``handsim evaluate retrieval`` and ``handsim evaluate pose``."""

import argparse

from apps.commands import evaluate_pose
from apps.evaluation import check_labels, save_evaluation, summary_rows
from apps.places import catalog_of, home_of
from apps.table import table
from handsim.pool import Pool
from index.evaluation import evaluate_retrieval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    subjects = parser.add_subparsers(metavar="WHAT", required=True)
    retrieval = subjects.add_parser("retrieval", help="recall of the index, and how alike neighbours are")
    retrieval.add_argument("--labels", action="store_true", help="also precision by label among other videos")
    retrieval.add_argument(
        "--sample", type=int, default=2000, metavar="N", help="hands asked for (%(default)s)"
    )
    retrieval.add_argument("--seed", type=int, default=0, help="which hands those are (%(default)s)")
    retrieval.add_argument(
        "--name", default="retrieval", metavar="RUN", help="name of the directory in runs/ (%(default)s)"
    )
    retrieval.set_defaults(run=_retrieval)
    evaluate_pose.add_arguments(
        subjects.add_parser("pose", help="errors of estimated 3D hand poses on a labelled dataset")
    )


def _retrieval(options: argparse.Namespace) -> int:
    home = home_of(options)
    pool = Pool.open(home.pool)
    if options.labels:
        check_labels(pool)
    directory = home.run(options.name)
    with catalog_of(options) as catalog, catalog.current() as version:
        evaluation = evaluate_retrieval(version, pool, sample=options.sample, seed=options.seed)
        save_evaluation(directory, version, evaluation)
    print(table(["", ""], summary_rows(evaluation.report, labels=options.labels)).lstrip("\n"))
    print(f"\nwritten to {directory}")
    return 0
