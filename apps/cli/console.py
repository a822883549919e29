"""Aligned tables for the terminal.

Progress bars on the terminal.

Where a command finds its home and its index.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from handsim.embedding import Embedding, PoseEmbedding, load_embedding
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, open_catalog


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; a heading that begins with ``>`` puts its column to the right."""
    to_right = [heading.startswith(">") for heading in header]
    lines = [[heading.lstrip(">") for heading in header], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_right, strict=True)
        ).rstrip()
        for line in lines
    )


@contextmanager
def progress_bar(what: str, unit: str = "hand") -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total) and shows rate and time left."""
    # disable=None: silent where nobody watches, in a log or a pipe.
    with tqdm(desc=what, unit=f" {unit}s", unit_scale=True, dynamic_ncols=True, disable=None) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


def say(line: str) -> None:
    """Print a line, above the bar if one is shown."""
    tqdm.write(line)


def home_of(options: argparse.Namespace) -> Home:
    """The directory that ``--home`` names, or the default one."""
    return Home.find(options.home)


def catalog_of(options: argparse.Namespace) -> Catalog:
    """The index that ``--index`` names, or the home's."""
    home = home_of(options)
    return open_catalog(options.index or home.index, folders=EncoderFolders(home))


@dataclass(frozen=True)
class EncoderFolders:
    """Where encoders may lie, whose weights a server does not keep: the home, and its runs' feedback.

    Looked up whenever they are gone through, for runs begin while an index is open.
    """

    home: Home

    def __iter__(self) -> Iterator[Path]:
        return iter([self.home.path, *sorted(self.home.runs.glob("*/feedback"))])


def embedding_of(home: Home, pool: Pool) -> tuple[Embedding, bool]:
    """The home's embedding and whether it was there; otherwise poses are fitted, and kept."""
    if home.embedding.exists():
        return load_embedding(home.embedding), True
    embedding = PoseEmbedding.fit(pool)
    embedding.save(home.embedding)
    return embedding, False


def estimator_of(given: str, home: Home, *, last: bool = False) -> Path:
    """The fine-tuned estimator's checkpoint: a file, or the best one of a run's name, or its last one.

    Raises NotThereError for what is neither.
    """
    best = not last and not Path(given).is_file()
    return checkpoint_of(given, home, best=best)[0]


def checkpoint_of(given: str, home: Home, *, best: bool = False) -> tuple[Path, str]:
    """The checkpoint of a file or of a run's name in the home, and what to call it where that is not known.

    Of a run it is the last one, or the best one. Raises NotThereError for what is neither.
    """
    path = Path(given)
    if path.is_file():
        if best:
            raise HandsimError(f"--best chooses among a run's checkpoints, and {path} is one; leave it out")
        return path, path.name
    is_name = path.name == given  # and not a path, which must not lead out of the runs
    found = home.runs / path.name / "checkpoints" / ("best.ckpt" if best else "last.ckpt")
    if is_name and found.is_file():
        return found, f"{given}/{found.name}"
    if is_name and found.parent.is_dir():
        kept = ", ".join(sorted(file.name for file in found.parent.glob("*.ckpt"))) or "none"
        raise NotThereError(
            f"run {given} has no {found.name} (it has {kept}); let it train on, or give a file"
        )
    runs = sorted(folder.parent.name for folder in home.runs.glob("*/checkpoints"))
    raise NotThereError(
        f"there is no checkpoint at {given}, and no run of that name in {home.runs} "
        f"(runs with checkpoints: {', '.join(runs) or 'none'}); give one of them, or a file"
    )
