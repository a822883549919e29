"""The results page, as a visitor meets it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from apps.browser.results.pairs_3d import group_rows
from tests.apps.browser.builders import write_experiment, write_pose_report, write_retrieval
from tests.apps.browser.conftest import Visit

pytestmark = pytest.mark.slow


def test_where_there_is_nothing_it_says_how_to_make_some(visit: Visit, tmp_path: Path) -> None:
    page = visit(tmp_path, "results")
    for kind, command in (
        ("Poses", "evaluate pose"),
        ("Retrieval", "evaluate retrieval"),
        ("Experiments", "experiment run"),
    ):
        page.segmented_control(key="of").set_value(kind).run()
        assert page.code[0].value.startswith(f"handsim --home {tmp_path} {command}")


def test_poses_are_compared_under_the_alignment_of_the_papers(visit: Visit, tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "b", error_mm=30.0, note="another")
    good = write_pose_report(tmp_path / "runs" / "a", error_mm=10.0)
    (good / "figures").mkdir()
    Image.new("RGB", (8, 8)).save(good / "figures" / "samples.png")
    (write_pose_report(tmp_path / "runs" / "bad") / "pose.json").write_text("{")
    page = visit(tmp_path, "results")
    assert page.selectbox(key="alignment").value == "root_scale"
    table = page.dataframe[0].value
    assert table["Evaluation"].tolist()[:2] == ["a", "b"]
    assert table["Best"].tolist()[0].startswith("★ MPJPE")
    assert page.multiselect(key="curves").value == ["a", "b"]
    assert any("evaluate them anew: bad" in caption.value for caption in page.caption)
    page.selectbox(key="alignment").set_value("procrustes").run()
    assert "Procrustes" in "".join(block.value for block in page.markdown)


def test_seeds_are_one_row_until_they_are_asked_for(visit: Visit, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_pose_report(tmp_path / "runs" / f"run-s{seed}", error_mm=10.0 * seed, seed=seed)
    page = visit(tmp_path, "results")
    assert page.dataframe[0].value["Evaluation"].tolist()[0] == "run-s*"
    assert page.selectbox(key="closer_seed").value == "seed 1"
    page.toggle(key="over_seeds").set_value(False).run()
    assert page.dataframe[0].value["Evaluation"].tolist()[:2] == ["run-s1", "run-s2"]


def test_retrieval_has_its_table(visit: Visit, tmp_path: Path) -> None:
    write_retrieval(tmp_path / "runs" / "first")
    page = visit(tmp_path, "results")
    assert page.segmented_control(key="of").value == "Retrieval"
    assert page.dataframe[0].value["Recall@1"].tolist() == [0.9]


def test_pairs_in_3d_are_charts_by_what_was_measured(visit: Visit, tmp_path: Path) -> None:
    means = {"pairs": 9, "aligned_mm": 29.4, "xy_mm": 15.7, "depth_mm": 22.2, "procrustes_mm": 10.0}
    groups = {"by_rank": {"1": means, "2": {**means, "xy_mm": None}}, "by_view": {"facing": means}}
    pairs = {"mined": means, "oracle": means, **groups, "by_noise": {}, "weights": None}
    write_retrieval(tmp_path / "runs" / "first")
    write_retrieval(tmp_path / "runs" / "second", pairs_3d=pairs)
    page = visit(tmp_path, "results")
    assert page.selectbox(key="retrieval_run").value == "second"
    titles = [block.value for block in page.markdown if block.value.startswith("**")]
    assert titles == [
        "**Mined pairs, between the nearest in 3D and random ones**",
        "**By rank of the neighbour**",
        "**By view of the palm**",
    ]
    rows = group_rows(pairs, "by_rank")
    assert [(row["group"], row["part"], row["mm"]) for row in rows] == [
        *[("1", "in 3D", 29.4), ("1", "in the picture", 15.7), ("1", "in depth", 22.2)],
        *[("2", "in 3D", 29.4), ("2", "in depth", 22.2)],
    ]
    for damaged in ('{"by_rank": null}', '{"by_rank": []}', '{"by_rank": {"1": 3}}'):
        assert group_rows(json.loads(damaged), "by_rank") == []


def test_an_experiment_has_its_tables(visit: Visit, tmp_path: Path) -> None:
    write_experiment(tmp_path / "experiments" / "main")
    page = visit(tmp_path, "results")
    assert page.segmented_control(key="of").value == "Experiments"
    assert "3 of 4 runs are done, 1 failed" in "".join(block.value for block in page.markdown)
    assert page.table[0].value.iloc[0, 1] == "★ **13.00 ± 1.41**"


def test_what_an_address_asks_that_is_not_there_is_passed_over(visit: Visit, tmp_path: Path) -> None:
    write_pose_report(tmp_path / "runs" / "a")
    page = visit(tmp_path, "results", of="Everything", split="../..", closer="/etc/passwd", curves=["x"])
    assert page.selectbox(key="closer").value == "a"
