"""All figures of the command line, in one style: retrieval, estimated poses, experiments, labelled datasets.

`new_figure` opens a figure in handsim's style, `save_figure` writes it as PNG, and each ``plot_`` function
draws one figure from numbers that others computed. 3D joints are in mm: x right, y down, z away from the
camera.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from handsim.skeleton import BONES, FINGER_JOINTS, JOINT_COUNT, JOINT_NAMES, WRIST, joint_colour

if TYPE_CHECKING:
    from index.pairs_3d import PairMeans
    from training.datasets.bad_list import BadHand
    from training.datasets.record import LabelledHand
    from training.evaluation.report import Metric, SplitScores
    from training.experiments.tables import Cell, Table

ACCENT: Final = "#00718f"
CONTRAST: Final = "#c8553d"
FAINT: Final = "#8a909c"
_INK: Final = "#3a3f4a"
_BONE_EDGE: Final = "#202228"
DPI: Final = 144

# Okabe and Ito's colours, which readers with any colour vision can tell apart; the first two are ours.
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
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#b8bdc8",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8ee",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "font.size": 9.5,
    "legend.frameon": False,
}
_DASHES: Final = (0, (4, 2))


@contextmanager
def new_figure(width: float = 6.0, height: float = 3.4) -> Iterator[Figure]:
    """A figure of so many inches; inside the block matplotlib draws in handsim's style."""
    with mpl.rc_context(_SETTINGS):
        yield Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, facecolor="white")


def _draw_bones(
    axes: Axes,
    joints: NDArray[np.floating],
    valid: NDArray[np.bool_] | None,
    *,
    colour: str | None,
    width: float,
) -> None:
    """Bones between the ``valid`` [21] ones of joints [21, 2], in one colour or in those of the fingers."""
    for parent, child in BONES:
        if valid is None or (valid[parent] and valid[child]):
            finger = tuple(channel / 255 for channel in joint_colour(child))
            axes.plot(
                *joints[[parent, child]].T, color=colour or finger, linewidth=width, solid_capstyle="round"
            )


def _write_below(axes: Axes, text: str, size: float, colour: str) -> Any:
    return axes.text(0, -0.03, text, transform=axes.transAxes, va="top", fontsize=size, color=colour)


# Retrieval

_BINS: Final = 60


def plot_pose_distances(mined: NDArray[np.floating], random: NDArray[np.floating]) -> Figure:
    """Histograms of the mean joint distance [N] (in crop widths) of mined and of random pairs."""
    with new_figure() as figure:
        axes = figure.subplots()
        edges = np.linspace(0, float(max(mined.max(), random.max())), _BINS).tolist()
        for distances, name, colour in ((random, "random pairs", CONTRAST), (mined, "mined pairs", ACCENT)):
            axes.hist(
                distances, edges, color=colour, alpha=0.65, label=f"{name}, mean {distances.mean():.3f}"
            )
        axes.set(
            title="How alike are mined pairs?",
            xlabel="mean 2D joint distance (share of the picture's width)",
            ylabel="pairs of hands",
        )
        axes.legend()
    return figure


def plot_pairs_3d(
    errors_mm: Mapping[str, NDArray[np.floating]],
    distances: NDArray[np.floating],
    by_pool_size: "Mapping[str, PairMeans]",
) -> Figure:
    """Three panels on the errors of pairs in 3D: histograms by name [N], the mined ones over their distance
    ([N], in the embedding), and over the number of hands.
    """
    with new_figure(9.6, 3.2) as figure:
        spread, near, growth = figure.subplots(1, 3)
        edges = np.linspace(
            0, float(np.quantile(np.concatenate([*errors_mm.values()]), 0.99)), _BINS
        ).tolist()
        colours = dict(zip(errors_mm, (CONTRAST, ACCENT, FAINT), strict=True))
        for name, errors in errors_mm.items():
            label = f"{name}, mean {errors.mean():.1f}"
            spread.hist(errors, edges, color=colours[name], alpha=0.65, label=label)
        spread.set(title="How alike are pairs in 3D?", xlabel="error (mm)", ylabel="pairs of hands")
        spread.legend(fontsize=8)
        near.plot(distances, errors_mm["mined pairs"], ".", color=ACCENT, markersize=2, alpha=0.5)
        near.set(title="Mined pairs", xlabel="distance in the embedding", ylabel="error (mm)", ylim=(0, None))
        sizes = [int(name.replace(",", "")) for name in by_pool_size]
        growth.plot(sizes, [means.aligned_mm for means in by_pool_size.values()], "o-", color=ACCENT)
        growth.set(title="More hands", xlabel="hands in the pool", ylabel="error (mm)", ylim=(0, None))
        growth.set_xscale("log", base=2)
        growth.set_xticks(sizes, list(by_pool_size), fontsize=8)
        growth.minorticks_off()
    return figure


