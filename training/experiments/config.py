"""Experiments: YAML files of runs to be compared, as frozen dataclasses, and how a file is read.

An experiment runs every combination of the values on its axes (`Point`), once for each seed. Names of pools,
datasets, methods and weightings are free; they become rows, columns and files.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml

from handsim.embedding.image import FEATURES
from handsim.embedding.pose import DEFAULT_COMPONENTS, DEFAULT_NORMALISATION, Normalisation
from handsim.errors import HandsimError
from handsim.geometry import POOL_ENLARGEMENT
from handsim.synthetic.generate import check_crop_enlargement, check_keypoint_noise
from training.evaluation.report import find_metric
from training.runs.recipes import Recipes
from training.runs.settings import check_fraction

Axis = Literal["method", "dataset", "pool", "top_k", "weighting", "components", "label_fraction"]
AXES: Final[tuple[Axis, ...]] = get_args(Axis)
"""All but the seeds, over which means are taken."""
ORDERED_AXES: Final[frozenset[Axis]] = frozenset({"pool", "top_k", "components", "label_fraction"})
"""Those whose values have an order, which figures join by a line; pools are listed by size."""
UNSET: Final = "as it is"
"""The label of an axis without values: the recipe decides."""

Settings = dict[str, Any]
"""Settings of a recipe, nested as there."""


@dataclass(frozen=True)
class Point:
    """One combination of values on the axes; names are those of the experiment's file."""

    method: str
    dataset: str
    pool: str
    top_k: int | None
    """Nearest neighbours that positives are drawn from; None: as in the recipe."""
    weighting: str | None
    """How pairs are weighted; None: as in the recipe."""
    components: int | None
    """Of the pose embedding; None: as in the base."""
    label_fraction: float
    """Share of the labels to fine-tune on."""

    def label(self, axis: Axis) -> str:
        """Its value on an axis, as tables and files show it."""
        return as_label(getattr(self, axis))


def as_label(value: str | float | None) -> str:
    """A value on an axis, as tables and files show it."""
    if value is None:
        return UNSET
    return value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True)
class TableSettings:
    """Which axis goes down, which one across, and which numbers stand in the cells."""

    title: str = ""
    """Above the table."""
    rows: Axis = "method"
    """The axis whose values are the rows."""
    columns: Axis | None = None
    """The axis whose values are the columns, each with all metrics; None: the metrics alone."""
    metrics: tuple[str, ...] = (
        "root_relative_mpjpe_mm",
        "root_scale_mpjpe_mm",
        "procrustes_mpjpe_mm",
        "root_scale_auc_0_50",
    )
    """Names of numbers of `handsim evaluate pose`."""
    reference: str | None = None
    """The row that a second table has the differences of all others to; None: of a table of methods the
    reference of ``primary``."""
    where: dict[Axis, str | float] = field(default_factory=dict)
    """Value by axis, of axes that are neither rows nor columns and have several values."""

    def __post_init__(self) -> None:
        if self.rows == self.columns:
            raise HandsimError(f"a table's rows and columns are both {self.rows}; leave columns out")
        if not self.metrics:
            raise HandsimError("a table's metrics are empty; name at least one")
        for name in self.metrics:
            find_metric(name)

    def check(self, name: str, labels: Mapping[Axis, Sequence[str]]) -> None:
        """Raise HandsimError unless each cell is one point; ``labels`` are all values on each axis."""
        if self.reference is not None and self.reference not in labels[self.rows]:
            raise HandsimError(
                f"tables.{name}.reference is {self.reference}; the rows are {', '.join(labels[self.rows])}"
            )
        for axis, value in self.where.items():
            if axis not in AXES:
                raise HandsimError(f"tables.{name}.where has {axis}; the axes are {', '.join(AXES)}")
            if axis in (self.rows, self.columns):
                raise HandsimError(f"tables.{name}.where has {axis}, which is a row or column; leave it out")
            if as_label(value) not in labels[axis]:
                raise HandsimError(
                    f"tables.{name}.where.{axis} is {as_label(value)}; it is one of {', '.join(labels[axis])}"
                )
        for axis, values in labels.items():
            if axis not in (self.rows, self.columns, *self.where) and len(values) > 1:
                raise HandsimError(
                    f"tables.{name} does not show {axis}, which has the values {', '.join(values)}; "
                    f"choose one with where.{axis}, or make it rows or columns"
                )


