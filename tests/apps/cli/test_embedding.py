"""``handsim embedding fit|show``, of poses and of images; and indexes that change from one to the other."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from apps.cli.embedding import IMAGE_DEFAULTS
from handsim.embedding import BlendEmbedding, PoseEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.geometry import turn_points
from handsim.hand import format_hand_id
from handsim.pool import Pool, PoolWriter
from index import LiveIndex, open_catalog
from tests.apps.commands import Capture, pick_hand, run_json, run_ok, run_refused
from tests.handsim.builders import CROP_PX, make_hand, write_picture_pool

IMAGES = ("--size", "32", "--device", "cpu", "--batch", "8")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 with weights from a seed."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "hands.pt"
    torch.save(models.resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with nothing but 30 hands and their crops."""
    write_picture_pool(tmp_path / "home" / "pool", range(30))
    return tmp_path / "home"


def test_images_then_poses(home: Path, checkpoint: Path, capsys: Capture) -> None:
    fit, at = ("embedding", "fit"), ("--home", home)
    fitted = run_ok(capsys, *fit, "--encoder", checkpoint, *IMAGES, "--components", "24", *at)
    assert "24 components of 512 features of hands.pt (resnet18) at 32 px" in fitted
    fingerprint = load_embedding(home / "embedding.json").fingerprint
    description = run_ok(capsys, "embedding", "show", *at)
    assert f"fitted on 30 hands, fingerprint {fingerprint}" in description
    assert fitted.startswith(description)
    assert len(description.splitlines()) < 20  # every second of the 24
    poses = run_ok(capsys, *fit, "--components", "6", "--normalisation", "centre", *at)
    assert "6 components of 42 2D coordinates, normalisation centre" in poses
    assert load_embedding(home / "embedding.json").kind == "pose"


def test_poses_with_depth_and_up_to_turn_are_indexed_asked_and_mined(home: Path, capsys: Capture) -> None:
    at = ("--home", home)
    with PoolWriter(home / "pool", crop_size_px=CROP_PX) as writer:
        flat = make_hand(30).keypoints * np.array([1, 1, 0], dtype=np.float32)
        writer.add(make_hand(30, keypoints=flat))
    fitted = run_ok(capsys, "embedding", "fit", "--depth", "--up-to-turn", "--components", "9", *at)
    assert "1 hand without depth was left out of the fit" in fitted
    assert (
        "9 components of 63 coordinates in 2.5D, normalisation centre-scale, hands turned upright" in fitted
    )
    assert "1 hand without depth is left out" in run_ok(capsys, "index", "build", *at)
    pool = Pool.open(home / "pool")
    turned = turn_points(pool.keypoints[:1], np.array([70.0]))[0]
    for keypoints, farthest in ((turned, 1e-3), (turned[:, :2], np.inf)):
        (home / "hand.json").write_text(json.dumps(keypoints.tolist()))
        answer = run_json(capsys, "query", "--keypoints", home / "hand.json", "-k", "3", *at)
        assert answer[0]["neighbors"][0]["distance"] < farthest
    alone = run_refused(capsys, "query", "--hand", format_hand_id(make_hand(30).hand_id), *at)
    assert "has no depth: its source measures no z, by which this index compares hands" in alone
    run_ok(capsys, "mine", "--max-quantile", "0.5", "--out", home / "pairs.parquet", *at)
    mined = pq.read_table(home / "pairs.parquet")
    assert mined.schema.metadata[b"up_to_turn"] == b"true"
    assert 15 <= len(mined) <= 16  # two hands may be each other's nearest


