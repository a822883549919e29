"""The training page, as a visitor meets it."""

import shutil
import time
from pathlib import Path

from PIL import Image

from apps.browser.training.curves import MOST_POINTS
from tests.apps.browser.conftest import Visit
from tests.apps.browser.training.run_files import NOW, loss_lines, write_run


def _running(path: Path, count: int = 5) -> Path:
    """A run that wrote a moment ago."""
    return write_run(path, loss_lines(count), age_s=NOW - time.time())


def _charts(page: object) -> list[str]:
    return [block.value for block in page.markdown if block.value.startswith("**")]  # type: ignore[attr-defined]  # AppTest's own lists are untyped


def test_without_a_run_it_says_how_to_make_one(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path, "training")
    assert not page.exception
    assert page.code[0].value.startswith(f"handsim --home {tmp_path} pretrain")
    _running(tmp_path / "runs" / "first")
    page.run()
    assert page.multiselect(key="run").value == ["first"]


def test_at_first_it_shows_the_runs_that_go_on(visit: Visit, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "old", loss_lines(10))
    _running(tmp_path / "runs" / "new")
    page = visit(tmp_path, "training")
    assert not page.exception
    assert page.multiselect(key="run").value == ["new"]
    assert _charts(page) == [
        *("**Loss**", "**Images a second**", "**Learning rate**"),
        *("**Waiting for data**", "**… of it for the index**"),
    ]


def test_the_address_says_which_are_compared(visit: Visit, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_run(tmp_path / "runs" / name, loss_lines(MOST_POINTS * 3, every=1), steps=MOST_POINTS * 3)
    page = visit(tmp_path, "training", run=["c", "a", "../../etc"], scale="logarithmic", smoothing="0.9")
    assert not page.exception
    assert page.multiselect(key="run").value == ["c", "a"]
    assert page.segmented_control(key="scale").value == "logarithmic"
    assert page.slider(key="smoothing").value == 0.9


def test_a_run_that_is_removed_while_it_is_looked_at_goes(visit: Visit, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _running(tmp_path / "runs" / name)
    page = visit(tmp_path, "training", run=["a", "b"])
    shutil.rmtree(tmp_path / "runs" / "b")
    page.run()
    assert not page.exception
    assert page.multiselect(key="run").value == ["a"]


def test_the_latest_picture_is_shown_until_another_is_asked_for(visit: Visit, tmp_path: Path) -> None:
    run = _running(tmp_path / "runs" / "a")
    (run / "figures").mkdir()

    def draw(step: int) -> None:
        Image.new("RGB", (8, 8)).save(run / "figures" / f"pairs-{step:07d}.png")

    draw(1)
    draw(10)
    page = visit(tmp_path, "training")
    slider = page.select_slider(key="figure_step_a")
    assert slider.value == 10
    draw(20)
    page.run()
    assert page.select_slider(key="figure_step_a").value == 20
    page.select_slider(key="figure_step_a").set_value(1).run()
    draw(30)
    page.run()
    assert not page.exception
    assert page.select_slider(key="figure_step_a").value == 1