@dataclass(frozen=True)
class PrimarySettings:
    """The comparison that the experiment is made for, named before its runs; tables mark it.

    Of many numbers some come out well by chance: what is claimed is this one.
    """

    metric: str | None = None
    """A number of `handsim evaluate pose`; None: nothing is marked."""
    method: str | None = None
    """The method whose advantage is asked for."""
    reference: str | None = None
    """The method that it is compared with."""
    label_fractions: tuple[float, ...] = ()
    """At which shares of the labels; empty: at all."""

    def check(self, labels: Mapping[Axis, Sequence[str]]) -> None:
        """Raise HandsimError unless its parts are there; ``labels`` are all values on each axis."""
        if self.metric is None:
            if self.method or self.reference or self.label_fractions:
                raise HandsimError("primary has no metric; name one, or leave primary out")
            return
        find_metric(self.metric)
        for name, method in (("method", self.method), ("reference", self.reference)):
            if method not in labels["method"]:
                raise HandsimError(
                    f"primary.{name} is {method}; the methods are {', '.join(labels['method'])}"
                )
        for fraction in self.label_fractions:
            if as_label(fraction) not in labels["label_fraction"]:
                raise HandsimError(
                    f"primary.label_fractions has {as_label(fraction)}; the shares of the labels are "
                    f"{', '.join(labels['label_fraction'])}"
                )


@dataclass(frozen=True)
class PoolSettings:
    """The unlabelled hands to pre-train on: the pool of a home, or synthetic hands."""

    home: str | None = None
    """A directory with a pool in it, as `handsim ingest` leaves it; None: ``data.home``."""
    world: str | None = None
    """A world of `handsim synth`: its name or its file."""
    settings: Settings = field(default_factory=dict)
    """Changes to that world, such as ``videos``."""
    keypoint_noise: float = 0.0
    """Noise of its keypoints (see `handsim.synthetic.generate`)."""
    crop_enlargement: float = POOL_ENLARGEMENT
    """How many times as long as the hand's box its pictures are: views for training reach so far."""
    hands: int | None = None
    """Only so many of them: a smaller subset is part of every larger one (see `handsim pool subset`)."""

    def __post_init__(self) -> None:
        check_keypoint_noise(self.keypoint_noise)
        check_crop_enlargement(self.crop_enlargement)
        if self.hands is not None and self.hands < 1:
            raise HandsimError(f"a pool's hands is {self.hands}; it is at least 1, or left out for all")
        if self.home is not None and (self.world is not None or self.settings or self.keypoint_noise):
            raise HandsimError(
                f"a pool is either that of a home ({self.home}) or synthetic; leave home or the world out"
            )

    @property
    def is_synthetic(self) -> bool:
        """Whether the experiment makes it."""
        return self.world is not None or bool(self.settings)


@dataclass(frozen=True)
class DatasetSettings:
    """Labelled hands: a dataset as downloaded, or synthetic hands in its layout."""

    recipe: str = "synthetic"
    """A recipe of `handsim finetune`, which names the dataset and its splits."""
    root: str | None = None
    """The folder of the dataset."""
    world: str | None = None
    """A world of `handsim synth`: its name or its file."""
    settings: Settings = field(default_factory=dict)
    """Changes to that world."""
    finetune: Settings = field(default_factory=dict)
    """Changes to the recipe, such as its epochs."""
    split: str | None = None
    """The split to evaluate on; None: the one that the dataset's papers report."""

    def __post_init__(self) -> None:
        if self.root is not None and (self.world is not None or self.settings):
            raise HandsimError(
                f"a dataset is either in a folder ({self.root}) or synthetic; leave root or the world out"
            )

    @property
    def is_synthetic(self) -> bool:
        """Whether the experiment makes it."""
        return self.world is not None or bool(self.settings)


@dataclass(frozen=True)
class SearchSettings:
    """How a method's positives are searched, as in `handsim embedding fit`."""

    depth: bool = False
    """The keypoints' z counts, too."""
    up_to_turn: bool = False
    """Hands are turned upright first."""
    normalisation: Normalisation | None = None
    """Of the pose embedding; None: that of the base."""


