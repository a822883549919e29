"""Fitting on a pool's crops: against torchvision and numpy, stopped and resumed, and refused."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim import Pool
from handsim.embedding import ImageEmbedding
from handsim.embedding.image_fit import ImageFitOptions, Progress, fit_image_embedding
from handsim.embedding.trunk import Trunk, read_trunk
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from tests.handsim.builders import CROP_PX, picture, write_picture_pool

OPTIONS = ImageFitOptions(components=5, image_size_px=CROP_PX, device="cpu")


def fit(
    pool: Pool, checkpoint: Path, options: ImageFitOptions = OPTIONS, progress: Progress | None = None
) -> ImageEmbedding:
    return fit_image_embedding(pool, str(checkpoint), pool.path.parent / "embedding.json", options, progress)


def plain_features(network: torch.nn.Module, crops: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """The pooled features, by torchvision's own preprocessing and the network run one picture at a time."""
    prepare = models.ResNet18_Weights.DEFAULT.transforms(crop_size=CROP_PX, resize_size=CROP_PX)
    pooled = []
    hook = network.get_submodule("avgpool").register_forward_hook(
        lambda module, inputs, output: pooled.append(output.flatten().double().numpy())
    )
    with torch.no_grad():
        for crop in crops:
            network(prepare(Image.fromarray(crop))[None])
    hook.remove()
    return np.stack(pooled)


def test_vectors_are_the_pca_of_the_pooled_features(
    network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(40))
    embedding = fit(pool, checkpoint)
    features = plain_features(network, [pool.crop(hand_id) for hand_id in pool.hand_ids.tolist()])
    centred = features - features.mean(axis=0)
    _, values, rows = np.linalg.svd(centred, full_matrices=False)
    oracle = centred @ rows[:5].T
    vectors = embedding.embed_hands(pool, slice(None))
    signs = np.sign((vectors * oracle).sum(axis=0))
    np.testing.assert_allclose(vectors, oracle * signs, atol=2e-3 * np.abs(oracle).max())
    shares = values**2 / (values**2).sum()
    np.testing.assert_allclose(embedding.explained_variance_ratio_, shares[:5], rtol=2e-3)
    assert vectors.dtype == np.float32
    assert (vectors.shape, embedding.dimension) == ((40, 5), 5)


def test_crops_of_another_size_are_resized(network: torch.nn.Module, checkpoint: Path) -> None:
    large = [picture(number, 4 * CROP_PX) for number in range(6)]
    shrunk = [
        np.asarray(Image.fromarray(crop).resize((CROP_PX, CROP_PX), Image.Resampling.BILINEAR))
        for crop in large
    ]
    found = Trunk(read_trunk(str(checkpoint)), CROP_PX, "cpu").extract_features(large).astype(np.float64)
    oracle = plain_features(network, shrunk)
    assert np.abs(found - oracle).max() < 0.02 * np.abs(oracle - oracle.mean(axis=0)).max()


def test_fitting_twice_gives_the_same_and_clears_the_features_away(checkpoint: Path, tmp_path: Path) -> None:
    one = fit(write_picture_pool(tmp_path / "one" / "pool", range(30)), checkpoint)
    other = fit(write_picture_pool(tmp_path / "other" / "pool", range(30)), checkpoint)
    assert one.fingerprint == other.fingerprint
    assert not (tmp_path / "one" / "features").exists()


def test_the_fingerprint_tells_embeddings_apart(checkpoint: Path, tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(30))
    changes = (
        OPTIONS,
        ImageFitOptions(components=6, image_size_px=CROP_PX, device="cpu"),
        ImageFitOptions(components=5, image_size_px=CROP_PX + 16, device="cpu"),
    )
    assert len({fit(pool, checkpoint, options).fingerprint for options in changes}) == 3


def test_kept_features_are_not_encoded_again(checkpoint: Path, tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(30))
    encoded: list[tuple[int, int]] = []
    for components in (3, 6):
        options = ImageFitOptions(components, CROP_PX, device="cpu", keep_features=True)
        fit(pool, checkpoint, options, lambda done, total: encoded.append((done, total)))
    assert encoded == [(30, 30)]