def test_poses_and_images_together(home: Path, checkpoint: Path, capsys: Capture) -> None:
    pool = Pool.open(home / "pool")
    options = ImageFitOptions(components=5, image_size_px=32, device="cpu")
    image = fit_image_embedding(pool, str(checkpoint), home / "embedding.json", options)
    blended = BlendEmbedding(PoseEmbedding.fit(pool, 4), image, 0.3)
    blended.save(home / "embedding.json")
    assert run_ok(capsys, "embedding", "show", "--home", home).startswith(
        "9 components:\n"
        "30% of a distance squared are 4 components of 42 2D coordinates, normalisation centre-scale,\n"
        "70% of a distance squared are 5 components of 512 features of hands.pt (resnet18) at 32 px,\n"
        f"fitted on 30 hands, fingerprint {blended.fingerprint}\n"
    )
    run_ok(capsys, "index", "build", "--home", home)
    assert f"blend-9 {blended.fingerprint}" in run_ok(capsys, "index", "list", "--home", home)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "nothing.pt"], "no checkpoint at nothing.pt"),
        (["--encoder", "CHECKPOINT"], "30 hands are too few to fit 64 components"),
        (["--encoder", "CHECKPOINT", "--normalisation", "none"], "--normalisation is for poses"),
        (["--batch", "8"], "--batch is for images; add --encoder"),
        (["--encoder", "CHECKPOINT", "--up-to-turn"], "--up-to-turn is for poses"),
        (["--depth", "--unlabelled", "complete"], "leave depth and up-to-turn out"),
        (["--keep-features"], "--keep-features is for images; add --encoder"),
        (["--components", "0"], "components is 0"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, home: Path, checkpoint: Path, capsys: Capture
) -> None:
    words = [str(checkpoint) if word == "CHECKPOINT" else word for word in arguments]
    assert message in run_refused(capsys, "embedding", "fit", *words, "--home", home)
    assert not (home / "embedding.json").exists()


def test_the_help_states_the_defaults_of_the_options() -> None:
    assert {name: getattr(ImageFitOptions(), name) for name in IMAGE_DEFAULTS} == IMAGE_DEFAULTS


@pytest.mark.slow
def test_an_index_changes_from_poses_to_images_and_back(
    home: Path, checkpoint: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Every reader moves over; hands are added with the version's own encoder, not with the home's."""
    at, hand = ("--home", home), pick_hand(home)
    run_ok(capsys, "index", "build", *at)
    with LiveIndex(open_catalog(home / "index")) as live:
        with live.version() as version:
            assert version.embedding.kind == "pose"
        fit = ("embedding", "fit", "--encoder", checkpoint, *IMAGES, "--components", "6")
        run_ok(capsys, *fit, *at)
        run_ok(capsys, "index", "build", *at)
        with live.version() as version:
            assert (version.info.name, version.embedding.kind) == ("v0002", "image")
    lines = run_ok(capsys, "index", "list", *at).splitlines()[1:]
    assert [("pose-14" in line, "image-6" in line) for line in lines] == [(True, False), (False, True)]
    (answer,) = run_json(capsys, "query", "--hand", hand, "-k", "3", "--other-video", *at)
    assert len(answer["neighbors"]) == 3
    keypoints = tmp_path / "hand.json"
    keypoints.write_text(json.dumps(Pool.open(home / "pool").keypoints[7, :, :2].tolist()))
    refusal = run_refused(capsys, "query", "--keypoints", keypoints, *at)
    assert "keypoints alone cannot be placed in it" in refusal

    pool = write_picture_pool(home / "pool", range(30, 35))
    run_ok(capsys, "embedding", "fit", "--components", "4", *at)  # poses again
    added = run_ok(capsys, "index", "add", *at)
    assert added.startswith("v0003: 35 hands, 5 of them new, published")
    with open_catalog(home / "index").current() as version:
        assert (version.embedding.kind, version.info.dimension) == ("image", 6)
        expected = version.embedding.embed(crops=[pool.crop(int(pool.hand_ids[-1]))])
        atol = 2e-3 * np.abs(expected).max()
        np.testing.assert_allclose(expected, version.vectors(pool.hand_ids[-1:]), atol=atol)
    run_ok(capsys, "index", "verify", *at)

    run_ok(capsys, "index", "publish", "v0001", *at)
    (answer,) = run_json(capsys, "query", "--keypoints", keypoints, "-k", "1", *at)
    assert answer["neighbors"][0]["hand_id"] == hand
