"""Changing the embedding for one that looks at pictures: rebuilt, every reader moves over, and back again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from apps.cli import main
from handsim import Pool
from index import LiveIndex, open_catalog
from tests.apps.commands import pick_hand, run_json, run_ok, run_refused
from tests.apps.conftest import copy_home

Capture = pytest.CaptureFixture[str]
PEOPLE = 3


@pytest.fixture(scope="module")
def photographs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The signs for the digits by three people."""
    folder = tmp_path_factory.mktemp("photographs")
    people = sorted((shared_data / "sign_digits").glob("p*"))[:PEOPLE]
    for person in people:
        shutil.copytree(person, folder / person.name)
    return folder


@pytest.fixture(scope="module")
def signs(photographs: Path, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with those hands, indexed by pose (v0001) and then by picture (v0002, current)."""
    torch.manual_seed(0)
    home = tmp_path_factory.mktemp("signs")
    torch.save(models.resnet18(weights=None).state_dict(), home / "resnet.pt")
    at = ("--home", str(home))
    naming = ("--video-from", "parent", "--label-from", "stem", "--model", str(model_path))
    assert main(["ingest", str(photographs), *naming, *at]) == 0
    assert main(["index", "build", *at]) == 0
    with LiveIndex(open_catalog(home / "index")) as live:
        with live.version() as version:
            assert version.embedding.kind == "pose"
        fit = ("--encoder", str(home / "resnet.pt"), "--components", "6", "--size", "64", "--device", "cpu")
        assert main(["embedding", "fit", *fit, *at]) == 0
        assert main(["index", "build", *at]) == 0
        with live.version() as version:
            assert (version.info.name, version.embedding.kind) == ("v0002", "image")
    return home


def test_both_versions_are_listed(signs: Path, capsys: Capture) -> None:
    lines = run_ok(capsys, "index", "list", "--home", signs).splitlines()
    assert [("pose-14" in line, "image-6" in line) for line in lines[1:]] == [(True, False), (False, True)]
    assert lines[2].startswith("current  v0002")


def test_a_picture_finds_its_own_hand(
    signs: Path, photographs: Path, model_path: Path, capsys: Capture
) -> None:
    pool = Pool.open(signs / "pool")
    for row in (0, len(pool) // 2):
        hand = pool.hand(int(pool.hand_ids[row]))
        picture = ("query", photographs.parent / hand.file, "--model", model_path, "-k", "2", "--home", signs)
        (answer,) = run_json(capsys, *picture)
        first, second = answer["neighbors"]
        assert first["hand_id"] == pick_hand(signs, row)
        assert first["distance"] < 0.5 * second["distance"]


def test_a_hand_is_asked_about_as_ever(signs: Path, tmp_path: Path, capsys: Capture) -> None:
    hand = pick_hand(signs, 3)
    answer = run_json(capsys, "query", "--hand", hand, "-k", "3", "--other-video", "--home", signs)[0]
    assert len(answer["neighbors"]) == 3
    assert all(found["video"] != answer["query"]["video"] for found in answer["neighbors"])
    like = run_json(capsys, "query", "--like", hand, pick_hand(signs, 4), "-k", "3", "--home", signs)[0]
    assert len(like["neighbors"]) == 3
    montage = tmp_path / "answer.png"
    assert f"montage: {montage}" in run_ok(
        capsys, "query", "--hand", hand, "-k", "3", "--montage", montage, "--home", signs
    )


def test_keypoints_alone_are_refused(signs: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "hand.json"
    file.write_text(json.dumps(Pool.open(signs / "pool").keypoints[0, :, :2].tolist()))
    message = run_refused(capsys, "query", "--keypoints", file, "--home", signs)
    assert "keypoints alone cannot be placed in it; ask with a picture or a hand's id" in message
    # The version before it still takes them.
    own = copy_home(signs, tmp_path / "home")
    run_ok(capsys, "index", "rollback", "--home", own)
    found = run_json(capsys, "query", "--keypoints", file, "-k", "1", "--home", own)[0]["neighbors"]
    assert found[0]["hand_id"] == pick_hand(signs, 0)


def test_new_pictures_are_added_with_the_versions_own_encoder(
    signs: Path, photographs: Path, shared_data: Path, model_path: Path, tmp_path: Path, capsys: Capture
) -> None:
    home = copy_home(signs, tmp_path / "home")
    at = ("--home", home)
    before = len(Pool.open(home / "pool"))
    further = sorted((shared_data / "sign_digits").glob("p*"))[PEOPLE]
    shutil.copytree(further, tmp_path / "further" / further.name)
    naming = ("--video-from", "parent", "--label-from", "stem", "--model", model_path)
    run_ok(capsys, "ingest", tmp_path / "further", *naming, *at)
    run_ok(capsys, "embedding", "fit", "--components", "4", *at)  # poses again
    added = run_ok(capsys, "index", "add", *at)
    pool = Pool.open(home / "pool")
    assert added.startswith(f"v0003: {len(pool)} hands, {len(pool) - before} of them new, published")
    with open_catalog(home / "index").current() as version:
        assert (version.embedding.kind, version.info.dimension) == ("image", 6)
        crop = pool.crop(int(pool.hand_ids[-1]))
        seen = version.embedding.embed(crops=[crop])
        np.testing.assert_allclose(seen, version.vectors(pool.hand_ids[-1:]), atol=2e-3 * np.abs(seen).max())
    assert main(["index", "verify", "--home", str(home)]) == 0
