"""What commands share: finding the home, the index and a checkpoint; help; tables; progress bars.

Functions that take ``options`` read what every command has: ``--home``, ``--index`` and ``--patience``.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tqdm import tqdm

from apps.cli.main import shared_options
from handsim.embedding import Embedding, PoseEmbedding, load_embedding
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError, UnavailableError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, open_catalog
from index.server.address import parse_patience

_T = TypeVar("_T")
_FILE_ENDINGS: Final = frozenset(
    (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".npy", ".npz", ".tar", ".zip", ".html", ".xlsx")
) | frozenset((".png", ".jpg", ".jpeg", ".webp", ".pdf", ".mp4", ".onnx"))
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def add_action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, line: str
) -> argparse.ArgumentParser:
    """Declare an action of a command; the line says what it does, in the command's help and in its own."""
    description = f"{line[0].upper()}{line[1:]}."
    return actions.add_parser(name, help=line, description=description, parents=[shared_options()])


def option_type(make: Callable[[str], _T]) -> Callable[[str], _T]:
    """For ``type=`` of an option: argparse hides what an error says unless it is of its own kind."""

    def parse(text: str) -> _T:
        try:
            return make(text)
        except HandsimError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse


def find_home(options: argparse.Namespace) -> Home:
    """The directory that ``--home`` names, or the default one."""
    return Home.find(options.home)


def format_command(options: argparse.Namespace, command: str) -> str:
    """A command line to go on with, on this one's home and index: ``handsim index build --home h``."""
    given = {name: getattr(options, name) for name in ("home", "index", "patience")}
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    return " ".join(["handsim", command, *words])


def find_catalog(options: argparse.Namespace) -> Catalog:
    """The index that ``--index`` names, or the home's."""
    return open_index(options, options.index or find_home(options).index)


def open_index(options: argparse.Namespace, address: str) -> Catalog:
    """The index at an address; whoever sits before the terminal is told when its server is waited for."""
    return open_catalog(
        address,
        folders=EncoderFolders(find_home(options)),
        patience_s=None if options.patience is None else parse_patience(options.patience),
        on_wait=_tell_wait,
    )


def _tell_wait(error: UnavailableError | None, seconds: float) -> None:
    if error is None:
        line = f"it answers again, after {seconds:.0f} s"
    elif seconds < 1:  # patience ended while a node accepted a request and never answered
        line = f"trying once more: {error}"
    else:
        line = f"waiting {seconds:.0f} s at most: {error}"
    tqdm.write(f"handsim: {line}", file=sys.stderr)  # above a progress bar, if there is one


@dataclass(frozen=True)
class EncoderFolders:
    """Folders that may hold the encoders of image embeddings, which a server does not store: the home and the
    ``feedback`` folder of each run, where training once put those of the index versions that it made.
    """

    home: Home

    def __iter__(self) -> Iterator[Path]:
        return iter([self.home.path, *sorted(self.home.runs.glob("*/feedback"))])


def load_or_fit_embedding(home: Home, pool: Pool) -> tuple[Embedding, bool]:
    """The home's embedding and False; where it has none, one of poses that is fitted and saved, and True."""
    if home.embedding.exists():
        return load_embedding(home.embedding), False
    embedding = PoseEmbedding.fit(pool)
    embedding.save(home.embedding)
    return embedding, True


def choose_format(out: Path, endings: Mapping[str, str], given: str | None) -> str:
    """The format to write ``out`` in: ``given``, else that of its ending, without an ending the first one.

    ``endings`` are of the formats. Raises HandsimError for an ending that says another one.
    """
    ending = out.suffix.lower()
    by_ending = {ending: format_ for format_, ending in endings.items()}
    if ending and ending not in by_ending:
        *others, last = by_ending
        raise HandsimError(
            f"{out} ends in {out.suffix}; name it {', '.join(others)} or {last}, as what it is"
        )
    named = by_ending.get(ending, given or next(iter(endings)))
    if given not in (None, named):
        raise HandsimError(f"--format is {given} and {out} ends as {named} does; leave one of them out")
    return named


def check_folder_name(option: str, folder: Path) -> None:
    """Raise HandsimError for a new folder that is named as a file, so that another format may be meant."""
    if folder.suffix.lower() in _FILE_ENDINGS and not folder.is_dir():
        raise HandsimError(
            f"{option} {folder} ends as a file does, and a folder is written; leave out {folder.suffix}"
        )


def describe_fit(home: Home, embedding: Embedding) -> str:
    """That `load_or_fit_embedding` fitted one, in a sentence."""
    hands = pluralize(embedding.to_json()["fitted_hands"], "hand")
    return f"fitted the embedding {home.embedding} on {hands} (`handsim embedding show`)"


def find_checkpoint(name: str, home: Home, *, best: bool = False) -> tuple[Path, str]:
    """The checkpoint at a path, or the last (or best) one of a run of the home, and a name to show for it.

    Raises NotThereError if ``name`` is neither.
    """
    path = Path(name)
    if path.is_file():
        if best:
            raise HandsimError(f"--best chooses among a run's checkpoints, and {path} is one; leave it out")
        return path, path.name
    is_run_name = path.name == name  # a path must not lead out of the runs
    checkpoint = home.runs / path.name / "checkpoints" / ("best.ckpt" if best else "last.ckpt")
    if is_run_name and checkpoint.is_file():
        return checkpoint, f"{name}/{checkpoint.name}"
    if is_run_name and checkpoint.parent.is_dir():
        others = ", ".join(sorted(file.name for file in checkpoint.parent.glob("*.ckpt"))) or "none"
        raise NotThereError(
            f"run {name} has no {checkpoint.name} (it has {others}); let it train on, or give a file"
        )
    runs = sorted(folder.parent.name for folder in home.runs.glob("*/checkpoints"))
    raise NotThereError(
        f"there is no checkpoint at {name}, and no run of that name in {home.runs} "
        f"(runs with checkpoints: {', '.join(runs) or 'none'}); give one of them, or a file"
    )


def find_estimator(name: str, home: Home, *, last: bool = False) -> Path:
    """As `find_checkpoint`, of a fine-tuned estimator: a run's best checkpoint, or its last one."""
    return find_checkpoint(name, home, best=not last and not Path(name).is_file())[0]


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; one whose heading begins with ``>`` is aligned to the right."""
    is_right = [heading.startswith(">") for heading in header]
    lines = [
        [heading.lstrip(">") for heading in header],
        *([printable(cell) for cell in row] for row in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, is_right, strict=True)
        ).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Names may hold line breaks, and codes that move the cursor."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def disarm_formula(value: object) -> object:
    """A cell of CSV: spreadsheets run texts with such a beginning as formulas, and names may have one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def shorten(name: str, width: int) -> str:
    """A name in ``width`` letters: its end says more than the folders before it."""
    if len(name) <= width:
        return name
    tail = width * 2 // 3
    return f"{name[: width - tail - 3]}...{name[-tail:]}"


@contextmanager
def progress_bar(title: str, unit: str = "hand") -> Iterator[Callable[[int, int], None]]:
    """A progress bar; the function it gives takes how many units are done and how many there are."""
    # disable=None: no bar where the output is not a terminal.
    with tqdm(desc=title, unit=f" {unit}s", unit_scale=True, dynamic_ncols=True, disable=None) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
