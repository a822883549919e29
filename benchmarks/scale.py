"""What a million hands, ten and a hundred cost, in hours, disk and memory, from measured unit costs.

    python -m benchmarks.scale                      the tables of docs/scale.md, from scale_costs.json
    python -m benchmarks.scale --measure            measure again what a CPU can, and print that file
    python -m benchmarks.scale --measure --write    and write it

`scale_costs.json` says of each figure on which machine and by which command it was found. Costs grow in
proportion to the hands, but for the index's graph (a search takes about log N steps) and for comparing
all hands with one another (N squared).
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_COSTS: Final = Path(__file__).with_name("scale_costs.json")
_SIZES: Final = {1_000_000: "1M", 10_000_000: "10M", 100_000_000: "100M"}
_MEASURED_HANDS: Final = 2_000_000
"""Of the index that linking and mining were measured on."""


@dataclass(frozen=True)
class Costs:
    """Rates (a second, of one core or one GPU) and bytes, each per hand if nothing else is said."""

    figures: dict[str, float]
    hands_per_picture: float
    """How many hands a picture or a frame gives, on average."""
    cores: int
    """Of a machine."""
    epochs: int
    """Of a pre-training; each looks at two views of every hand."""
    machines: dict[str, int]
    """How many machines a pool of so many hands is given."""
    gpus: dict[str, int]

    @classmethod
    def read(cls, path: Path) -> "Costs":
        """Read a file of costs."""
        record = json.loads(path.read_text())
        return cls({name: entry["value"] for name, entry in record["costs"].items()}, **record["plan"])

    def __getitem__(self, name: str) -> float:
        return self.figures[name]


@dataclass(frozen=True)
class Stage:
    """A step from files to a trained network."""

    name: str
    bound_by: str
    worker: str
    """What does it: a core (of all machines, or of one), a GPU, a process (one in all, or one a machine)."""
    seconds: Callable[[Costs, int], float]
    """Seconds of one such worker, for so many hands."""

    def hours(self, costs: Costs, hands: int) -> float:
        """Of the machines that a pool of that size is given."""
        size = _SIZES[hands]
        workers = {
            "core": costs.machines[size] * costs.cores,
            "core of one machine": costs.cores,
            "GPU": costs.gpus[size],
            "process": 1,
            "process of each machine": costs.machines[size],
        }
        return self.seconds(costs, hands) / workers[self.worker] / 3600


def _graph(hands: int) -> float:
    """How much more a step in the graph costs than in the one that was measured."""
    return math.log(hands) / math.log(_MEASURED_HANDS)


def _each_hand(rate: str) -> Callable[[Costs, int], float]:
    """Seconds of what is done to each hand, at so many a second."""
    return lambda costs, hands: hands / costs[rate]


def _each_picture(rate: str) -> Callable[[Costs, int], float]:
    """Seconds of what is done to each picture, at so many a second."""
    return lambda costs, hands: hands / costs.hands_per_picture / costs[rate]


STAGES: Final = (
    Stage(
        "list files, tell their kinds",
        "one process; each machine looks at all files",
        "process",
        _each_picture("pictures_planned"),
    ),
    Stage(
        "or: scan the headers of tars",
        "likewise, while its workers work",
        "process",
        _each_picture("tar_members_scanned"),
    ),
    Stage("decode frames of video", "cores", "core", _each_picture("frames_decoded")),
    Stage("detect in frames of 1280 x 720, crop, encode", "cores", "core", _each_picture("frames_detected")),
    Stage("or: the same with `--quick`", "cores", "core", _each_picture("frames_detected_quick")),
    Stage("or: detect in crops", "cores", "core", _each_picture("crops_detected")),
    Stage(
        "write the pool", "one writer of each pool", "process of each machine", _each_hand("hands_written")
    ),
    Stage("merge the shards' pools", "one process, the disk", "process", _each_hand("hands_merged")),
    Stage("embed poses", "memory bandwidth", "core", _each_hand("hands_embedded")),
    Stage(
        "link the index",
        "the cores of one machine",
        "core of one machine",
        lambda costs, n: n * _graph(n) / costs["hands_linked"],
    ),
    Stage(
        "mine a positive for each",
        "distant memory",
        "core",
        lambda costs, n: n * _graph(n) / costs["hands_mined"],
    ),
    Stage("or: compare all with all", "GPU", "GPU", lambda costs, n: n**2 / costs["pairs_compared"]),
    Stage("encode crops (ResNet-50)", "decoding on 16 cores, GPU", "GPU", _each_hand("crops_encoded")),
    Stage(
        "pre-train (ResNet-50, 128 px)",
        "GPU",
        "GPU",
        lambda costs, n: 2 * n * costs.epochs / costs["views_trained"],
    ),
)

SPACE: Final[dict[str, tuple[str, Callable[[Costs, int], float]]]] = {
    "crops": ("disk", lambda costs, n: n * costs["crop_bytes"]),
    "tables of the pool": ("disk", lambda costs, n: n * costs["table_bytes"]),
    "a version of the index": ("disk", lambda costs, n: n * costs["index_bytes"]),
    "the plan of an ingest, of files": (
        "memory; of a shard, its share",
        lambda costs, n: n / costs.hands_per_picture * costs["plan_memory"],
    ),
    "the ids that a writer knows": (
        "memory; of a shard, its share",
        lambda costs, n: n * costs["writer_memory"],
    ),
    "an open pool": ("memory of each process", lambda costs, n: n * costs["pool_memory"]),
}
"""What takes room, where, and how many bytes."""


def time_table(costs: Costs) -> str:
    """Work and hours of each stage, as Markdown."""
    heads = [
        f"{size}: {costs.machines[size]} x {costs.cores} cores, {costs.gpus[size]} GPU"
        for size in _SIZES.values()
    ]
    lines = [["stage", "bound by", *heads], ["---"] * (2 + len(heads))]
    for stage in STAGES:
        unit = stage.worker.partition(" ")[0]
        cells = [
            f"{_number(stage.seconds(costs, n) / 3600)} {unit}-h, {_time(stage.hours(costs, n))}"
            for n in _SIZES
        ]
        lines.append([stage.name, stage.bound_by, *cells])
    return _markdown(lines)


def space_table(costs: Costs) -> str:
    """Disk and memory, as Markdown."""
    lines = [["what", "where", *_SIZES.values()], ["---"] * (2 + len(_SIZES))]
    for what, (where, bytes_of) in SPACE.items():
        lines.append([what, where, *(f"{_number(bytes_of(costs, n) / 1e9)} GB" for n in _SIZES)])
    return _markdown(lines)


def cost_table(record: dict[str, Any]) -> str:
    """The measured figures with their machines and commands, as Markdown."""
    lines = [["figure", "value", "machine", "command"], ["---"] * 4]
    for name, entry in record["costs"].items():
        value = f"{_number(entry['value'])} {entry['unit']}"
        lines.append([name.replace("_", " "), value, entry["machine"], f"`{entry['command']}`"])
    return _markdown(lines)


def _number(value: float) -> str:
    """With two digits that mean something."""
    if value >= 1e7:
        return f"{value:.3g}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _time(hours: float) -> str:
    """In the unit that a person would say."""
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    if hours >= 1:
        return f"{_number(hours)} h"
    return f"{hours * 60:.0f} min" if hours > 1 / 60 else f"{hours * 3600:.2g} s"


def _markdown(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--costs", type=Path, default=_COSTS, help="a file of costs (default: ours)")
    parser.add_argument("--measure", action="store_true", help="measure what a CPU can, in minutes")
    parser.add_argument("--write", action="store_true", help="write what was measured to the file of costs")
    options = parser.parse_args()
    record = json.loads(options.costs.read_text())
    if options.measure:
        from benchmarks.measure_costs import measure  # loads all that is measured

        record["costs"] |= measure()
        text = json.dumps(record, indent=1) + "\n"
        if options.write:
            options.costs.write_text(text)
        print(text, end="")
        return
    costs = Costs.read(options.costs)
    print(cost_table(record), time_table(costs), space_table(costs), sep="\n\n")


if __name__ == "__main__":
    main()
