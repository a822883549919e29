"""Pre-training against the live index beside the same run fed by a mined table and a ceiling, as JSON.

    python -m benchmarks.pretrain
    python -m benchmarks.pretrain --device cuda

By turns, a run asks the live index and one reads the pairs that `handsim mine` wrote; both are `handsim
pretrain`'s own, of the same recipe, seed and hands. Rates are of all steps after the first few. The ceiling
is the same step (forward, loss, backward, optimizer, precision) on views that lie in the device's memory:
nothing is drawn, decoded, copied or augmented.

The pool has its own pose for every hand, and the pictures of a few hundred, over and over. It is made so
large that no epoch ends while it is measured: a checkpoint of every epoch of seconds would be measured, too.
"""

import argparse
import gc
import json
import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.ceiling import ceiling
from benchmarks.clock import say
from benchmarks.memory import memory_gb
from benchmarks.repeated_hands import build_index, make_pool, mine_table
from benchmarks.trainer import fill_in, machine, trainer_options
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import available_cores
from index import Catalog, open_catalog
from training.pairs.open_pairs import open_pairs
from training.pretrain.config import RECIPES, PretrainConfig
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder

_DEFAULTS: dict[str, dict[str, Any]] = {
    "cpu": {
        "recipe": "cpu_small",
        "architecture": "resnet18",
        "batch": [128],
        "size": 96,
        "view": 64,
        "workers": 0,
        "precision": "32-true",
        "steps": 20,
        "rounds": 3,
    },
    "cuda": {
        "recipe": "simhand",
        "architecture": "resnet50",
        "batch": [1024, 4096],
        "size": 224,
        "view": 128,
        "workers": max(1, available_cores() - 2),
        "precision": "bf16-mixed",
        "steps": 15,
        "rounds": 1,
    },
}
"""What a device is measured with, where nothing else is asked for."""


