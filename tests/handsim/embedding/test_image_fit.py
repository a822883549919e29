"""Fitting on a pool's crops: against torchvision and numpy, stopped and resumed, refused; and its cache."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision import models  # type: ignore[import-untyped]  # torchvision ships no types

from handsim import Pool
from handsim.embedding import ImageEmbedding, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, Progress, fit_image_embedding
from handsim.embedding.trunk import Trunk, read_trunk
from handsim.errors import HandsimError
from handsim.pool.row_cache import RowCache
from tests.handsim.builders import CROP_PX, limited, picture, write_picture_pool

pytestmark = pytest.mark.slow

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


def test_vectors_are_the_pca_of_the_pooled_features(network: torch.nn.Module, fitted: Path) -> None:
    pool, embedding = Pool.open(fitted / "pool"), load_embedding(fitted / "image.json")
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


def test_the_same_fit_has_the_same_and_another_another_fingerprint(checkpoint: Path, tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(12))
    first = fit(pool, checkpoint)
    assert not (tmp_path / "features").exists()
    encoded: list[tuple[int, int]] = []
    fingerprints = [first.fingerprint]
    for components in (6, 5):  # features that were left on disk are not encoded again
        options = ImageFitOptions(components, CROP_PX, device="cpu", keep_features=True)
        fingerprints.append(fit(pool, checkpoint, options, lambda *step: encoded.append(step)).fingerprint)
    assert encoded == [(12, 12)]
    larger = ImageFitOptions(components=5, image_size_px=CROP_PX + 16, device="cpu")
    fingerprints.append(fit(pool, checkpoint, larger).fingerprint)
    assert len(set(fingerprints)) == 3
    assert fingerprints[2] == first.fingerprint


KILLED_FIT = """
import os, signal, sys
from pathlib import Path
import torch
from handsim import Pool
from handsim.embedding import image_fit
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding

image_fit._ENCODED_TOGETHER = 16
torch.set_num_threads(1)  # as in this process: sums are rounded alike
home, checkpoint = Path(sys.argv[1]), sys.argv[2]
options = ImageFitOptions(components=5, image_size_px=32, device="cpu")
fit_image_embedding(
    Pool.open(home / "pool"), checkpoint, home / "embedding.json", options,
    lambda done, total: os.kill(os.getpid(), signal.SIGKILL),
)
"""


def test_a_killed_fit_goes_on_where_it_stopped(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handsim.embedding.image_fit._ENCODED_TOGETHER", 16)
    pool = write_picture_pool(tmp_path / "home" / "pool", range(24))
    shutil.copytree(tmp_path / "home", tmp_path / "whole")
    command = [sys.executable, "-c", KILLED_FIT, str(tmp_path / "home"), str(checkpoint)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    assert not (tmp_path / "home" / "embedding.json").exists()
    steps: list[int] = []
    resumed = fit(pool, checkpoint, progress=lambda done, total: steps.append(done))
    assert steps == [24]  # an undisturbed fit says 16 first
    whole = fit(Pool.open(tmp_path / "whole" / "pool"), checkpoint)
    assert resumed.fingerprint == whole.fingerprint
    vectors, expected = (one.embed_hands(pool, slice(None)) for one in (resumed, whole))
    np.testing.assert_array_equal(vectors, expected)


def test_what_cannot_be_fitted_and_an_encoder_that_explodes_are_refused(
    checkpoint: Path, network: torch.nn.Module, tmp_path: Path
) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(20))
    with pytest.raises(HandsimError, match="20 hands are too few to fit 64 components"):
        fit(pool, checkpoint, ImageFitOptions(device="cpu"))
    with pytest.raises(HandsimError, match="components is 513; a resnet18 has 1 to 512"):
        fit(pool, checkpoint, ImageFitOptions(components=513, device="cpu"))
    wild = network.state_dict()
    torch.save(wild | {"bn1.weight": wild["bn1.weight"] * 1e6}, tmp_path / "wild.pt")
    with pytest.raises(HandsimError, match="infinite or no numbers"):
        fit(pool, tmp_path / "wild.pt")
    pool = write_picture_pool(tmp_path / "pool", range(20, 23), with_crops=False)
    with pytest.raises(HandsimError, match="3 of the 23 hands have keypoints but no picture"):
        fit(pool, checkpoint)
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("name", "value"), [("components", 0), ("batch", 0), ("image_size_px", 31)])
def test_options_out_of_bounds_are_named(name: str, value: int) -> None:
    with pytest.raises(HandsimError, match=f"is {value}; it is at least"):
        ImageFitOptions(**{name: value})  # type: ignore[arg-type]  # one of the whole numbers


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


def ids(*numbers: int) -> NDArray[np.uint64]:
    return np.array(numbers, dtype=np.uint64)


def rows_of(hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, 3] numbers that say whose they are."""
    rows: NDArray[np.float64] = hand_ids[:, None] % 1000 + np.array([0.0, 0.25, 0.5])
    return rows.astype(np.float32)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=30), st.integers(1, 7))