@dataclass(frozen=True)
class MethodSettings:
    """How the encoder gets the weights that fine-tuning starts from."""

    recipe: str | None = None
    """A recipe of `handsim pretrain`; None: no pre-training."""
    init: str | None = None
    """Weights that pre-training, or without a recipe fine-tuning, starts from: ``start``, the name of an
    architecture for ImageNet's weights, or a checkpoint; None: random weights."""
    settings: Settings = field(default_factory=dict)
    """Changes to the recipe, after those of the base."""
    embedding: SearchSettings = field(default_factory=SearchSettings)
    """Of its pose embedding, where pairs come from the index."""
    finetune: Settings = field(default_factory=dict)
    """Changes to fine-tuning, after all others: random weights want another one than pre-trained ones."""


@dataclass(frozen=True)
class StartSettings:
    """A short pre-training from which methods with ``init: start`` start, once for each seed."""

    recipe: str | None = None
    """A recipe of `handsim pretrain`; None: there is no such start."""
    pool: str | None = None
    """Which pool; None: the first one."""
    settings: Settings = field(default_factory=dict)
    """Changes to the recipe, after those of the base."""


@dataclass(frozen=True)
class Data:
    """What is trained and evaluated on; each is a value on its axis."""

    home: str | None = None
    """The home of pools that name none; None: the home of the command."""
    pools: dict[str, PoolSettings] = field(default_factory=dict)
    """Unlabelled hands, by free names."""
    datasets: dict[str, DatasetSettings] = field(default_factory=dict)
    """Labelled hands, by free names."""


@dataclass(frozen=True)
class Base:
    """What all runs have in common."""

    pretrain: Settings = field(default_factory=dict)
    """Changes to every recipe of pre-training."""
    finetune: Settings = field(default_factory=dict)
    """Changes to every recipe of fine-tuning."""
    normalisation: Normalisation = DEFAULT_NORMALISATION
    """Of the pose embedding in which positives are searched."""
    components: int = DEFAULT_COMPONENTS
    """Of that embedding."""


@dataclass(frozen=True)
class AxisValues:
    """The axes beside pools and datasets: every combination of values is run."""

    methods: dict[str, MethodSettings] = field(default_factory=dict)
    """By free names."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Each decides the initial weights, batches, views, and which labels are used."""
    label_fractions: dict[float, Settings] = field(default_factory=lambda: {1.0: {}})
    """Shares of the labels, each with changes to the recipe of fine-tuning, such as more epochs for fewer."""
    top_k: tuple[int, ...] = ()
    """Nearest neighbours that positives are drawn from; empty: as in the recipes."""
    weightings: dict[str, Settings] = field(default_factory=dict)
    """Settings of ``loss.weighting``, by free names; empty: as in the recipes."""
    components: tuple[int, ...] = ()
    """Of the pose embedding; empty: as in the base."""

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
    """Runs to be compared. Raises HandsimError where its parts contradict each other."""

    title: str = ""
    """In a few words."""
    data: Data = field(default_factory=Data)
    """What is trained and evaluated on."""
    base: Base = field(default_factory=Base)
    """What all runs have in common."""
    start: StartSettings = field(default_factory=StartSettings)
    """What they may start from."""
    axes: AxisValues = field(default_factory=AxisValues)
    """The values that are compared."""
    primary: PrimarySettings = field(default_factory=PrimarySettings)
    """The comparison that counts."""
    tables: dict[str, TableSettings] = field(default_factory=dict)
    """Tables of the results; figures' files have their names."""

    def __post_init__(self) -> None:
        pretrains = any(method.recipe for method in self.axes.methods.values()) or self.start.recipe
        if pretrains and not self.data.pools:
            raise HandsimError("data.pools is empty; pre-training needs one")
        if not self.data.datasets:
            raise HandsimError("data.datasets is empty; there is nothing to evaluate on")
        for name in ("methods", "seeds", "label_fractions"):
            if not getattr(self.axes, name):
                raise HandsimError(f"axes.{name} is empty; an experiment needs at least one")
        if self.start.pool is not None and self.start.pool not in self.data.pools:
            raise HandsimError(f"start.pool is {self.start.pool}; the pools are {', '.join(self.data.pools)}")
        for name, method in self.axes.methods.items():
            if method.init == "start" and self.start.recipe is None:
                raise HandsimError(f"axes.methods.{name}.init is start, and start.recipe is not set; set it")
            if method.settings and method.recipe is None:
                raise HandsimError(f"axes.methods.{name} has settings and no recipe to change; add a recipe")
        self._check_names()
        labels = {axis: self.labels(axis) for axis in AXES}
        self.primary.check(labels)
        for name, table in self.tables.items():
            table.check(name, labels)

    def points(self) -> list[Point]:
        """Every combination of values, in the order of the file."""
        return [Point(*values) for values in product(*self._values().values())]

    def labels(self, axis: Axis) -> list[str]:
        """All values on an axis, as tables show them."""
        return list(dict.fromkeys(map(as_label, self._values()[axis])))

    def _values(self) -> dict[Axis, Iterable[Any]]:
        """All values on each axis, in the order of the fields of `Point`."""
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