def config_of(options: argparse.Namespace, batch: int, hands: int, table: Path | None) -> PretrainConfig:
    """The recipe, with the settings of this measurement."""
    steps = options.warm_up + options.steps
    given = {
        "encoder.architecture": options.architecture,
        "augmentation.size_px": options.view,
        "log.checkpoint_every_steps": steps,
    }
    epochs = math.ceil(steps / max(1, hands // batch))
    words = trainer_options(options, given, batch=batch, steps=steps, epochs=epochs)
    config = RECIPES.read(options.recipe, words)
    return replace(config, pairs=replace(config.pairs, table=None if table is None else str(table)))


def run(
    options: argparse.Namespace, config: PretrainConfig, home: Home, catalog: Catalog
) -> dict[str, float]:
    """One run, and what it did with its time after the first steps."""
    kind = "live" if config.pairs.table is None else "table"
    folder = RunFolder.new(home, f"{kind}-{config.trainer.batch_size}")
    if options.device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # what another batch size left
        torch.cuda.reset_peak_memory_stats()
    pretrain(config, home, catalog, folder, say=say)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    figures = time_spent(lines[options.warm_up :], 2 * config.trainer.batch_size)
    if options.device == "cuda":
        figures["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        figures["gpu_memory_reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    folder.last.unlink(missing_ok=True)  # a pool's worth of them would fill the disk
    say(f"{folder.path.name}: {json.dumps(figures)}")
    return figures


def time_spent(lines: Sequence[dict[str, float]], views: int) -> dict[str, float]:
    """Rate and shares of waiting over steps of ``views`` pictures, from a line of numbers for each."""
    step_s = [views / line["images_per_s"] for line in lines]
    whole_s = sum(step_s)
    return {
        "images_per_s": round(views * len(lines) / whole_s, 2),
        "median_step_s": round(median(step_s), 5),
        **{
            name: round(sum(line[name] * s for line, s in zip(lines, step_s, strict=True)) / whole_s, 5)
            for name in ("data_wait", "index_wait")
        },
    }


def measure(
    options: argparse.Namespace, batch: int, home: Home, pool: Pool, catalog: Catalog, table: Path
) -> dict[str, Any]:
    """Live and table by turns, then the ceiling."""
    live, mined = (config_of(options, batch, len(pool), given) for given in (None, table))
    runs: dict[str, list[dict[str, float]]] = {"live": [], "table": []}
    for _ in range(options.rounds):
        runs["live"].append(run(options, live, home, catalog))
        runs["table"].append(run(options, mined, home, catalog))
    medians = {
        kind: {name: median(one[name] for one in some) for name in some[0]} for kind, some in runs.items()
    }
    say(f"the ceiling of {batch} pairs")
    top = ceiling(live, one_batch(options, live, pool, catalog), options.steps, options.warm_up)
    rate = medians["live"]["images_per_s"]
    by_turns = [
        one["images_per_s"] / other["images_per_s"]
        for one, other in zip(runs["live"], runs["table"], strict=True)
    ]
    return {
        "pairs": batch,
        "medians": medians,
        "live_of_table": round(rate / medians["table"]["images_per_s"], 4),
        "live_of_table_by_turns": [round(ratio, 4) for ratio in by_turns],
        "live_of_ceiling": round(rate / top["images_per_s"], 4),
        "ceiling": top,
        "runs": runs,
    }


def measure_if_it_fits(
    options: argparse.Namespace, batch: int, home: Home, pool: Pool, catalog: Catalog, table: Path
) -> dict[str, Any]:
    """`measure`, or that the GPU's memory does not hold such a batch: other batches' figures are kept."""
    try:
        return measure(options, batch, home, pool, catalog, table)
    except torch.OutOfMemoryError as error:
        say(f"{batch} pairs: {error}")
        return {"pairs": batch, "out_of_memory": str(error).partition(".")[0]}


def one_batch(options: argparse.Namespace, config: PretrainConfig, pool: Pool, catalog: Catalog) -> Any:
    """A batch on the device."""
    size, seed = config.trainer.batch_size, config.seed
    with open_pairs(config.pairs, pool, catalog, batch_size=size, seed=seed, on_event=say) as loader:
        return next(loader.epoch(0)).to(options.device)


def prepare(options: argparse.Namespace, work: Path) -> tuple[Home, Pool, Catalog]:
    """The home that is named, or a new one, with its index."""
    home = Home(options.home or work / "home")
    if not home.pool.exists():
        hands = max(options.hands, max(options.batch) * (options.warm_up + options.steps + 1))
        say(f"a pool of {hands:,} hands")
        make_pool(home, hands, options.size)
    pool = Pool.open(home.pool)
    catalog = open_catalog(home.index, folders=[home.path])
    say("its index")
    build_index(home, pool, catalog)
    return home, pool, catalog


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options; what is not given is the device's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--home", type=Path, help="a home to measure in, its runs beside others (default: new)"
    )
    parser.add_argument("--hands", type=int, default=0, help="of a new pool, at least (default: one epoch)")
    parser.add_argument("--size", type=int, help="side of a new pool's crops, in pixels")
    parser.add_argument("--view", type=int, help="side of a view")
    parser.add_argument("--recipe")
    parser.add_argument("--architecture")
    parser.add_argument(
        "--batch", type=int, nargs="+", help="pairs; several are measured one after the other"
    )
    parser.add_argument("--workers", type=int, help="processes that decode")
    parser.add_argument("--precision")
    parser.add_argument("--steps", type=int, help="that are measured")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them")
    parser.add_argument("--rounds", type=int, help="how often live and table take turns")
    options = parser.parse_args(arguments)
    fill_in(options, _DEFAULTS)
    return options


def main() -> None:
    """Measure and print."""
    options = parse()
    with tempfile.TemporaryDirectory() as made:
        home, pool, catalog = prepare(options, Path(made))
        table = Path(made) / "pairs.table"
        say("mining the table")
        mine_table(pool, catalog, table)
        figures = [measure_if_it_fits(options, batch, home, pool, catalog, table) for batch in options.batch]
    asked = {name: value for name, value in vars(options).items() if name != "home"}
    report = {
        **machine(options.device),
        "hands": len(pool),
        "settings": asked,
        "batches": figures,
        "process_memory_gb": round(memory_gb(os.getpid(), "VmHWM"), 2),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
