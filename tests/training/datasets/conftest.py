"""Small synthetic datasets in official layouts, written once, and copies to be broken."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.datasets.builders import ASSEMBLYHANDS, DEXYCB, FREIHAND, SYNTHETIC
from tests.training.datasets.official_layouts import (
    write_coco_wholebody,
    write_hint,
    write_ho3d,
    write_interhand,
)
from training.datasets.generic import write_generic
from training.datasets.layouts import write_assemblyhands, write_dexycb, write_freihand
from training.datasets.synthetic import write_synthetic

Copier = Callable[[Path], Path]


def _dataset(name: str, write: Callable[[Path], None]) -> Any:
    """A fixture that writes a dataset; tests leave it as they found it."""

    @pytest.fixture(scope="session", name=f"{name}_root")
    def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("sets") / name
        write(folder)
        return folder

    return root


dexycb_root = _dataset("dexycb", partial(write_dexycb, config=DEXYCB))
assemblyhands_root = _dataset("assemblyhands", partial(write_assemblyhands, config=ASSEMBLYHANDS))
freihand_root = _dataset("freihand", partial(write_freihand, config=FREIHAND))
generic_root = _dataset("generic", partial(write_generic, config=SYNTHETIC))
synthetic_root = _dataset("synthetic", partial(write_synthetic, config=SYNTHETIC))
ho3d_root = _dataset("ho3d", write_ho3d)
coco_wholebody_root = _dataset("coco_wholebody", write_coco_wholebody)
hint_root = _dataset("hint", write_hint)
interhand_root = _dataset("interhand", write_interhand)


@pytest.fixture
def copy_of(tmp_path: Path) -> Copier:
    """Makes a copy of a dataset that the test may break."""

    def copy(root: Path) -> Path:
        return Path(shutil.copytree(root, tmp_path / root.name))

    return copy