EXPERIMENTS: Final = Recipes(
    Experiment, Path(__file__).resolve().with_name("shipped"), "handsim experiment", "experiment"
)
"""The experiments that come with handsim, and the reader of any other."""
INHERITED_GROUPS: Final = ("data", "base", "start")
"""Groups that a file may take from another one: what is trained on and how, not what is compared."""


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Values by dotted name of ``["--data.datasets.freihand.root", "FOLDER"]``; also ``--NAME=VALUE``.

    Values are YAML. Raises HandsimError for words that are not such pairs.
    """
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--"):
            raise HandsimError(f"{name} is not a setting; settings are given as --its.name VALUE")
        if not equals:
            if not rest:
                raise HandsimError(f"{name} has no value; give it as {name} VALUE")
            value = rest.pop(0)
        try:
            values[name[2:]] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise HandsimError(f"{name} is {value!r}, which is not YAML; quote it") from error
    return values


def read_experiment(file: str | Path, overrides: Mapping[str, Any], home: Path | None = None) -> Experiment:
    """Read the experiment of a file, or the shipped one of that name; ``overrides`` have dotted names.

    A file may say ``like: FILE``: those of `INHERITED_GROUPS` that it leaves out are taken from that one.
    ``home`` is used where ``data.home`` is not set. Raises NotThereError for a missing file, HandsimError for
    an unknown key (with the nearest known one), a bad value, and parts that contradict each other.
    """
    path = EXPERIMENTS.find(file)
    content = EXPERIMENTS.content(path)
    if "like" in content:
        content = _inherited(content.pop("like"), path) | content
    for name, value in overrides.items():
        content = _replace_value(content, name.split("."), value)
    experiment = EXPERIMENTS.fill(content, [], str(path))
    if home is None or experiment.data.home is not None:
        return experiment
    return replace(experiment, data=replace(experiment.data, home=str(home)))


def _inherited(like: Any, file: Path) -> dict[str, Any]:
    """The groups that a file takes from the one that it is like: one beside it, or a shipped one."""
    beside = file.parent / str(like)
    content = EXPERIMENTS.content(beside if beside.is_file() else str(like))
    if "like" in content:
        raise HandsimError(f"{file} is like {like}, which is like {content['like']}; name that one")
    return {group: content[group] for group in INHERITED_GROUPS if group in content}


def _replace_value(content: Any, names: Sequence[str], value: Any) -> dict[str, Any]:
    """Nested settings with one value replaced."""
    settings = dict(content) if isinstance(content, Mapping) else {}
    rest = names[1:]
    return {**settings, names[0]: _replace_value(settings.get(names[0]), rest, value) if rest else value}


def check_inputs(experiment: Experiment) -> None:
    """Raise HandsimError for a dataset, a pool or a checkpoint that is missing or whose place is not set."""
    for name, dataset in experiment.data.datasets.items():
        if not dataset.is_synthetic:
            _check_folder(f"data.datasets.{name}.root", dataset.root, "")
    for name, pool in experiment.data.pools.items():
        if not pool.is_synthetic:
            setting = "data.home" if pool.home is None else f"data.pools.{name}.home"
            _check_folder(setting, pool.home or experiment.data.home, "pool")
    for name, method in experiment.axes.methods.items():
        init = method.init
        if init is not None and init not in ("start", *FEATURES) and not Path(init).is_file():
            raise HandsimError(
                f"axes.methods.{name}.init is {init}, and there is no such file; "
                f"it is start, a checkpoint, or one of {', '.join(FEATURES)}"
            )


def _check_folder(setting: str, folder: str | None, inside: str) -> None:
    if folder is None:
        raise HandsimError(f"{setting} is not set; give its place with --{setting} FOLDER")
    if not (Path(folder) / inside).is_dir():
        problem = f"has no folder {inside}" if inside else "is not a folder"
        raise HandsimError(f"{setting} is {folder}, which {problem}; give another one, --{setting} FOLDER")