def plot_explained_variance(embedding: Embedding) -> Figure:
    """Share of the poses' variance that the first components keep."""
    with new_figure() as figure:
        axes = figure.subplots()
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
    return figure


# Estimated poses

_CURVES: Final = {"root_relative": ACCENT, "root_scale": CONTRAST, "procrustes": SERIES[2]}


def plot_pck_curves(scores: "SplitScores", mean_pose: "SplitScores | None") -> Figure:
    """Share of joints within 0 to 50 mm; the mean pose of the training split beside it, dashed."""
    from handsim.metrics.pose import PCK_0_50
    from training.evaluation.report import ALIGNMENT_TITLES

    thresholds = PCK_0_50.thresholds_mm
    with new_figure(6.4, 3.9) as figure:
        axes = figure.subplots()
        for name, colour in _CURVES.items():
            score = scores.alignments[name]
            label = f"{ALIGNMENT_TITLES[name]}: AUC {score.auc_0_50:.3f}"
            if mean_pose is not None:
                baseline = mean_pose.alignments[name]
                label += f" (mean pose {baseline.auc_0_50:.3f})"
                axes.plot(thresholds, baseline.pck_0_50, color=colour, linewidth=1.2, linestyle=_DASHES)
            axes.plot(thresholds, score.pck_0_50, color=colour, linewidth=2, label=label)
        handles, _ = axes.get_legend_handles_labels()
        if mean_pose is not None:
            handles.append(Line2D([], [], color=FAINT, linewidth=1.2, linestyle=_DASHES, label="mean pose"))
        axes.set(
            title="Joints within a distance of the truth",
            xlabel="distance (mm)",
            ylabel="share of joints",
            xlim=(0, 50),
            ylim=(0, 1),
        )
        # Below: curves of good and of bad estimators leave no common corner free.
        figure.legend(handles=handles, loc="outside lower left", fontsize=9)
    return figure