KILLED_FIT = """
import os, signal, sys
from pathlib import Path
import torch
from handsim import Pool
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding

torch.set_num_threads(1)  # as in this process: sums are rounded alike
home, checkpoint = Path(sys.argv[1]), sys.argv[2]
options = ImageFitOptions(components=5, image_size_px=32, device="cpu")
fit_image_embedding(
    Pool.open(home / "pool"), checkpoint, home / "embedding.json", options,
    lambda done, total: os.kill(os.getpid(), signal.SIGKILL),
)
"""


def test_a_killed_fit_goes_on_where_it_stopped(checkpoint: Path, tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "home" / "pool", range(1100))
    shutil.copytree(tmp_path / "home", tmp_path / "whole")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_FIT, str(tmp_path / "home"), str(checkpoint)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "home" / "embedding.json").exists()
    steps: list[int] = []
    resumed = fit(pool, checkpoint, progress=lambda done, total: steps.append(done))
    assert steps == [1100]  # an undisturbed fit says 1024 first
    whole = fit(Pool.open(tmp_path / "whole" / "pool"), checkpoint)
    assert resumed.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(
        resumed.embed_hands(pool, slice(1000, 1100)), whole.embed_hands(pool, slice(1000, 1100))
    )


def test_what_cannot_be_fitted_is_named(checkpoint: Path, tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(20))
    with pytest.raises(HandsimError, match="20 hands are too few to fit 64 components"):
        fit(pool, checkpoint, ImageFitOptions(device="cpu"))
    with pytest.raises(HandsimError, match="components is 513; a resnet18 has 1 to 512"):
        fit(pool, checkpoint, ImageFitOptions(components=513, device="cpu"))
    pool = write_picture_pool(tmp_path / "pool", range(20, 23), with_crops=False)
    with pytest.raises(HandsimError, match="3 of the 23 hands have keypoints but no picture"):
        fit(pool, checkpoint)
    assert not list(tmp_path.glob("*.json"))


def test_a_damaged_crop_is_named(checkpoint: Path, tmp_path: Path) -> None:
    write_picture_pool(tmp_path / "pool", range(20))
    tar = tmp_path / "pool" / "parts" / "000000" / "crops.tar"
    content = bytearray(tar.read_bytes())
    content[512:520] = b"no JPEG."  # where the first begins
    tar.write_bytes(content)
    pool = Pool.open(tmp_path / "pool")
    with pytest.raises(
        HandsimError, match=f"crop of hand {format_hand_id(int(pool.hand_ids[0]))} is damaged"
    ):
        fit(pool, checkpoint)


@pytest.mark.parametrize(("name", "value"), [("components", 0), ("batch", 0), ("image_size_px", 31)])
def test_options_out_of_bounds_are_named(name: str, value: int) -> None:
    with pytest.raises(HandsimError, match=f"is {value}; it is at least"):
        ImageFitOptions(**{name: value})  # type: ignore[arg-type]  # one of the whole numbers


def test_an_untrained_encoder_that_explodes_is_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    state = {
        name: tensor * (1e6 if name == "bn1.weight" else 1) for name, tensor in network.state_dict().items()
    }
    torch.save(state, tmp_path / "wild.pt")
    with pytest.raises(HandsimError, match="infinite or no numbers"):
        fit(write_picture_pool(tmp_path / "pool", range(20)), tmp_path / "wild.pt")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU where there is none")
def test_a_gpu_that_is_not_there_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    options = ImageFitOptions(components=5, device="cuda")
    with pytest.raises(HandsimError, match="no GPU can be used here; ask for --device cpu"):
        fit(write_picture_pool(tmp_path / "pool", range(20)), checkpoint, options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU, and there is no GPU")
def test_a_gpu_sees_what_a_cpu_sees(checkpoint: Path) -> None:
    weights, crops = read_trunk(str(checkpoint)), [picture(number) for number in range(8)]
    on_cpu = Trunk(weights, CROP_PX, "cpu").extract_features(crops)
    on_gpu = Trunk(weights, CROP_PX, "cuda").extract_features(crops)
    np.testing.assert_allclose(on_gpu.astype(float), on_cpu.astype(float), atol=4e-3 * np.abs(on_cpu).max())
