"""One look for all figures.

A hand's bones as lines.

Figures of how good estimated hand poses are.

Hands with what was predicted of them and what is true, on their crops and in 3D.

Figures of an experiment's tables: means over seeds, their spread, and each seed as a dot.

Figures of how good retrieval is.

Hands of a labelled dataset with their true joints, to be looked at.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from handsim.metrics.pose import PCK_0_50
from handsim.skeleton import BONES, FINGER_JOINTS, JOINT_COUNT, JOINT_NAMES, WRIST, joint_colour
from training.datasets.record import LabelledHand
from training.evaluation.report import ALIGNMENT_TITLES, Metric, SplitScores
from training.experiments.config import ORDERED_AXES
from training.experiments.tables import AXIS_TITLES, MEAN_POSE, Cell, Table

ACCENT: Final = "#00718f"
CONTRAST: Final = "#c8553d"
FAINT: Final = "#8a909c"
DPI: Final = 144

# Okabe and Ito's colours, told apart with any colour vision; the first two are ours.
SERIES: Final = [
    ACCENT,
    CONTRAST,
    "#e69f00",
    "#009e73",
    "#56b4e9",
    "#cc79a7",
    "#0072b2",
    "#d55e00",
    "#999999",
]

# Any: matplotlib types its settings as one literal of three hundred names.
_SETTINGS: Final[dict[Any, Any]] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelcolor": "#3a3f4a",
    "axes.edgecolor": "#b8bdc8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ee",
    "xtick.color": "#3a3f4a",
    "ytick.color": "#3a3f4a",
    "font.size": 9.5,
    "legend.frameon": False,
}


@contextmanager
def figure(width: float = 6.0, height: float = 3.4) -> Iterator[Figure]:
    """A figure of the given size in inches, in handsim's style; nothing of matplotlib's own state changes."""
    with mpl.rc_context(_SETTINGS):
        yield Figure(figsize=(width, height), layout="constrained")


def save(drawn: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=DPI, facecolor="white")


def draw_bones(
    axes: Axes,
    joints: NDArray[np.floating],
    valid: NDArray[np.bool_] | None,
    *,
    colour: str | None,
    width: float,
) -> None:
    """Bones between joints [21, 2] in one colour, or in those of the fingers; ``valid`` [21] are drawn."""
    for parent, child in BONES:
        if valid is None or (valid[parent] and valid[child]):
            own = tuple(channel / 255 for channel in joint_colour(child))
            axes.plot(
                *joints[[parent, child]].T,
                color=colour or own,
                linewidth=width,
                solid_capstyle="round",
            )


_CURVES: Final = {"root_relative": ACCENT, "root_scale": CONTRAST, "procrustes": SERIES[2]}


def pck_curves(scores: SplitScores, mean_pose: SplitScores | None) -> Figure:
    """Share of joints within 0 to 50 mm; the mean pose of the training split beside it, dashed."""
    thresholds = PCK_0_50.thresholds_mm
    with figure(6.4, 3.9) as drawn:
        axes = drawn.subplots()
        for name, colour in _CURVES.items():
            found = scores.alignments[name]
            label = f"{ALIGNMENT_TITLES[name]}: AUC {found.auc_0_50:.3f}"
            if mean_pose is not None:
                floor = mean_pose.alignments[name]
                label += f" (mean pose {floor.auc_0_50:.3f})"
                axes.plot(thresholds, floor.pck_0_50, color=colour, linewidth=1.2, linestyle=(0, (4, 2)))
            axes.plot(thresholds, found.pck_0_50, color=colour, linewidth=2, label=label)
        handles, _ = axes.get_legend_handles_labels()
        if mean_pose is not None:
            handles.append(
                Line2D([], [], color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)), label="mean pose")
            )
        axes.set(
            title="Joints within a distance of the truth",
            xlabel="distance (mm)",
            ylabel="share of joints",
            xlim=(0, 50),
            ylim=(0, 1),
        )
        # Below: curves of good and of bad estimators leave no common corner free.
        drawn.legend(handles=handles, loc="outside lower left", fontsize=9)
    return drawn


def joint_errors(
    scores: SplitScores, mean_pose: SplitScores | None, alignment: str = "root_relative"
) -> Figure:
    """Mean error of each joint, in its finger's colour; that of the mean pose as a line across its bar."""
    errors = _as_array(scores.alignments[alignment].joint_mpjpe_mm)
    places = _places()
    with figure(7.2, 3.6) as drawn:
        axes = drawn.subplots()
        colours = ["#b8bdc8" if joint == WRIST else _hex(joint_colour(joint)) for joint in range(len(errors))]
        axes.bar(places, errors, color=colours, width=0.8)
        if mean_pose is not None:
            floor = _as_array(mean_pose.alignments[alignment].joint_mpjpe_mm)
            axes.hlines(floor, places - 0.4, places + 0.4, color="#3a3f4a", linewidth=1.5, label="mean pose")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        axes.set_xticks(places, [name.split("_")[-1] for name in JOINT_NAMES], rotation=60, ha="right")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set(title=f"Error of each joint, {ALIGNMENT_TITLES[alignment]}", ylabel="mean error (mm)")
        top = axes.get_ylim()[1] * 1.14
        axes.set_ylim(0, top)
        for finger, joints in FINGER_JOINTS.items():
            middle = float(places[list(joints)].mean())
            axes.text(middle, top * 0.985, finger, ha="center", va="top", color="#3a3f4a")
    return drawn


