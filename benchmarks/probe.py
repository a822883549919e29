"""What each method of pre-training teaches of poses: a linear probe after equal training, as JSON.

    python -m benchmarks.probe --work probe --out probe.json

A pool is filmed in which every video shows another person in another room, few hands each. Encoders are
trained with the shipped recipes: the same first weights (seed by seed), the same number of steps, batch,
optimizer and augmentation; only pairs and loss differ. The papers' methods all begin with ImageNet's weights,
which know pictures but no poses; here the first weights are those of `--start-steps` of SimCLR, the same for
all methods (0: random ones). `random` is an encoder that saw nothing, `start` the first weights.

Ridge regression then tells the joints relative to the wrist (x and y in crop widths) from the frozen features
of whole crops, its alpha chosen on some of the training people, and is judged on people of another pool.
Errors are mean joint distances in percent of the crop's width, smaller is better; `mean_pose_error` is that
of always saying the mean pose. The same in 3D, in mm: `error_mm` by ridge regression, `nearest_mm` and
`nearest_pa_mm` (Procrustes aligned) of the hand whose features are nearest.

Every (method, seed) is written to --out when it is done; what is there is not done again.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from apps.cli.console import load_or_fit_embedding
from benchmarks.clock import say
from benchmarks.linear_probe import Hands, mean_pose_error, probe
from handsim.embedding import PoseEmbedding
from handsim.files import write_text_atomically
from handsim.home import Home
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from index import Catalog, open_catalog
from training.models.encoder import Encoder, build_encoder
from training.pretrain.config import RECIPES, PretrainConfig
from training.pretrain.module import PretrainModule
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder
from training.runs.settings import Schedule

RANDOM: Final = "random"
START: Final = "start"
METHODS: Final = (RANDOM, START, "simclr", "peclr", "simhand_no_weights", "simhand")
"""The names of recipes, an encoder that saw nothing, and the one that all of them begin with."""
VARIANTS: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "tempclr": ("tempclr", {}),
    "simhand_masked": ("simhand_masked", {}),
    "normalised": ("simhand", {"loss.weighting.normalised": "true"}),
    "before_augmentation": (
        "simhand",
        {"loss.weighting.normalised": "true", "loss.weighting.source": "crops"},
    ),
    "mined_distance": (
        "simhand",
        {"loss.weighting.normalised": "true", "loss.weighting.source": "embedding"},
    ),
    "queue": ("simhand_no_weights", {"loss.queue": 2048}),
    "queue_masked": ("simhand_masked", {"loss.queue": 2048}),
    "capped": ("simhand_no_weights", {"pairs.policy.max_quantile": 0.5}),
    "turn": ("simhand_no_weights", {}),
    "depth": ("simhand_no_weights", {}),
    "depth_turn": ("simhand_no_weights", {}),
    "depth_masked": ("simhand_masked", {}),
    "depth_capped": ("simhand_no_weights", {"pairs.policy.max_quantile": 0.5}),
}
"""Further methods: a recipe, and changes to it."""
EMBEDDINGS: Final[dict[str, tuple[str, ...]]] = {
    "turn": ("up_to_turn",),
    "depth": ("depth",),
    "depth_turn": ("depth", "up_to_turn"),
    "depth_masked": ("depth",),
    "depth_capped": ("depth",),
}
"""What else than the paper's 2D keypoints the pairs of a method are found by."""
OTHER_PEOPLE: Final = 1_000_000
"""Added to the seed of the pool's world: that of the held-out people's."""
_ERRORS: Final = ("error", "neighbours_error", "error_mm", "nearest_mm", "nearest_pa_mm")
FIGURES: Final = (*_ERRORS, *(f"{name}_recalibrated" for name in _ERRORS))


