"""Which pre-training knows most of real photographs: encoders by the shipped recipes, asked for labels.

    python -m benchmarks.real_photographs PICTURES --work DIR [--jobs 2]

PICTURES has a folder for each person, with pictures that are named by what the hand shows. They are ingested,
and encoders are pre-trained, without labels, on the synthetic hands of `synthetic_main` and on the pictures.
Then `handsim evaluate encoder --labels` compares their frozen features: one table for each pool, with paired
differences to SiMHand. Pre-training on the pictures sees those of all people, as an index of them does; no
label is seen, and probes are asked for people that they were not trained on.

Pre-trainings are steps of `handsim experiment`: stopped ones resume, and with `--work` at the home where
`synthetic_main` was run, its pre-trainings are found done. Those of one seed are done before the next one,
and the tables have the seeds that all methods have done. One core takes 0.7 s a step: 2.3 hours for the four
methods and three seeds at 1,000 steps on the photographs, 7 hours at 3,000 steps on synthetic hands, and ten
minutes for features and probes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from apps.cli import main as handsim
from benchmarks.clock import say
from training.experiments.config import Experiment, read_experiment
from training.experiments.plan import Run, expand
from training.experiments.run import make_slots, run_steps
from training.experiments.steps import Step, StepStore, in_order
from training.runs.folder import LAST

BASE: Final = "synthetic_main"
METHODS: Final[dict[str, dict[str, Any]]] = {
    "simhand": {"recipe": "simhand"},
    "simhand_25d": {"recipe": "simhand_25d"},
    "peclr": {"recipe": "peclr"},
    "simclr": {"recipe": "simclr"},
}
"""As `synthetic_main` has them; scratch is the row of random weights."""
POOLS: Final = ("synthetic", "photographs")


def plan(options: argparse.Namespace, pool: str) -> list[Run]:
    """All pre-trainings on a pool, as the inputs of fine-tunings that are not done."""
    settings: dict[str, Any] = {
        "axes.methods": METHODS,
        "axes.seeds": options.seeds,
        "axes.label_fractions": {1.0: {}},
        "primary": {},
        "tables": {},
    }
    if pool == "photographs":
        settings["data.pools"] = {pool: {"home": str(options.work.resolve() / "photographs")}}
        settings["base.pretrain.trainer.steps"] = options.steps
    elif options.synthetic_steps is not None:
        settings["base.pretrain.trainer.steps"] = options.synthetic_steps
    experiment: Experiment = read_experiment(BASE, settings)
    return expand(experiment)


def pretraining(run: Run) -> Step:
    """Of a run, the step whose checkpoint is evaluated."""
    return run.evaluation.inputs["finetune"].inputs["init"]


def find_done(runs: Sequence[Run], store: StepStore) -> list[str]:
    """The arguments ``--encoder METHOD=FILE`` of the seeds that all methods have done."""
    folders = {(run.seed, run.point.method): store.folder(pretraining(run)) for run in runs}
    seeds = dict.fromkeys(run.seed for run in runs)
    done = [seed for seed in seeds if all(folders[seed, method].is_done for method in METHODS)]
    return [
        word
        for method in METHODS
        for seed in done
        for word in ("--encoder", f"{method}={folders[seed, method].checkpoints / LAST}")
    ]


def evaluate(options: argparse.Namespace, pool: str, encoders: Sequence[str]) -> None:
    """Print the table of the encoders that were pre-trained on a pool, and write it."""
    print(f"\n## Pre-trained on {pool}\n", flush=True)
    words = ["evaluate", "encoder", "--labels", *encoders, *options.also, "--name", f"encoder-{pool}"]
    if handsim([*words, "--home", str(options.work / "photographs")]) != 0:
        raise SystemExit(f"the encoders that were pre-trained on {pool} could not be evaluated")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", type=Path, metavar="PICTURES", help="PERSON/LABEL.jpg")
    parser.add_argument(
        "--work", type=Path, required=True, help="a home for pools, indexes and pre-trainings"
    )
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=POOLS, help="to pre-train on (both)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    line = "of a pre-training on the photographs (%(default)s)"
    parser.add_argument("--steps", type=int, default=1000, help=line)
    line = f"of one on synthetic hands (as in {BASE})"
    parser.add_argument("--synthetic-steps", type=int, help=line)
    parser.add_argument("--jobs", type=int, help="steps at a time (one)")
    line = "a further row, such as ImageNet=resnet18.pth"
    parser.add_argument("--encoder", dest="also", action="append", default=[], metavar="NAME=FILE", help=line)
    parser.add_argument("--tables-only", action="store_true", help="of what is done so far; train nothing")
    options = parser.parse_args(arguments)
    options.also = [word for file in options.also for word in ("--encoder", file)]
    return options


def main(arguments: list[str] | None = None) -> int:
    """Ingest, pre-train, evaluate: what is missing of it."""
    options = parse(arguments)
    home = options.work / "photographs"
    names = ["--video-from", "parent", "--label-from", "stem"]
    if handsim(["ingest", str(options.pictures), *names, "--home", str(home)]) != 0:
        return 1
    runs = {pool: plan(options, pool) for pool in options.pools}
    store = StepStore(options.work / "experiments" / "steps")
    store.make()
    if not options.tables_only:
        by_seed = sorted((run for group in runs.values() for run in group), key=lambda run: run.seed)
        outcome = run_steps(in_order(map(pretraining, by_seed)), store, make_slots(options.jobs), say)
        if outcome.stopped:
            return 130
    for pool, group in runs.items():
        if encoders := find_done(group, store):
            evaluate(options, pool, encoders)
        else:
            print(f"no seed has all methods pre-trained on {pool} yet")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
