"""The training page, as a visitor meets it."""

import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from apps.browser.training.curves import MOST_POINTS
from tests.apps.browser.builders import NOW, loss_lines, write_run
from tests.apps.browser.conftest import Visit

pytestmark = pytest.mark.slow


def _running(path: Path) -> Path:
    """A run that wrote a moment ago."""
    return write_run(path, loss_lines(5), age_s=NOW - time.time())


def test_without_a_run_the_page_says_how_to_make_one(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path, "training")
    assert page.code[0].value.startswith(f"handsim --home {tmp_path} pretrain")
    write_run(tmp_path / "runs" / "old", loss_lines(10))
    _running(tmp_path / "runs" / "new")
    page.run()
    assert page.multiselect(key="run").value == ["new"]  # at first those that are running
    assert [block.value for block in page.markdown if block.value.startswith("**")] == [
        *("**Loss**", "**Images a second**", "**Learning rate**"),
        *("**Waiting for data**", "**… of it for the index**"),
    ]


def test_the_address_names_the_runs_until_they_are_removed(visit: Visit, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_run(tmp_path / "runs" / name, loss_lines(MOST_POINTS * 2, every=1), steps=MOST_POINTS * 2)
    page = visit(tmp_path, "training", run=["c", "a", "../../etc"], scale="logarithmic", smoothing="0.9")
    assert page.multiselect(key="run").value == ["c", "a"]
    assert page.segmented_control(key="scale").value == "logarithmic"
    assert page.slider(key="smoothing").value == 0.9
    shutil.rmtree(tmp_path / "runs" / "c")
    page.run()
    assert page.multiselect(key="run").value == ["a"]


def test_the_latest_picture_is_shown_until_another_is_asked_for(visit: Visit, tmp_path: Path) -> None:
    run = _running(tmp_path / "runs" / "a")
    (run / "figures").mkdir()

    def draw(step: int) -> None:
        Image.new("RGB", (8, 8)).save(run / "figures" / f"pairs-{step:07d}.png")

    draw(1)
    draw(10)
    page = visit(tmp_path, "training")
    slider = page.select_slider(key="figure_step")
    assert slider.value == 10
    draw(20)
    page.run()
    assert page.select_slider(key="figure_step").value == 20
    page.select_slider(key="figure_step").set_value(1).run()
    draw(30)
    page.run()
    assert page.select_slider(key="figure_step").value == 1
