"""What all four datasets promise alike: opened by name, lazy, and honest about what is missing or damaged."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.synthetic import SyntheticConfig
from tests.training.datasets.builders import ASSEMBLYHANDS, DEXYCB, FREIHAND, SYNTHETIC
from tests.training.datasets.conftest import Copier
from training.datasets.layouts import is_synthetic, write_assemblyhands, write_dexycb, write_freihand
from training.datasets.open_dataset import DATASETS, known_splits, open_dataset
from training.datasets.synthetic import write_synthetic

REMEDIES = {
    "freihand": "download and extract FreiHAND_pub_v2.zip again",
    "dexycb": "extract its archive again",
    "assemblyhands": "extract that sequence's archive of ego_images_rectified again",
    "synthetic": "write it again with `handsim synth --layout synthetic`",
}
LAYOUTS: dict[str, tuple[Callable[[Path, SyntheticConfig], None], SyntheticConfig]] = {
    "freihand": (write_freihand, FREIHAND),
    "dexycb": (write_dexycb, DEXYCB),
    "assemblyhands": (write_assemblyhands, ASSEMBLYHANDS),
    "synthetic": (write_synthetic, SYNTHETIC),
}


@pytest.fixture(params=list(DATASETS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(name: str, request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(f"{name}_root"))


def test_every_split_opens_by_its_name_and_can_be_sent_to_a_worker(name: str, root: Path) -> None:
    for split in known_splits(name):
        dataset = open_dataset(name, root, split)
        assert (dataset.name, dataset.split) == (name, split)
        assert len(dataset) > 0
        sent = copy.deepcopy(dataset)  # by the protocol that takes it to workers
        last = len(dataset) - 1
        assert sent.label(last).sample_id == dataset.label(last).sample_id
        np.testing.assert_array_equal(sent[last].image, dataset[last].image)
        with pytest.raises(IndexError):
            dataset.label(len(dataset))
        with pytest.raises(IndexError):
            dataset[len(dataset)]


def test_an_empty_folder_is_not_a_dataset(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotThereError, match=str(tmp_path)):
        open_dataset(name, tmp_path, known_splits(name)[0])
    with pytest.raises(NotThereError, match=rf"is not a folder; give the one that {name} was extracted in"):
        open_dataset(name, tmp_path / "none", known_splits(name)[0])


@pytest.mark.parametrize(
    ("name", "split", "problem"),
    [
        ("freihnd", "train", r"no dataset freihnd; did you mean freihand\?; there are"),
        ("dexycb", "s0_tain", r"dexycb has no split s0_tain; did you mean s0_train\?"),
        ("dexycb", "train", r"no split train; did you mean s0_train\?; it has s0_train, s0_val, .*, s3_test"),
        ("dexycb", "", r"no split .*; it has s0_train"),
        ("freihand", "test", r"no split test; it has train, train_v0, val, eval"),
        ("assemblyhands", "eval", r"no split eval; did you mean val\?; it has train, val, test"),
        ("synthetic", "eval", r"no split eval; did you mean val\?; it has train, val, test"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    tmp_path: Path, name: str, split: str, problem: str
) -> None:
    with pytest.raises(HandsimError, match=problem):
        open_dataset(name, tmp_path, split)


def test_damaged_pictures_are_named_with_the_remedy(name: str, root: Path, copy_of: Copier) -> None:
    dataset = open_dataset(name, copy_of(root), known_splits(name)[0])
    width, height = dataset.label(0).size_px
    damages: list[tuple[Callable[[Path], object], str]] = [
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "truncated image"),
        (lambda path: path.write_text("<html>404</html>"), "not an image"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (Image.new("RGB", (100, 50)).save, f"is 100x50 pixels and not {width}x{height}"),
    ]
    by_file = {dataset.files(index)[0]: index for index in range(len(dataset))}
    for (path, index), (damage, problem) in zip(by_file.items(), damages, strict=False):
        damage(path)
        with pytest.raises(HandsimError, match=f"{path.name} .*{problem}.*; .*{REMEDIES[name]}") as error:
            dataset[index]
        assert "\n" not in str(error.value)
        assert dataset.label(index).valid.any()  # labels are read without images


def test_the_same_seed_writes_the_same_bytes_and_never_over_them(
    name: str, root: Path, tmp_path: Path
) -> None:
    write, config = LAYOUTS[name]
    again = tmp_path / "again"
    write(again, config)
    assert is_synthetic(again)
    files = [path.relative_to(again) for path in sorted(again.rglob("*")) if path.is_file()]
    assert files == [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    for file in files:
        assert (again / file).read_bytes() == (root / file).read_bytes(), file
    with pytest.raises(HandsimError, match="is not empty; a dataset is written into a folder of its own"):
        write(again, config)


@pytest.mark.parametrize(
    ("name", "videos", "problem"),
    [
        ("freihand", 2, "videos is 2; the layout of freihand needs 3"),
        ("dexycb", 1001, "videos is 1001; DexYCB has at most 1000 sequences"),
        ("dexycb", 11, "videos is 11; the layout of dexycb needs 12"),
        ("assemblyhands", 2, "videos is 2; the layout of assemblyhands needs 3"),
        ("synthetic", 2, "videos is 2; the layout of synthetic needs 3"),
    ],
)
def test_worlds_that_leave_a_split_empty_are_refused(
    tmp_path: Path, name: str, videos: int, problem: str
) -> None:
    write, config = LAYOUTS[name]
    with pytest.raises(HandsimError, match=problem):
        write(tmp_path / "set", replace(config, videos=videos))
    assert not (tmp_path / "set").exists()