@dataclass(frozen=True, eq=False)
class Bench:
    """What all methods share."""

    options: argparse.Namespace
    home: Home
    catalog: Catalog
    train: Hands
    test: Hands

    @classmethod
    def prepare(cls, options: argparse.Namespace) -> "Bench":
        """Film both pools and build the index, as far as they are not there."""
        home, other = Home(options.work / "people"), Home(options.work / "other-people")
        pools = []
        for place, videos, seed in (
            (home, options.videos, options.world_seed),
            (other, options.test_videos, options.world_seed + OTHER_PEOPLE),
        ):
            say(f"{videos:,} videos of {options.hands_per_video} hands")
            synthesise_pool(
                place.pool,
                SyntheticConfig(
                    videos=videos, hands_per_video=options.hands_per_video, size_px=options.crop_px, seed=seed
                ),
            )
            pools.append(Pool.open(place.pool))
        catalog = open_catalog(home.index, folders=[home.path])
        if not catalog.versions():
            catalog.build(pools[0], load_or_fit_embedding(home, pools[0])[0])
        hands = [Hands.of(pool, options.size) for pool in pools]
        return cls(options, home, catalog, *hands)

    def config(self, method: str, seed: int, steps: int) -> PretrainConfig:
        """The recipe of a method, with what is the same for all put in."""
        options = self.options
        recipe, changes = VARIANTS.get(method, (method, {}))
        batches = max(1, len(self.train) // options.batch)
        shared = {
            "encoder.architecture": options.architecture,
            "augmentation.size_px": options.size,
            "optimizer.name": "adamw",
            "optimizer.lr": options.lr,
            "optimizer.scale": "none",
            "optimizer.weight_decay": 1e-4,
            "optimizer.warmup_epochs": options.warmup * steps / batches,
            "trainer.epochs": math.ceil(steps / batches),
            "trainer.max_steps": steps,
            "trainer.batch_size": options.batch,
            "trainer.precision": options.precision,
            "trainer.accelerator": "cpu",
            "trainer.devices": 1,
            "trainer.workers": 0,
            "log.metrics_every_steps": max(1, steps // 10),
            "log.figures_every_steps": 0,
            "log.tensorboard": "false",
            "log.checkpoint_every_steps": steps,
            "seed": seed,
        }
        settings = {**shared, **changes}
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return RECIPES.read(recipe, words)

    def encoder(self, method: str, seed: int) -> tuple[Encoder, dict[str, Any]]:
        """Train one, and tell how that went."""
        options = self.options
        config = self.config("simclr" if method in (RANDOM, START) else method, seed, options.steps)
        if method == RANDOM:
            # Of a module, so that the weights are those that the first training begins with.
            return PretrainModule(config, Schedule(1, 1, 1, options.batch, 1)).encoder, {}
        start = self._start(seed) if options.start_steps else None
        config = replace(config, encoder=replace(config.encoder, init=start))
        if method == START:
            return build_encoder(config.encoder), {}
        return self._trained(config, method, seed)

    def _start(self, seed: int) -> str:
        """The checkpoint that all methods begin with, trained when it is first asked for."""
        name = f"{START}-{seed}"
        last = RunFolder(self.home.run(name)).last
        if not last.exists():
            say(name)
            self._trained(self.config("simclr", seed, self.options.start_steps), START, seed)
        return str(last)

    def _trained(self, config: PretrainConfig, method: str, seed: int) -> tuple[Encoder, dict[str, Any]]:
        folder = RunFolder.new(self.home, f"{method}-{seed}")
        started = time.perf_counter()
        with self._catalog_for(method) as catalog:
            if not pretrain(config, self.home, catalog, folder, say=say).finished:
                raise SystemExit(f"{folder.path} was stopped; remove it, and run this again")
        lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
        told = {
            "training_seconds": round(time.perf_counter() - started),
            "first_loss": round(lines[0]["loss"], 4),
            "last_loss": round(lines[-1]["loss"], 4),
        }
        return build_encoder(replace(config.encoder, init=str(folder.last))), told

    @contextmanager
    def _catalog_for(self, method: str) -> Iterator[Catalog]:
        """The index of all, or one of other poses."""
        if method in EMBEDDINGS:
            words = EMBEDDINGS[method]
            with open_catalog(self.home.path / "-".join(["index", *words])) as catalog:
                if not catalog.versions():
                    pool = Pool.open(self.home.pool)
                    depth, up_to_turn = "depth" in words, "up_to_turn" in words
                    catalog.build(pool, PoseEmbedding.fit(pool, depth=depth, up_to_turn=up_to_turn))
                yield catalog
        else:
            yield self.catalog


def measure(bench: Bench, method: str, seed: int) -> dict[str, Any]:
    """Train and probe."""
    encoder, told = bench.encoder(method, seed)
    return {"method": method, "seed": seed, **told, **probe(encoder, bench.train, bench.test)}


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds of each method, and whether the expected order came out."""
    methods = {}
    names = [name for name in FIGURES if all(name in result for result in results)]  # old ones: 2D alone
    for method in dict.fromkeys(result["method"] for result in results):
        mine = [result for result in results if result["method"] == method]
        methods[method] = {"seeds": len(mine)} | {
            name: {
                "mean": round(float(np.mean([result[name] for result in mine])), 3),
                "spread": round(float(np.std([result[name] for result in mine], ddof=1)), 3)
                if len(mine) > 1
                else None,
            }
            for name in names
        }
    return {"methods": methods, "order": {name: order(results, name) for name in names}}


def order(results: list[dict[str, Any]], figure: str) -> dict[str, Any]:
    """Of each expected comparison, in how many of the seeds that have both it came out, as "2 of 3"."""
    errors = {(result["method"], result["seed"]): result[figure] for result in results}
    trained = [method for method in (*METHODS, *VARIANTS) if method not in (RANDOM, START)]
    expected = [("simhand", other) for other in ("peclr", "simclr", "simhand_no_weights")]
    expected += [("simhand_no_weights", other) for other in ("peclr", "simclr")]
    expected += [(method, RANDOM) for method in trained]
    found: dict[str, Any] = {}
    for better, worse in expected:
        seeds = [seed for name, seed in errors if name == better and (worse, seed) in errors]
        if seeds:
            came_out = sum(errors[better, seed] < errors[worse, seed] for seed in seeds)
            found[f"{better} < {worse}"] = f"{came_out} of {len(seeds)}"
    asked = {f"simhand < {other}" for other in ("peclr", "simclr")} | {
        f"{method} < {RANDOM}" for method in ("simhand", "simhand_no_weights", "peclr", "simclr")
    }
    whole = asked <= set(found)
    found["all in every seed"] = (
        all(found[name].split(" of ")[0] == found[name].split(" of ")[1] for name in asked) if whole else None
    )
    return found


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="a directory for pools, index and runs")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON", help="where results are kept")
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--test-videos", type=int, default=200)
    parser.add_argument("--hands-per-video", type=int, default=6)
    parser.add_argument("--world-seed", type=int, default=0, help="which people and rooms are filmed")
    parser.add_argument("--crop-px", type=int, default=96, help="side of the pool's crops")
    parser.add_argument("--size", type=int, default=48, help="side of a view, and of a probed crop")
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--batch", type=int, default=64, help="pairs")
    parser.add_argument("--start-steps", type=int, default=500, help="of SimCLR, before all methods; 0: none")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--lr", type=float, default=1e-3, help="AdamW's, at the end of the warm-up")
    parser.add_argument("--warmup", type=float, default=0.1, help="share of the steps")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, *VARIANTS), default=METHODS)
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What must be the same for results to stand side by side."""
    return {
        name: value
        for name, value in vars(options).items()
        if name not in ("work", "out", "seeds", "methods")
    }


def main() -> None:
    """Measure what is missing, and print all."""
    options = parse()
    settings = settings_of(options)
    done: list[dict[str, Any]] = []
    if options.out.exists():
        kept = json.loads(options.out.read_text())
        if kept["settings"] != settings:
            raise SystemExit(f"{options.out} was measured with other settings; name another --out")
        done = kept["results"]
    bench = Bench.prepare(options)
    report: dict[str, Any] = {
        "settings": settings,
        "hands": len(bench.train),
        "held_out_hands": len(bench.test),
        "mean_pose_error": round(mean_pose_error(bench.train, bench.test), 3),
    }
    for seed in options.seeds:
        for method in options.methods:
            if not any((result["method"], result["seed"]) == (method, seed) for result in done):
                say(f"{method}, seed {seed}")
                done.append(measure(bench, method, seed))
                say(json.dumps(done[-1]))
            report |= {"results": done, "summary": summarise(done)}
            write_text_atomically(options.out, json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
