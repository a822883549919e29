"""``handsim evaluate encoder --labels``: frozen encoders on labelled photographs: JSON and tables."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from apps.cli.console import find_checkpoint, find_home, format_table, progress_bar
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.home import Home
from handsim.pool import Pool

if TYPE_CHECKING:
    from training.evaluation.encoders import EncoderFile, EncoderReport, Score

REPORT_FILE: Final = "encoder.json"
BASELINE_NAMES: Final = ("pose", "random", "pixels")
"""Those of `training.evaluation.encoders`, for the help, which must not load torch; a test compares them."""
_EPILOG: Final = """\
The pool's labels are predicted, those of each person (a video of the pool) from the other people: by a
linear probe, by the ten nearest hands, and by the nearest one in an index of 64 components, as `handsim
embedding fit --encoder` makes it. Encoders of one name are seeds of one method, the same seeds in the same
order for each name:

  handsim evaluate encoder --labels --encoder ours=1.ckpt --encoder ours=2.ckpt --encoder peclr=3.ckpt ...

Into runs/NAME/ goes encoder.json.
"""


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    line = "predict the labels of the pool's hands (needed: there is nothing else yet)"
    parser.add_argument("--labels", action="store_true", required=True, help=line)
    line = (
        "a checkpoint's file, a run of the home, or an architecture's name for ImageNet's weights; "
        "may be given several times"
    )
    parser.add_argument("--encoder", action="append", default=[], metavar="[NAME=]FILE|RUN", help=line)
    line = "rows to compare with: the pose embedding, a network with random weights, 16 x 16 pixels (all)"
    parser.add_argument("--baselines", nargs="*", choices=BASELINE_NAMES, default=BASELINE_NAMES, help=line)
    line = "the row that differences are taken to (default: the first one)"
    parser.add_argument("--reference", metavar="NAME", help=line)
    line = "the side that crops are resized to (default: that of the views in training, else 224)"
    parser.add_argument("--size", type=int, metavar="PX", help=line)
    line = "random hands to take where there are more (%(default)s)"
    parser.add_argument("--sample", type=int, default=10_000, metavar="N", help=line)
    parser.add_argument("--seed", type=int, default=0, help="of folds and random weights (%(default)s)")
    line = "auto: a GPU where there is one (%(default)s)"
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help=line)
    line = "name of the directory in runs/ (%(default)s)"
    parser.add_argument("--name", default="encoder", metavar="RUN", help=line)
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from training.evaluation.encoders import EncoderRequest, evaluate_encoders

    home = find_home(options)
    pool = Pool.open(home.pool)
    folder = home.run(options.name)
    request = EncoderRequest(
        encoders=tuple(_parse_encoder(text, home) for text in options.encoder),
        baselines=tuple(options.baselines),
        reference=options.reference,
        size_px=options.size,
        sample=options.sample,
        seed=options.seed,
        device=options.device,
    )
    with progress_bar("encoding and probing", "encoder") as progress:
        report = evaluate_encoders(pool, request, progress)
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"pool": str(pool.path), "seed": request.seed, **asdict(report)}
    write_text_atomically(folder / REPORT_FILE, json.dumps(content, indent=1) + "\n")
    print(format_encoder_report(report))
    print(f"\nwritten to {folder}")
    return 0


def _parse_encoder(text: str, home: Home) -> "EncoderFile":
    """``NAME=WHAT`` or ``WHAT``, which is its own name; raises NotThereError where there is no such thing."""
    from handsim.embedding.image import FEATURES
    from training.evaluation.encoders import EncoderFile

    name, equals, what = text.partition("=")
    if not equals or Path(text).is_file():
        name = what = text
    if not name or not what:
        raise HandsimError(f"--encoder is {text!r}; give a file, or NAME=FILE")
    return EncoderFile(name, what if what in FEATURES else str(find_checkpoint(what, home)[0]))


def format_encoder_report(report: "EncoderReport") -> str:
    """Which hands, the scores, and the differences to the reference."""
    from training.evaluation.encoders import MEASURES

    lines = [
        f"{pluralize(report.hands, 'hand')} of {report.people:,} people or videos, "
        f"{pluralize(report.labels, 'label')}; the most frequent one is right for {report.chance:.1%}"
    ]
    if report.left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.left_out.items())
        lines.append(f"left out: {reasons}")
    header = ["accuracy, %", *(f">{title}" for title in MEASURES.values())]
    rows = [[row, *(_percent(scores[name]) for name in MEASURES)] for row, scores in report.scores.items()]
    parts = ["\n".join(lines), format_table(header, rows)]
    if len(report.scores) > 1:
        header[0] = f"minus {report.reference}, points"
        rows = [
            [row, *(_points(scores[name]) for name in MEASURES)]
            for row, scores in report.scores.items()
            if row != report.reference
        ]
        parts.append(format_table(header, rows))
    return "\n\n".join([*parts, _describe_intervals(report)])


def _percent(score: "Score") -> str:
    text = f"{100 * score.mean:.1f}"
    if score.interval is None:
        return text
    low, high = score.interval  # a share, which the t-interval over seeds does not know
    return f"{text} [{100 * max(low, 0.0):.1f}, {100 * min(high, 1.0):.1f}]"


def _points(score: "Score") -> str:
    assert score.difference is not None
    text = f"{100 * score.difference:+.1f}"
    if score.difference_interval is None:
        return text
    low, high = score.difference_interval
    mark = " *" if low > 0 or high < 0 else "  "
    return f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]{mark}"


def _describe_intervals(report: "EncoderReport") -> str:
    from training.experiments.tables import FEWEST_PEOPLE

    line = "[ ]: intervals of 95 % over people, and over seeds where a row has several; *: without 0 in it"
    if report.people < FEWEST_PEOPLE:
        line += f"\nthere are fewer than {FEWEST_PEOPLE} people, so intervals are too narrow"
    return line