def _places() -> NDArray[np.float64]:
    """Where the joints' bars stand, a gap before each finger."""
    return np.array(
        [joint + (0 if joint == WRIST else (joint + 3) // 4 * 0.7) for joint in range(len(JOINT_NAMES))]
    )


def _as_array(errors: tuple[float | None, ...]) -> NDArray[np.float64]:
    return np.array([np.nan if error is None else error for error in errors])


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


_PANELS: Final = ("", "from the side", "from above")
"""What stands below the last row's; of the picture nothing need be said."""
_PANEL_INCHES: Final = 1.55
_TRUE_COLOUR: Final = "#9aa0ac"
_GRID_MM: Final = 50.0
_GAP: Final = 0.12
"""Between two samples, in panels."""
_KEY: Final = (
    f"predicted in colours, true in white and grey; 3D relative to the wrist, squares of {_GRID_MM:g} mm"
)
# Axis across, axis up and the sign of what is up: x right, y down, z away from the camera.
_VIEWS: Final = (((2, 1), (1, -1)), ((0, 2), (1, 1)))


@dataclass(frozen=True, eq=False)
class DrawnSample:
    """One hand, as a right one."""

    caption: str
    """What stands above it."""
    sample_id: str
    """As the dataset names it."""
    crop: NDArray[np.uint8]
    """[S, S, 3] RGB."""
    predicted_2d: NDArray[np.floating]
    """[21, 2] in the crop's unit square."""
    true_2d: NDArray[np.floating]
    """[21, 2] in the crop's unit square."""
    predicted_mm: NDArray[np.floating]
    """[21, 3] relative to the wrist."""
    true_mm: NDArray[np.floating]
    """[21, 3] relative to the wrist."""
    valid: NDArray[np.bool_]
    """[21] which true joints are drawn."""


def pose_samples(rows: Sequence[tuple[str, Sequence[DrawnSample]]]) -> Figure:
    """Rows of samples under their titles, three panels each: the crop, and two views of the hand in 3D."""
    columns = max(len(samples) for _, samples in rows)
    ratios = ([1.0] * len(_PANELS) + [_GAP]) * columns
    width, height = sum(ratios) * _PANEL_INCHES + 0.2, len(rows) * (_PANEL_INCHES + 0.5) + 0.35
    with figure(width, height) as drawn:
        grid = drawn.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for (title, samples), line in zip(rows, grid, strict=True):
            for number, sample in enumerate(samples):
                first = number * (len(_PANELS) + 1)
                _draw_crop(line[first], sample, f"{title}: {sample.caption}")
                for axes, (axis, sign) in zip(line[first + 1 :], _VIEWS, strict=False):
                    _draw_3d(axes, sample, axis, sign)
        for axes, name in zip(grid[-1], (*_PANELS, "") * columns, strict=True):
            _write_below(axes, name, 8, "#3a3f4a")
        drawn.supxlabel(_KEY, fontsize=8.5)
    return drawn


def _draw_crop(axes: Axes, sample: DrawnSample, title: str) -> None:
    size = len(sample.crop)
    axes.imshow(sample.crop, extent=(0, size, size, 0))
    draw_bones(axes, sample.true_2d * size, sample.valid, colour="white", width=2.4)
    draw_bones(axes, sample.predicted_2d * size, None, colour="#202228", width=2.2)
    draw_bones(axes, sample.predicted_2d * size, None, colour=None, width=1.4)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(title, fontsize=9)
    _write_below(axes, sample.sample_id, 6.5, FAINT)


def _draw_3d(axes: Axes, sample: DrawnSample, axis: tuple[int, int], sign: tuple[int, int]) -> None:
    """Orthographic: what lies along the third axis is not seen."""
    true, predicted = (joints[:, axis] * np.array(sign) for joints in (sample.true_mm, sample.predicted_mm))
    together = np.concatenate([true[sample.valid], predicted])
    middle = (together.min(axis=0) + together.max(axis=0)) / 2
    # Larger only where it has to be: so sizes and errors of most hands can be compared.
    reach = max(110.0, float(np.abs(together - middle).max()) * 1.05)
    axes.set_axis_on()
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
    axes.set_aspect("equal")
    for place, low in ((axes.set_xticks, middle[0] - reach), (axes.set_yticks, middle[1] - reach)):
        place(np.arange(np.ceil(low / _GRID_MM) * _GRID_MM, low + 2 * reach, _GRID_MM))
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    draw_bones(axes, true, sample.valid, colour=_TRUE_COLOUR, width=2.6)
    draw_bones(axes, predicted, None, colour=None, width=1.4)


def _write_below(axes: Axes, words: str, size: float, colour: str) -> None:
    axes.text(0, -0.03, words, transform=axes.transAxes, va="top", fontsize=size, color=colour)


_DOT: Final = "#3a3f4a"
_APART: Final = 0.09
"""Between two rows' points of one column, in columns."""
_LETTER_IN: Final = 0.09
"""Width of a letter below the axis, in inches: names must not run into each other."""


def table_figure(table: Table, shown: Metric) -> Figure:
    """One number of a table: a point for each mean, joined where its columns have an order.

    A row is a colour, a small dot a seed; what is missing is not drawn. Points and not bars, as differences
    are small beside the numbers.
    """
    places = [place for place, column in enumerate(table.columns) if column.metric == shown]
    rows = [
        (name, [row[place] for place in places])
        for name, row in zip(table.rows, table.cells, strict=True)
        if name != MEAN_POSE
    ]
    columns = table.columns_axis
    across = [str(table.columns[place].label) for place in places]
    if columns is None:  # then the rows stand side by side
        across = [name for name, _ in rows]
    apart = max(0.9, _LETTER_IN * max(map(len, across)))
    with figure(max(5.6, 1.6 + apart * len(across)), 3.8) as drawn:
        axes = drawn.subplots()
        for number, (name, cells) in enumerate(rows):
            aside = 0.0 if columns is None else (number - (len(rows) - 1) / 2) * _APART
            first = number if columns is None else 0
            where = [first + place + aside for place in range(len(cells))]
            _points(axes, where, cells, name, number, joined=columns in ORDERED_AXES)
        axes.set_xticks(range(len(across)), across)
        axes.set_xlim(-0.5, len(across) - 0.5)
        _mean_pose(axes, table, places)
        axes.set_xlabel(AXIS_TITLES[table.rows_axis if columns is None else columns])
        axes.set(title=table.title, ylabel=shown.title)
        axes.grid(visible=False, axis="x")
        if columns is not None:
            drawn.legend(loc="outside lower left", fontsize=9, ncols=4)
    return drawn


def _points(
    axes: Axes, where: Sequence[float], cells: Sequence[Cell], name: str, number: int, *, joined: bool
) -> None:
    colour = SERIES[number % len(SERIES)]
    means = np.array([np.nan if cell.mean is None else cell.mean for cell in cells])
    spreads = np.array([np.nan if cell.spread is None else cell.spread for cell in cells])
    axes.errorbar(
        where, means, spreads, color=colour, fmt="o-" if joined else "o", markersize=6, capsize=3, label=name
    )
    for place, cell in zip(where, cells, strict=True):
        values = [*cell.values.values()]
        axes.plot([place] * cell.n, values, ".", color=_DOT, markersize=3, zorder=3)


def _mean_pose(axes: Axes, table: Table, places: Sequence[int]) -> None:
    """A dashed line, where it is the same in all columns."""
    if MEAN_POSE not in table.rows:
        return
    floor = table.cells[table.rows.index(MEAN_POSE)]
    levels = {floor[place].mean for place in places}
    level = levels.pop()
    if not levels and level is not None:
        axes.axhline(level, color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(MEAN_POSE, (axes.get_xlim()[1], level), ha="right", va="bottom", color=FAINT)


_BINS = 60


def pose_distances(mined: NDArray[np.floating], random: NDArray[np.floating]) -> Figure:
    """Histograms of the mean joint distance [N] (in crop widths) of mined and of random pairs."""
    with figure() as drawn:
        axes = drawn.subplots()
        edges = np.linspace(0, float(max(mined.max(), random.max())), _BINS).tolist()
        for distances, name, colour in ((random, "random pairs", CONTRAST), (mined, "mined pairs", ACCENT)):
            axes.hist(
                distances, edges, color=colour, alpha=0.65, label=f"{name}, mean {distances.mean():.3f}"
            )
        axes.set(
            title="How alike are mined pairs?",
            xlabel="mean 2D joint distance (crop widths)",
            ylabel="pairs of hands",
        )
        axes.legend()
    return drawn


def explained_variance(embedding: Embedding) -> Figure:
    """Share of the poses' variance that the first components keep."""
    with figure() as drawn:
        axes = drawn.subplots()
        shares = embedding.explained_variance_ratio_
        numbers = np.arange(1, len(shares) + 1)
        axes.bar(numbers, shares, color=ACCENT, alpha=0.65, label="each")
        axes.plot(numbers, np.cumsum(shares), color=CONTRAST, marker="o", markersize=3, label="together")
        axes.set(
            title=f"{len(shares)} components keep {shares.sum():.1%} of the pose",
            xlabel="component",
            ylabel="explained variance",
            ylim=(0, 1.03),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="center right")
    return drawn


_COLUMNS: Final = 5
_INCHES: Final = 1.6
_SIDE_VIEW: Final = 0.62
"""Width of the view from the side, in crops."""
_CROP_PX: Final = 224
_ENLARGEMENT: Final = 1.75
_REACH_MM: Final = 120.0
_SHORTEST_PX: Final = 16.0
"""Joints that all but coincide are shown with so much around them."""
_KEY_DATASET_SAMPLES: Final = (
    "left hands are mirrored, as everywhere in handsim; beside each picture the 3D joints from the side, the "
    "camera on the left"
)


def dataset_samples(samples: Sequence[LabelledHand]) -> Figure:
    """Each hand's crop with its 2D joints, and its 3D joints from the side; a colour a finger, thumb red."""
    rows = max(1, -(-len(samples) // _COLUMNS))
    ratios = [1.0, _SIDE_VIEW] * _COLUMNS
    with figure(sum(ratios) * _INCHES + 0.2, rows * (_INCHES + 0.5) + 0.35) as drawn:
        grid = drawn.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, sample in enumerate(samples):
            row, column = divmod(number, _COLUMNS)
            _draw_picture(grid[row, 2 * column], sample)
            _draw_side(grid[row, 2 * column + 1], sample)
        drawn.set_layout_engine("constrained", h_pad=0.2, hspace=0)
        drawn.supxlabel(_KEY_DATASET_SAMPLES, fontsize=8.5)
    return drawn


def _draw_picture(axes: Axes, sample: LabelledHand) -> None:
    """The crop, or the whole picture of a hand without an annotated joint."""
    shown = sample.valid & np.isfinite(sample.keypoints_2d_px).all(axis=1)
    box = np.array([0.0, 0.0, *sample.size_px])
    if shown.any():
        box = box_around(sample.keypoints_2d_px[shown])
        short = np.maximum(_SHORTEST_PX - (box[2:] - box[:2]), 0) / 2
        box = np.concatenate([box[:2] - short, box[2:] + short])
    square = square_around(box, _ENLARGEMENT if shown.any() else 1.0)
    axes.imshow(cut_crop(sample.image, square, _CROP_PX), extent=(0, _CROP_PX, _CROP_PX, 0))
    points = apply_affine(crop_affine(square, _CROP_PX), sample.keypoints_2d_px)
    draw_bones(axes, points, shown, colour="#202228", width=2.4)
    draw_bones(axes, points, shown, colour=None, width=1.5)
    axes.set(xlim=(0, _CROP_PX), ylim=(_CROP_PX, 0))
    missing = int((~sample.valid).sum())
    axes.set_title(sample.side + (f", {missing} of {JOINT_COUNT} missing" if missing else ""), fontsize=9)
    folder, _, name = sample.sample_id.partition("/")
    below = f"{_shortened(folder)}\n{_shortened(name)}"
    words = axes.text(0, -0.03, below, transform=axes.transAxes, va="top", fontsize=6.5, color=FAINT)
    words.set_in_layout(False)  # it may reach below the view beside it


def _draw_side(axes: Axes, sample: LabelledHand) -> None:
    """Orthographic: what is away from the camera stands to the right."""
    if not sample.valid.any():
        return
    joints = sample.joints_3d_mm[:, (2, 1)]
    middle = (joints[sample.valid].min(axis=0) + joints[sample.valid].max(axis=0)) / 2
    draw_bones(axes, joints - middle, sample.valid, colour=None, width=1.4)
    # Larger only where it has to be: so sizes of hands can be compared.
    reach = max(_REACH_MM, 1.05 * float(np.abs((joints - middle)[sample.valid] / (_SIDE_VIEW, 1)).max()))
    axes.set(xlim=(-reach * _SIDE_VIEW, reach * _SIDE_VIEW), ylim=(reach, -reach), aspect="equal")


def _shortened(words: str, most: int = 36) -> str:
    return words if len(words) <= most else f"{words[: most // 2 - 1]}…{words[-most // 2 :]}"
