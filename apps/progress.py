"""Progress bars on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


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
