"""``handsim embedding fit|show``, for pictures and for poses."""

from pathlib import Path

import pytest
import torch
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from apps.cli import main
from apps.cli.embedding import IMAGE_DEFAULTS
from handsim.embedding import BlendEmbedding, PoseEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.pool import Pool
from tests.handsim.builders import write_picture_pool


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


def test_pictures_then_poses(home: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--home", str(home))
    fit = (
        "embedding",
        "fit",
        "--encoder",
        str(checkpoint),
        "--size",
        "32",
        "--device",
        "cpu",
        "--batch",
        "8",
    )
    assert main([*fit, "--components", "24", *at]) == 0
    fitted = capsys.readouterr().out
    assert "24 components of 512 features of hands.pt (resnet18) at 32 px" in fitted
    fingerprint = load_embedding(home / "embedding.json").fingerprint
    assert main(["embedding", "show", *at]) == 0
    shown = capsys.readouterr().out
    assert f"fitted on 30 hands, fingerprint {fingerprint}" in shown
    assert shown.splitlines() == fitted.splitlines()[: len(shown.splitlines())]
    assert len(shown.splitlines()) < 20  # every second of the 24
    assert main(["embedding", "fit", "--components", "6", *at]) == 0
    assert "6 components of 42 2D coordinates, normalisation centre-scale" in capsys.readouterr().out
    assert load_embedding(home / "embedding.json").kind == "pose"


def test_poses_and_pictures_together(
    home: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = Pool.open(home / "pool")
    options = ImageFitOptions(components=5, image_size_px=32, device="cpu")
    image = fit_image_embedding(pool, str(checkpoint), home / "embedding.json", options)
    blended = BlendEmbedding(PoseEmbedding.fit(pool, 4), image, 0.3)
    blended.save(home / "embedding.json")
    assert main(["embedding", "show", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "9 components:\n"
        "30% of a distance squared are 4 components of 42 2D coordinates, normalisation centre-scale,\n"
        "70% of a distance squared are 5 components of 512 features of hands.pt (resnet18) at 32 px,\n"
        f"fitted on 30 hands, fingerprint {blended.fingerprint}\n"
    )
    assert main(["index", "build", "--home", str(home)]) == 0
    assert main(["index", "list", "--home", str(home)]) == 0
    assert f"blend-9 {blended.fingerprint}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "nothing.pt"], "no checkpoint at nothing.pt"),
        (["--encoder", "CHECKPOINT"], "30 hands are too few to fit 64 components"),
        (["--encoder", "CHECKPOINT", "--components", "0"], "components is 0; it is at least 1"),
        (["--encoder", "CHECKPOINT", "--normalisation", "none"], "--normalisation is for poses"),
        (["--batch", "8"], "--batch is for pictures; add --encoder"),
        (["--keep-features"], "--keep-features is for pictures; add --encoder"),
        (["--components", "0"], "components is 0"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, home: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(checkpoint) if word == "CHECKPOINT" else word for word in arguments]
    assert main(["embedding", "fit", *words, "--home", str(home)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (home / "embedding.json").exists()


def test_the_help_states_the_defaults_of_the_options() -> None:
    assert {name: getattr(ImageFitOptions(), name) for name in IMAGE_DEFAULTS} == IMAGE_DEFAULTS
