"""The directory a user works in, where every command finds its things."""

import os
import re
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from handsim.errors import HandsimError


@dataclass(frozen=True)
class Home:
    """Where the pool, the embedding, the index and the runs of one project lie; none need exist yet."""

    path: Path

    @classmethod
    def find(cls, path: str | Path | None = None) -> "Home":
        """``path``, else the environment's ``HANDSIM_HOME``, else ``./handsim-home``."""
        return cls(Path(path or os.environ.get("HANDSIM_HOME") or "handsim-home"))

    @property
    def pool(self) -> Path:
        """The hands."""
        return self.path / "pool"

    @property
    def embedding(self) -> Path:
        """The embedding that the next index is built with."""
        return self.path / "embedding.json"

    @property
    def index(self) -> str:
        """The address of the index: what ``handsim.toml`` says, else the directory ``index``.

        ``index = "http://host:6333"`` there names a server, ``index = "../shared-index"`` a directory,
        relative to the home. Raises HandsimError for a file that says anything else but ``[browser]``.
        """
        file = self.path / "handsim.toml"
        if not file.exists():
            return str(self.path / "index")
        try:
            settings = tomllib.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise HandsimError(f"{file} cannot be read as TOML: {error}") from error
        settings.pop("browser", None)  # `handsim browse` reads it
        address = settings.pop("index", "index")
        if settings or not isinstance(address, str):
            raise HandsimError(
                f'{file} says {", ".join(settings) or "index"}; it may hold index = "PATH or URL" '
                "and the table [browser.sign_in]"
            )
        return address if "://" in address else str(self.path / address)

    @property
    def runs(self) -> Path:
        """A directory for each evaluation or training run."""
        return self.path / "runs"

    def run(self, name: str) -> Path:
        """The directory of one run; raises HandsimError for a name that is no plain directory name."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise HandsimError(f"run name {name!r} has other characters than letters, digits and ._-")
        return self.runs / name

    def random_pairs(self, index: str | None = None) -> Path:
        """Where distances of random pairs are kept, of the home's index or of another one."""
        folder = self.path / "random-pairs"
        return folder if index is None else folder / f"of-{sha256(index.encode()).hexdigest()[:16]}"

    @property
    def lists(self) -> Path:
        """Named lists of hands, see `handsim.lists`."""
        return self.path / "lists"

    @property
    def views(self) -> Path:
        """Saved views of the browser, see `handsim.views`."""
        return self.path / "views.json"

    @property
    def trays(self) -> Path:
        """The hands that each visitor of the browser has chosen and not yet saved."""
        return self.path / "trays"

    @property
    def uploads(self) -> Path:
        """The pictures that were added in the browser, in a folder for each person or recording."""
        return self.path / "uploads"

    @property
    def jobs(self) -> Path:
        """The jobs that the browser started, and their progress."""
        return self.path / "jobs"

    @property
    def ingest_report(self) -> Path:
        """The report of the last ingest."""
        return self.path / "ingest-report.json"
