"""What an experiment's file says, as frozen dataclasses.

What the runs of an experiment differ in.

The numbers of an evaluation by their flat names, as `handsim evaluate pose` writes them.

What a table shows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final, Literal, get_args

from handsim.embedding.pose import DEFAULT_COMPONENTS, DEFAULT_NORMALISATION, Normalisation
from handsim.errors import HandsimError
from handsim.synthetic.generate import check_keypoint_noise
from training.evaluation.report import ALIGNMENTS, NUMBERS
from training.finetune.data import check_fraction
from training.runs.recipes import nearest

Axis = Literal["method", "dataset", "pool", "top_k", "weighting", "components", "label_fraction"]
AXES: Final[tuple[Axis, ...]] = get_args(Axis)
"""All but the seeds, over which means are taken."""
ORDERED: Final[frozenset[Axis]] = frozenset({"pool", "top_k", "components", "label_fraction"})
"""Those whose values are more and more of something; pools are listed by size."""
AS_IT_IS: Final = "as it is"
"""The value on an axis that an experiment says nothing of."""


@dataclass(frozen=True)
class Point:
    """One combination of values, done once for each seed; names are those of the experiment's file."""

    method: str
    """One of the methods."""
    dataset: str
    """What is fine-tuned and judged on."""
    pool: str
    """What is pre-trained on."""
    top_k: int | None
    """Nearest neighbours that positives are drawn among; None: as the recipe says."""
    weighting: str | None
    """How pairs are weighted; None: as the recipe says."""
    components: int | None
    """Of the pose embedding; None: as the base says."""
    label_fraction: float
    """Share of the labels that are fine-tuned on."""

    def label(self, axis: Axis) -> str:
        """Its value on an axis, as tables and files have it."""
        return as_label(getattr(self, axis))


def as_label(value: str | float | None) -> str:
    """A value on an axis, as tables and files have it."""
    if value is None:
        return AS_IT_IS
    return value if isinstance(value, str) else f"{value:g}"


