"""``handsim evaluate encoder``: a table, its JSON, counted exclusions, and one line where it cannot be."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from apps.cli.evaluate_encoder import BASELINE_NAMES
from handsim import Pool, PoolWriter
from handsim.images import encode_jpeg
from tests.apps.commands import Capture, run_ok, run_refused
from tests.handsim.builders import CROP_PX, make_hand
from training.evaluation.encoders import MEASURES, Baseline

SIZE = ("--size", "32")


def write_people(path: Path, hands: Iterable[tuple[str, str | None]]) -> Pool:
    """Hands by person and label: a label is a colour, which every person's light changes a little."""
    with PoolWriter(path, crop_size_px=CROP_PX) as writer:
        for number, (person, label) in enumerate(hands):
            random = np.random.default_rng(number)
            colour = np.array({"a": (220, 40, 40), "b": (40, 40, 220)}.get(label or "", (90, 90, 90)))
            picture = np.clip(colour + random.normal(0, 12, (CROP_PX, CROP_PX, 3)), 0, 255)
            writer.add(make_hand(number, video=person, label=label), encode_jpeg(picture.astype(np.uint8)))
    return Pool.open(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people with four hands each; two hands without a label, and one whose label nobody else has."""
    path = tmp_path_factory.mktemp("labelled")
    hands = [(f"p{person}", label) for person in range(6) for label in "abab"]
    write_people(path / "pool", [*hands, ("p0", None), ("p1", None), ("p2", "c")])
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(models.resnet18(weights=None).state_dict(), path / f"{seed}.pt")
    return path


@pytest.mark.slow
def test_encoders_and_baselines_are_compared_on_the_same_hands(home: Path, capsys: Capture) -> None:
    seeds = [word for seed in (1, 2) for word in ("--encoder", f"ours={home / f'{seed}.pt'}")]
    single = ["--encoder", str(home / "1.pt"), "--reference", str(home / "1.pt")]
    printed = run_ok(capsys, "evaluate", "encoder", "--labels", *seeds, *single, *SIZE, "--home", home)
    assert "24 hands of 6 people or videos, 2 labels; the most frequent one is" in printed
    assert "left out: 2 without a label, 1 whose label only one person has" in printed
    assert "fewer than 10 people" in printed
    report = json.loads((home / "runs" / "encoder" / "encoder.json").read_text())
    scores = report["scores"]
    assert [*scores] == ["ours", str(home / "1.pt"), "pose embedding", "random weights", "raw pixels"]
    pixels = scores["raw pixels"]
    assert all(pixels[measure]["mean"] == 1.0 for measure in MEASURES), "a colour is a label"
    assert [len(scores[row]["linear"]["seeds"]) for row in scores] == [2, 1, 1, 2, 1]
    ours, other = scores["ours"]["knn"], scores[str(home / "1.pt")]["knn"]
    assert ours["seeds"][0] == other["mean"], "the same file"
    assert ours["difference"] == pytest.approx(ours["mean"] - other["mean"])
    assert other["difference"] is None
    assert {each["size_px"] for each in report["encoders"]["ours"]} == {32}


def test_what_cannot_be_evaluated_is_one_line(home: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    file = str(home / "1.pt")
    for words, expected in (
        (["--encoder", "nobody"], "there is no checkpoint at nobody"),
        (["--encoder", "ours="], "give a file, or NAME=FILE"),
        (["--encoder", str(tmp_path / "text.pt")], "text.pt"),
        (["--encoder", file, "--encoder", file], "given twice"),
        (["--encoder", f"raw pixels={file}"], "give it another name"),
        (["--baselines"], "nothing to evaluate"),
        (["--reference", "theirs"], "--reference is theirs; the rows are pose embedding"),
        (["--size", "8"], "--size is 8; it is at least 32"),
        (["--sample", "0"], "--sample is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--name", "a/b"], "has other characters"),
    ):
        error = run_refused(capsys, "evaluate", "encoder", "--labels", *words, "--home", home)
        assert expected in error, words


def test_unequal_numbers_of_seeds_are_refused(home: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [f"a={home / '1.pt'}", f"a={home / '2.pt'}"]
    for number in (1, 2, 3):
        (tmp_path / f"{number}.pt").write_bytes(b"")
        words.append(f"b={tmp_path / f'{number}.pt'}")
    flags = [part for word in words for part in ("--encoder", word)]
    error = run_refused(capsys, "evaluate", "encoder", "--labels", *flags, "--home", home)
    assert "there are 2 of a, 3 of b; give as many seeds of each" in error


@pytest.mark.parametrize(
    ("hands", "expected"),
    [
        ([], "no hand of"),
        ([("p0", None), ("p1", None)], "2 hands without a label, of 2"),
        ([("p0", "a"), ("p0", "b"), ("p0", "a")], "3 hands whose label only one person has"),
        ([("p0", "a"), ("p1", "a"), ("p0", "b"), ("p1", "b")], "are of 2 people or videos"),
        ([("p0", "a"), ("p1", "a"), ("p2", "a")], "the same label"),
    ],
)
def test_a_pool_with_too_few_labels_or_people_says_what_it_lacks(
    hands: list[tuple[str, str | None]], expected: str, tmp_path: Path, capsys: Capture
) -> None:
    write_people(tmp_path / "pool", hands)
    assert expected in run_refused(capsys, "evaluate", "encoder", "--labels", "--home", tmp_path)


def test_the_help_names_all_baselines() -> None:
    assert get_args(Baseline) == BASELINE_NAMES