def plot_joint_errors(
    scores: "SplitScores", mean_pose: "SplitScores | None", alignment: str = "root_relative"
) -> Figure:
    """Mean error of each joint, in its finger's colour; that of the mean pose as a line across its bar."""
    from training.evaluation.report import ALIGNMENT_TITLES

    errors = np.array(scores.alignments[alignment].joint_mpjpe_mm, dtype=float)  # None becomes NaN
    joints = np.arange(JOINT_COUNT)
    x = joints + np.where(joints == WRIST, 0, (joints + 3) // 4 * 0.7)  # with a gap before each finger
    with new_figure(7.2, 3.6) as figure:
        axes = figure.subplots()
        colours = ["#b8bdc8", *("#{:02x}{:02x}{:02x}".format(*joint_colour(joint)) for joint in joints[1:])]
        axes.bar(x, errors, color=colours, width=0.8)
        if mean_pose is not None:
            baseline = np.array(mean_pose.alignments[alignment].joint_mpjpe_mm, dtype=float)
            axes.hlines(baseline, x - 0.4, x + 0.4, color=_INK, linewidth=1.5, label="mean pose")
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        axes.set_xticks(x, [name.split("_")[-1] for name in JOINT_NAMES], rotation=60, ha="right")
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set(title=f"Error of each joint, {ALIGNMENT_TITLES[alignment]}", ylabel="mean error (mm)")
        top = axes.get_ylim()[1] * 1.14
        axes.set_ylim(0, top)
        for finger, finger_joints in FINGER_JOINTS.items():
            middle = float(x[list(finger_joints)].mean())
            axes.text(middle, top * 0.985, finger, ha="center", va="top", color=_INK)
    return figure


_PANELS: Final = ("", "from the side", "from above")
"""Captions below the last row; the crop needs none."""
_PANEL_INCHES: Final = 1.55
_TRUE_COLOUR: Final = "#9aa0ac"
_GRID_MM: Final = 50.0
_MIN_REACH_MM: Final = 110.0
_GAP: Final = 0.12
"""Between two samples, in panels."""
_KEY: Final = (
    f"predicted in colours, true in white and grey; 3D relative to the wrist, squares of {_GRID_MM:g} mm"
)
# For each view: the axis across, the axis up, and their signs.
_VIEWS: Final = (((2, 1), (1, -1)), ((0, 2), (1, 1)))


@dataclass(frozen=True, eq=False)
class PoseSample:
    """One estimated hand and its truth, as a right hand."""

    caption: str
    """Written above it."""
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


def plot_pose_samples(rows: Sequence[tuple[str, Sequence[PoseSample]]]) -> Figure:
    """Rows of samples under their titles, three panels each: the crop, and two views of the hand in 3D."""
    columns = max(len(samples) for _, samples in rows)
    ratios = ([1.0] * len(_PANELS) + [_GAP]) * columns
    width, height = sum(ratios) * _PANEL_INCHES + 0.2, len(rows) * (_PANEL_INCHES + 0.5) + 0.35
    with new_figure(width, height) as figure:
        grid = figure.subplots(len(rows), len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for (title, samples), line in zip(rows, grid, strict=True):
            for number, sample in enumerate(samples):
                first = number * (len(_PANELS) + 1)
                _draw_crop(line[first], sample, f"{title}: {sample.caption}")
                for axes, (axis, sign) in zip(line[first + 1 :], _VIEWS, strict=False):
                    _draw_3d(axes, sample, axis, sign)
        for axes, name in zip(grid[-1], (*_PANELS, "") * columns, strict=True):
            _write_below(axes, name, 8, _INK)
        figure.supxlabel(_KEY, fontsize=8.5)
    return figure


def _draw_crop(axes: Axes, sample: PoseSample, title: str) -> None:
    size = len(sample.crop)
    axes.imshow(sample.crop, extent=(0, size, size, 0))
    _draw_bones(axes, sample.true_2d * size, sample.valid, colour="white", width=2.4)
    _draw_bones(axes, sample.predicted_2d * size, None, colour=_BONE_EDGE, width=2.2)
    _draw_bones(axes, sample.predicted_2d * size, None, colour=None, width=1.4)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_title(title, fontsize=9)
    _write_below(axes, sample.sample_id, 6.5, FAINT)


def _draw_3d(axes: Axes, sample: PoseSample, axis: tuple[int, int], sign: tuple[int, int]) -> None:
    """An orthographic view, which hides the third axis."""
    true, predicted = (joints[:, axis] * np.array(sign) for joints in (sample.true_mm, sample.predicted_mm))
    points = np.concatenate([true[sample.valid], predicted])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    # Wider only if it must be, so that sizes and errors of most hands can be compared.
    reach = max(_MIN_REACH_MM, float(np.abs(points - middle).max()) * 1.05)
    axes.set_axis_on()
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
    axes.set_aspect("equal")
    for set_ticks, low in ((axes.set_xticks, middle[0] - reach), (axes.set_yticks, middle[1] - reach)):
        set_ticks(np.arange(np.ceil(low / _GRID_MM) * _GRID_MM, low + 2 * reach, _GRID_MM))
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    _draw_bones(axes, true, sample.valid, colour=_TRUE_COLOUR, width=2.6)
    _draw_bones(axes, predicted, None, colour=None, width=1.4)


# Experiments

_OFFSET: Final = 0.09
"""Between the points of two rows in one column, in columns."""
_LETTER_INCHES: Final = 0.09
"""Width of a letter below the axis: names must not run into each other."""


def plot_table(table: "Table", metric: "Metric") -> Figure:
    """One metric of a table: a point for each mean, joined if its columns have an order.

    A row is a colour, a small dot a seed; what is missing is not drawn. Points and not bars, as differences
    are small beside the numbers.
    """
    from training.experiments.config import ORDERED_AXES
    from training.experiments.tables import AXIS_TITLES, MEAN_POSE

    places = [place for place, column in enumerate(table.columns) if column.metric == metric]
    rows = [
        (name, [row[place] for place in places])
        for name, row in zip(table.rows, table.cells, strict=True)
        if name != MEAN_POSE
    ]
    columns = table.columns_axis
    names = [str(table.columns[place].label) for place in places]
    if columns is None:  # then the rows stand side by side
        names = [name for name, _ in rows]
    spacing = max(0.9, _LETTER_INCHES * max(map(len, names)))
    with new_figure(max(5.6, 1.6 + spacing * len(names)), 3.8) as figure:
        axes = figure.subplots()
        for number, (name, cells) in enumerate(rows):
            start = number if columns is None else (number - (len(rows) - 1) / 2) * _OFFSET
            x = [start + place for place in range(len(cells))]
            colour = SERIES[number % len(SERIES)]
            _draw_cells(axes, x, cells, name, colour, joined=columns in ORDERED_AXES)
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        if table.reference is not None:
            axes.axhline(0, color=FAINT, linewidth=1.2)
        if MEAN_POSE in table.rows:
            mean_pose = table.cells[table.rows.index(MEAN_POSE)]
            _draw_baseline(axes, {mean_pose[place].mean for place in places}, MEAN_POSE)
        axes.set_xlabel(AXIS_TITLES[table.rows_axis if columns is None else columns])
        axes.set(title=table.title, ylabel=table.level_title(metric))
        axes.grid(visible=False, axis="x")
        if columns is not None:
            figure.legend(loc="outside lower left", fontsize=9, ncols=4)
    return figure


def _draw_cells(
    axes: Axes, x: Sequence[float], cells: "Sequence[Cell]", name: str, colour: str, *, joined: bool
) -> None:
    means = np.array([cell.mean for cell in cells], dtype=float)  # None becomes NaN
    bounds = np.array([cell.bounds or (cell.mean, cell.mean) for cell in cells], dtype=float)
    lengths = np.abs(bounds.T - means)
    axes.errorbar(
        x, means, lengths, color=colour, fmt="o-" if joined else "o", markersize=6, capsize=3, label=name
    )
    for place, cell in zip(x, cells, strict=True):
        axes.plot([place] * cell.n, [*cell.values.values()], ".", color=_INK, markersize=3, zorder=3)


def _draw_baseline(axes: Axes, levels: set[float | None], name: str) -> None:
    """A dashed line, if the level is the same in all columns."""
    level = levels.pop()
    if not levels and level is not None:
        axes.axhline(level, color=FAINT, linewidth=1.2, linestyle=_DASHES)
        axes.annotate(name, (axes.get_xlim()[1], level), ha="right", va="bottom", color=FAINT)


# Labelled datasets

_COLUMNS: Final = 5
_COLUMN_INCHES: Final = 1.6
_SIDE_VIEW: Final = 0.62
"""Width of the view from the side, in crops."""
_CROP_PX: Final = 224
_CROP_FACTOR: Final = 1.75
_SIDE_REACH_MM: Final = 120.0
_MIN_BOX_PX: Final = 16.0
"""Joints that all but coincide are shown with so much around them."""
_MAX_LETTERS: Final = 36
_BAD_COLUMNS: Final = 4
_REASON_LETTERS: Final = 46
_DATASET_KEY: Final = (
    "left hands are mirrored, as everywhere in handsim; beside each image the 3D joints from the side, the "
    "camera on the left"
)


def plot_dataset_samples(samples: "Sequence[LabelledHand]") -> Figure:
    """Each hand's crop with its 2D joints, and its 3D joints from the side; a colour a finger, thumb red."""
    rows = max(1, -(-len(samples) // _COLUMNS))
    ratios = [1.0, _SIDE_VIEW] * _COLUMNS
    with new_figure(sum(ratios) * _COLUMN_INCHES + 0.2, rows * (_COLUMN_INCHES + 0.5) + 0.35) as figure:
        grid = figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, sample in enumerate(samples):
            row, column = divmod(number, _COLUMNS)
            _draw_labelled_picture(grid[row, 2 * column], sample)
            _draw_side_view(grid[row, 2 * column + 1], sample)
        figure.set_layout_engine("constrained", h_pad=0.2, hspace=0)
        figure.supxlabel(_DATASET_KEY, fontsize=8.5)
    return figure


def plot_bad_labels(hands: "Sequence[tuple[LabelledHand, BadHand]]") -> Figure:
    """As `plot_dataset_samples`, with the reasons; 3D joints that project elsewhere are white."""
    rows = -(-len(hands) // _BAD_COLUMNS)
    ratios = [1.0, _SIDE_VIEW] * _BAD_COLUMNS
    with new_figure(sum(ratios) * _COLUMN_INCHES + 0.2, rows * (_COLUMN_INCHES + 0.9) + 0.35) as figure:
        grid = figure.subplots(rows, len(ratios), squeeze=False, width_ratios=ratios)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, (sample, hand) in enumerate(hands):
            row, column = divmod(number, _BAD_COLUMNS)
            axes = grid[row, 2 * column]
            _draw_labelled_picture(axes, sample)
            _draw_projection(axes, sample)
            _draw_side_view(grid[row, 2 * column + 1], sample)
            why = [line for reason in hand.reasons[:2] for line in wrap(reason, _REASON_LETTERS)]
            axes.set_title("\n".join([f"labelled {sample.side}", *why[:3]]), fontsize=7.5)
        figure.set_layout_engine("constrained", h_pad=0.2, hspace=0)
        figure.supxlabel(f"{_DATASET_KEY}; white: the 3D joints, projected", fontsize=8.5)
    return figure


def _draw_projection(axes: Axes, sample: "LabelledHand") -> None:
    """Over a picture of `_draw_labelled_picture`, where it is not the labelled one."""
    projected = sample.joints_3d_mm.astype(np.float64) @ sample.intrinsics.T
    points = projected[:, :2] / projected[:, 2:]
    if not np.isfinite(points).any():
        return  # the set has 2D joints alone
    if np.nanmax(np.abs(points - sample.keypoints_2d_px)) < 1:
        return
    inside = apply_affine(crop_affine(_labelled_square(sample), _CROP_PX), points)
    _draw_bones(axes, inside, sample.valid, colour="white", width=0.7)


def _labelled_square(sample: "LabelledHand") -> NDArray[np.float64]:
    """The part of the image that is drawn: around the 2D joints, or all of it without any."""
    valid = sample.valid & np.isfinite(sample.keypoints_2d_px).all(axis=1)
    if not valid.any():
        return square_around(np.array([0.0, 0.0, *sample.size_px]), 1.0)
    box = box_around(sample.keypoints_2d_px[valid])
    margin = np.maximum(_MIN_BOX_PX - (box[2:] - box[:2]), 0) / 2
    return square_around(np.concatenate([box[:2] - margin, box[2:] + margin]), _CROP_FACTOR)


def _draw_labelled_picture(axes: Axes, sample: "LabelledHand") -> None:
    """The crop, or the whole image of a hand without an annotated joint."""
    valid = sample.valid & np.isfinite(sample.keypoints_2d_px).all(axis=1)
    square = _labelled_square(sample)
    axes.imshow(cut_crop(sample.image, square, _CROP_PX), extent=(0, _CROP_PX, _CROP_PX, 0))
    points = apply_affine(crop_affine(square, _CROP_PX), sample.keypoints_2d_px)
    _draw_bones(axes, points, valid, colour=_BONE_EDGE, width=2.4)
    _draw_bones(axes, points, valid, colour=None, width=1.5)
    axes.set(xlim=(0, _CROP_PX), ylim=(_CROP_PX, 0))
    missing = int((~sample.valid).sum())
    axes.set_title(sample.side + (f", {missing} of {JOINT_COUNT} missing" if missing else ""), fontsize=9)
    folder, _, name = sample.sample_id.partition("/")
    text = _write_below(axes, f"{_shorten(folder)}\n{_shorten(name)}", 6.5, FAINT)
    text.set_in_layout(False)  # it may reach below the view beside it


def _draw_side_view(axes: Axes, sample: "LabelledHand") -> None:
    """An orthographic view; away from the camera is to the right."""
    if not np.isfinite(sample.joints_3d_mm[sample.valid]).any():
        return
    joints = sample.joints_3d_mm[:, (2, 1)]
    middle = (joints[sample.valid].min(axis=0) + joints[sample.valid].max(axis=0)) / 2
    _draw_bones(axes, joints - middle, sample.valid, colour=None, width=1.4)
    # Wider only if it must be, so that sizes of hands can be compared.
    extent = float(np.abs((joints - middle)[sample.valid] / (_SIDE_VIEW, 1)).max())
    reach = max(_SIDE_REACH_MM, 1.05 * extent)
    axes.set(xlim=(-reach * _SIDE_VIEW, reach * _SIDE_VIEW), ylim=(reach, -reach), aspect="equal")


def _shorten(text: str) -> str:
    half = _MAX_LETTERS // 2
    return text if len(text) <= _MAX_LETTERS else f"{text[: half - 1]}…{text[-half:]}"