def test_what_was_added_is_read_in_any_order(numbers: list[int], size: int) -> None:
    with TemporaryDirectory() as folder:
        cache = RowCache(Path(folder) / "rows", 3, np.float32)
        half = numbers[: len(numbers) // 2]
        for start in range(0, len(half), size):
            chunk = ids(*half[start : start + size])
            cache.add(chunk, rows_of(chunk))
        for opened in (cache, RowCache(Path(folder) / "rows", 3, np.float32)):
            assert opened.contains(ids(*numbers)).tolist() == [number in half for number in numbers]
            backwards = ids(*half[::-1], *half[:2])
            np.testing.assert_array_equal(opened.read(backwards), rows_of(backwards))


def test_two_writers_of_the_same_hands_leave_one_file(tmp_path: Path) -> None:
    one, other = RowCache(tmp_path, 3, np.float32), RowCache(tmp_path, 3, np.float32)
    for cache in (one, other):
        cache.add(ids(4, 2), rows_of(ids(4, 2)))
    assert len(list(tmp_path.iterdir())) == 2
    other.add(ids(2, 9), rows_of(ids(2, 9)))  # overlaps, and does no harm
    again = RowCache(tmp_path, 3, np.float32)
    np.testing.assert_array_equal(again.read(ids(9, 2, 4)), rows_of(ids(9, 2, 4)))


def test_rows_without_their_hand_ids_do_not_count(tmp_path: Path) -> None:
    RowCache(tmp_path, 3, np.float32).add(ids(1, 2), rows_of(ids(1, 2)))
    next(tmp_path.glob("*.hand_ids.npy")).unlink()  # killed between the two files
    again = RowCache(tmp_path, 3, np.float32)
    assert not again.contains(ids(1, 2)).any()
    again.add(ids(1, 2), rows_of(ids(1, 2)))
    assert again.contains(ids(1, 2)).all()


def test_more_files_than_a_process_may_open_are_added_and_read(tmp_path: Path) -> None:
    hands = np.arange(150, dtype=np.uint64)
    with limited(resource.RLIMIT_NOFILE, 100):
        cache = RowCache(tmp_path, 3, np.float32)
        for hand in hands.tolist():
            cache.add(ids(hand), rows_of(ids(hand)))
        for opened in (cache, RowCache(tmp_path, 3, np.float32)):
            np.testing.assert_array_equal(opened.read(hands), rows_of(hands))
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(HandsimError) as refused:
        cache.read(ids(1))
    assert str(refused.value).endswith(".rows.npy cannot be read (Too many open files)")  # and not damaged


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "rows", 3, np.float32)
    many = np.arange(10_000, dtype=np.uint64)
    # A limit on the size of a file ends a write as a full disk does.
    message = r"10,000 hands cannot be written to .* \(File too large\); once that is mended, run it again"
    with limited(resource.RLIMIT_FSIZE, 50_000), pytest.raises(HandsimError, match=message):
        cache.add(many, rows_of(many))
    assert not list((tmp_path / "rows").iterdir())
    assert not cache.contains(many).any()
    cache.add(many, rows_of(many))
    assert cache.contains(many).all()


def test_damaged_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    RowCache(tmp_path, 3, np.float32).add(ids(1, 2), rows_of(ids(1, 2)))
    with pytest.raises(HandsimError, match=r"is damaged \(float32 \[2, 3\] for 2 hands\)"):
        RowCache(tmp_path, 4, np.float32)
    with pytest.raises(HandsimError, match="is damaged"):
        RowCache(tmp_path, 3, np.float16)
    rows = next(tmp_path.glob("*.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(HandsimError, match=r"is damaged .*; delete .*, it is made anew"):
        RowCache(tmp_path, 3, np.float32)
    rows.unlink()
    with pytest.raises(HandsimError, match=r"is missing; delete .*, it is made anew"):
        RowCache(tmp_path, 3, np.float32)
