"""Child processes, started in a directory whose files are named as our packages: none of them is imported."""

from pathlib import Path

import pytest
import yaml

from apps.browser.entry import app
from apps.browser.index import actions
from apps.browser.library import Library
from apps.browser.map.build import start_job
from apps.browser.serve import BrowserSettings, run_server
from apps.cli import main
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.apps.browser.builders import wait_for_job
from tests.training.experiments.builders import SHORT

NAMES = ("handsim", "index", "training", "apps", "streamlit", "pip")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; each of its files leaves a trace when it is imported."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(f"open('{name}.imported', 'w')\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_browser_and_its_jobs(own_home: Path, directory: Path) -> None:
    library = Library(BrowserSettings(own_home))
    actions.start_build(library, publish=True, settings=library.catalog.info("v0001").settings)
    assert wait_for_job(library.jobs, "build").record.error is None
    start_job(library.jobs, library.settings, "v0009")
    assert "v0009" in (wait_for_job(library.jobs, "map").record.error or "")
    with run_server(own_home):
        pass
    assert not list(directory.glob("*.imported"))


@pytest.mark.slow
def test_the_steps_of_an_experiment(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first of them fails, which ends the command with 1; those that need it are not done."""
    content = {
        **SHORT,
        "data": {"pools": {"some": {"hands": 3}}, "datasets": {"d": {"root": str(directory)}}},
        "axes": {"methods": {"start": {"init": "start"}}, "seeds": [1]},
    }
    synthesise_pool(directory / "home" / "pool", SyntheticConfig(videos=1, hands_per_video=2, size_px=32))
    (directory / "little.yaml").write_text(yaml.safe_dump(content))
    assert main(["experiment", "run", "little.yaml", "--jobs", "1", "--home", "home"]) == 1
    output = capsys.readouterr().out
    assert "pool some: failed, handsim: 3 hands cannot be taken of " in output
    assert "\nfailed: pool some; its log is " in output
    assert "\n3 more steps need what failed, and were not done\n" in output
    (log,) = directory.glob("home/experiments/steps/*/log.txt")
    assert "handsim: 3 hands cannot be taken of" in log.read_text()
    assert not list(directory.glob("*.imported"))


def test_streamlit_is_given_a_folder_without_packages() -> None:
    """It puts the folder of its script first on sys.path, where apps/browser/index would be `index`."""
    folder = Path(app.__file__).parent
    assert not {path.stem for path in folder.iterdir()} & set(NAMES)