_ALIGNMENT_TITLES: Final = {
    "root_relative": "root-relative",
    "root_scale": "root and scale aligned",
    "procrustes": "Procrustes",
    "procrustes_proper": "Procrustes, never mirrored",
    "absolute": "absolute",
}
_NUMBER_TITLES: Final = {
    "mpjpe_mm": "MPJPE mm",
    "median_mm": "median mm",
    "auc_0_50": "AUC 0-50 mm",
    "auc_20_50": "AUC 20-50 mm",
}
_KEYPOINTS: Final = {"keypoints_2d_mean_px": "2D mean px", "keypoints_2d_median_px": "2D median px"}


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation."""

    name: str
    """Flat, as ``root_relative_mpjpe_mm``."""
    title: str
    """For people."""
    higher_is_better: bool
    """Of areas under a curve; distances are better the smaller they are."""
    digits: int
    """After the point, in tables."""


def _metric(name: str, title: str) -> Metric:
    is_auc = "_auc_" in name
    return Metric(name, title, is_auc, 3 if is_auc else 2)


METRICS: Final = {
    **{
        f"{alignment}_{number}": _metric(
            f"{alignment}_{number}", f"{_NUMBER_TITLES[number]}, {_ALIGNMENT_TITLES[alignment]}"
        )
        for alignment in ALIGNMENTS
        for number in NUMBERS
    },
    **{name: _metric(name, title) for name, title in _KEYPOINTS.items()},
}
"""All of them."""


def metric(name: str) -> Metric:
    """One of them; raises HandsimError for a name that is none, naming the nearest."""
    if name not in METRICS:
        raise HandsimError(f"there is no metric {name}{nearest(name, sorted(METRICS))}")
    return METRICS[name]


@dataclass(frozen=True)
class TableSettings:
    """Which axis goes down, which one across, and which numbers stand in the cells."""

    title: str = ""
    """What it shows, in a line."""
    rows: Axis = "method"
    """The axis whose values are the rows."""
    columns: Axis | None = None
    """The axis whose values are the columns, each with all metrics; None: the metrics alone."""
    metrics: tuple[str, ...] = ("root_relative_mpjpe_mm", "procrustes_mpjpe_mm", "root_scale_auc_0_50")
    """Names of numbers of `handsim evaluate pose`."""
    where: dict[Axis, str | float] = field(default_factory=dict)
    """Value by axis, of axes that are neither rows nor columns and have several."""

    def __post_init__(self) -> None:
        if self.rows == self.columns:
            raise HandsimError(f"a table's rows and columns are both {self.rows}; leave columns out")
        if not self.metrics:
            raise HandsimError("a table's metrics are empty; name one at least")
        for name in self.metrics:
            metric(name)

    def check(self, name: str, labels: Mapping[Axis, Sequence[str]]) -> None:
        """Raises HandsimError unless one cell is one point: ``labels`` are all values on each axis."""
        for axis, value in self.where.items():
            if axis not in AXES:
                raise HandsimError(f"tables.{name}.where has {axis}; the axes are {', '.join(AXES)}")
            if axis in (self.rows, self.columns):
                raise HandsimError(f"tables.{name}.where has {axis}, which is shown; leave it out")
            if as_label(value) not in labels[axis]:
                raise HandsimError(
                    f"tables.{name}.where.{axis} is {as_label(value)}; it is one of {', '.join(labels[axis])}"
                )
        for axis, values in labels.items():
            if axis not in (self.rows, self.columns, *self.where) and len(values) > 1:
                raise HandsimError(
                    f"tables.{name} shows no {axis}, of which there are {', '.join(values)}; "
                    f"say which with where.{axis}, or show it"
                )


Settings = dict[str, Any]
"""Settings of a recipe, nested as there."""


@dataclass(frozen=True)
class PoolSettings:
    """The unlabelled hands that are pre-trained on: those of a home, or a world to be filmed."""

    home: str | None = None
    """A directory with a pool in it, as `handsim ingest` leaves it; None: ``data.home``."""
    world: str | None = None
    """A world of `handsim synth`: its name or its file."""
    settings: Settings = field(default_factory=dict)
    """Changes to that world, such as ``videos``."""
    keypoint_noise: float = 0.0
    """How far off its keypoints are (see `handsim.synthetic.generate`)."""
    hands: int | None = None
    """Only so many of them: a smaller subset is part of every larger one (see `handsim pool subset`)."""

    def __post_init__(self) -> None:
        check_keypoint_noise(self.keypoint_noise)
        if self.hands is not None and self.hands < 1:
            raise HandsimError(f"a pool's hands is {self.hands}; it is at least 1, or left out for all")
        if self.home is not None and (self.world is not None or self.settings or self.keypoint_noise):
            raise HandsimError(
                f"a pool is that of the home {self.home} or is filmed; leave home or the world out"
            )

    @property
    def is_filmed(self) -> bool:
        """Whether it is made here."""
        return self.world is not None or bool(self.settings)


@dataclass(frozen=True)
class DatasetSettings:
    """Labelled hands: a dataset as downloaded, or a world to be filmed in its layout."""

    recipe: str = "synthetic"
    """A recipe of `handsim finetune`, which names the dataset and its splits."""
    root: str | None = None
    """Where it lies."""
    world: str | None = None
    """A world of `handsim synth`: its name or its file."""
    settings: Settings = field(default_factory=dict)
    """Changes to that world."""
    finetune: Settings = field(default_factory=dict)
    """Changes to the recipe, such as its epochs."""
    split: str | None = None
    """The split that is judged by; None: the one that the dataset's papers report."""

    def __post_init__(self) -> None:
        if self.root is not None and (self.world is not None or self.settings):
            raise HandsimError(f"a dataset lies in {self.root} or is filmed; leave root or the world out")

    @property
    def is_filmed(self) -> bool:
        """Whether it is made here."""
        return self.world is not None or bool(self.settings)


@dataclass(frozen=True)
class MethodSettings:
    """A way to come by a trunk for fine-tuning."""

    recipe: str | None = None
    """A recipe of `handsim pretrain`; None: no pre-training."""
    init: str | None = None
    """What it begins with: ``start``, an architecture's name for ImageNet's weights, or a checkpoint; None:
    random weights. Without a recipe, it is this that is fine-tuned."""
    settings: Settings = field(default_factory=dict)
    """Changes to the recipe, after those of the base."""


@dataclass(frozen=True)
class StartSettings:
    """A short pre-training that methods with ``init: start`` begin with, once for each seed."""

    recipe: str | None = None
    """A recipe of `handsim pretrain`; None: there is no such start."""
    pool: str | None = None
    """Which pool; None: the first one."""
    settings: Settings = field(default_factory=dict)
    """Changes to the recipe, after those of the base."""


@dataclass(frozen=True)
class Data:
    """What is trained and judged on; each is a value on its axis."""

    home: str | None = None
    """Whose pool is pre-trained on where pools say nothing else; None: the home that is worked in."""
    pools: dict[str, PoolSettings] = field(default_factory=dict)
    """Unlabelled hands, by names of one's own."""
    datasets: dict[str, DatasetSettings] = field(default_factory=dict)
    """Labelled hands, by names of one's own."""


@dataclass(frozen=True)
class Base:
    """What all runs have in common."""

    pretrain: Settings = field(default_factory=dict)
    """Changes to every recipe of pre-training."""
    finetune: Settings = field(default_factory=dict)
    """Changes to every recipe of fine-tuning."""
    normalisation: Normalisation = DEFAULT_NORMALISATION
    """Of the pose embedding that positives are looked for in."""
    components: int = DEFAULT_COMPONENTS
    """Of that embedding."""


@dataclass(frozen=True)
class AxisValues:
    """What the runs differ in, beside pools and datasets: every combination is run."""

    methods: dict[str, MethodSettings] = field(default_factory=dict)
    """By names of one's own."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each decides first weights, batches, views, and which labels are used."""
    label_fractions: dict[float, Settings] = field(default_factory=lambda: {1.0: {}})
    """Shares of the labels, each with changes to the recipe of fine-tuning, such as more epochs for fewer."""
    top_k: tuple[int, ...] = ()
    """Nearest neighbours that positives are drawn among; empty: as the recipes say."""
    weightings: dict[str, Settings] = field(default_factory=dict)
    """Settings of ``loss.weighting``, by names of one's own; empty: as the recipes say."""
    components: tuple[int, ...] = ()
    """Of the pose embedding; empty: as the base says."""

    def __post_init__(self) -> None:
        for fraction in self.label_fractions:
            if not isinstance(fraction, int | float):  # a key of YAML may be anything
                raise HandsimError(f"axes.label_fractions has {fraction!r}; a share is a number, as 0.1")
            check_fraction(fraction)
        for name in ("seeds", "top_k", "components"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise HandsimError(f"axes.{name} is {list(values)}; name each value once")
            if any(value < (0 if name == "seeds" else 1) for value in values):
                raise HandsimError(f"axes.{name} is {list(values)}; such a number is at least 1 (a seed 0)")


@dataclass(frozen=True)
class Experiment:
    """Runs that are to be compared. Raises HandsimError where its parts do not go together."""

    title: str = ""
    """In a few words."""
    data: Data = field(default_factory=Data)
    """What is trained and judged on."""
    base: Base = field(default_factory=Base)
    """What all runs have in common."""
    start: StartSettings = field(default_factory=StartSettings)
    """What they may begin with."""
    axes: AxisValues = field(default_factory=AxisValues)
    """What they differ in."""
    tables: dict[str, TableSettings] = field(default_factory=dict)
    """What is shown of them, by names that files are named after."""

    def __post_init__(self) -> None:
        pretrained = any(method.recipe for method in self.axes.methods.values()) or self.start.recipe
        if pretrained and not self.data.pools:
            raise HandsimError("data.pools is empty; pre-training needs one")
        if not self.data.datasets:
            raise HandsimError("data.datasets is empty; there is nothing to be judged by")
        for name in ("methods", "seeds", "label_fractions"):
            if not getattr(self.axes, name):
                raise HandsimError(f"axes.{name} is empty; an experiment needs one at least")
        if self.start.pool is not None and self.start.pool not in self.data.pools:
            raise HandsimError(f"start.pool is {self.start.pool}; the pools are {', '.join(self.data.pools)}")
        for name, method in self.axes.methods.items():
            if method.init == "start" and self.start.recipe is None:
                raise HandsimError(f"axes.methods.{name}.init is start, and start.recipe is not set; set it")
            if method.settings and method.recipe is None:
                raise HandsimError(f"axes.methods.{name} has settings and no recipe to change; add a recipe")
        self._check_names()
        labels = {axis: self.labels(axis) for axis in AXES}
        for name, table in self.tables.items():
            table.check(name, labels)

    def points(self) -> list[Point]:
        """Every combination of values, in the order of the file."""
        return [Point(*values) for values in product(*self._values().values())]

    def labels(self, axis: Axis) -> list[str]:
        """All values on an axis, as tables have them."""
        return list(dict.fromkeys(map(as_label, self._values()[axis])))

    def _values(self) -> dict[Axis, Iterable[Any]]:
        """All values on each axis, in the order of a `Point`'s."""
        axes = self.axes
        return {
            "method": axes.methods,
            "dataset": self.data.datasets,
            "pool": self.data.pools or ("",),
            "top_k": axes.top_k or (None,),
            "weighting": axes.weightings or (None,),
            "components": axes.components or (None,),
            "label_fraction": axes.label_fractions,
        }

    def _check_names(self) -> None:
        """They become names of files and of columns."""
        groups: dict[str, Iterable[str]] = {
            "data.pools": self.data.pools,
            "data.datasets": self.data.datasets,
            "axes.methods": self.axes.methods,
            "axes.weightings": self.axes.weightings,
            "tables": self.tables,
        }
        for group, names in groups.items():
            for name in names:
                if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
                    raise HandsimError(f"{group} has a {name!r}; a name is letters, digits and ._+- alone")
