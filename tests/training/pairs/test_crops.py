from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim import Hand, HandsimError, Pool, PoolWriter
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from handsim.images import encode_jpeg
from handsim.pool import CropFiles
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.training.pairs.conftest import write_pool
from training.pairs.decoding import decode_into


def decoded(files: CropFiles, hand_ids: np.ndarray) -> np.ndarray:
    crops = np.empty((len(hand_ids), files.size_px, files.size_px, 3), dtype=np.uint8)
    decode_into(files, crops, hand_ids)
    return crops


def test_the_files_are_those_of_the_pool(tmp_path: Path) -> None:
    for part in range(3):
        write_pool(tmp_path / "pool", videos=2, first_video=2 * part)
    pool = Pool.open(tmp_path / "pool")
    files = CropFiles(pool.path)
    assert files.size_px == pool.crop_size_px
    asked = np.random.default_rng(0).permutation(pool.hand_ids)
    expected = [pool.crop_jpeg(hand_id) for hand_id in asked.tolist()]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(files.jpegs, np.split(asked, 12)))
    assert [jpeg for part in found for jpeg in part] == expected
    files.close()


def test_the_pixels_are_those_of_the_pool(tmp_path: Path) -> None:
    synthesise_pool(tmp_path / "pool", SyntheticConfig(videos=1, hands_per_video=4, size_px=64))
    pool = Pool.open(tmp_path / "pool")
    with closing(CropFiles(pool.path)) as files:
        crops = decoded(files, pool.hand_ids)
    expected = np.stack([pool.crop(hand_id) for hand_id in pool.hand_ids.tolist()])
    assert np.abs(crops.astype(int) - expected).mean() < 1, "decoders round in their own ways"
    assert len(np.unique(expected)) > 50


@pytest.fixture
def written(tmp_path: Path, pool: Pool) -> Callable[[bytes | None], CropFiles]:
    """Files of one hand, the pool's first, with that picture."""

    def write(jpeg: bytes | None) -> CropFiles:
        hand: Hand = pool.hand(int(pool.hand_ids[0]))
        with PoolWriter(tmp_path / "odd", crop_size_px=32) as writer:
            writer.add(hand, jpeg)
        return CropFiles(tmp_path / "odd")

    return write


@pytest.mark.parametrize(
    ("jpeg", "complaint"),
    [
        (b"", "it cannot be decoded"),
        (b"\xff\xd8\xff\xe0 no picture", "it cannot be decoded"),
        (encode_jpeg(np.zeros((16, 24, 3), dtype=np.uint8)), "it has 24 x 16 px, the pool 32"),
        (encode_jpeg(np.zeros((32, 32, 3), dtype=np.uint8))[:-80], "it cannot be decoded"),
    ],
)
def test_a_damaged_picture_is_named(
    written: Callable[[bytes], CropFiles], pool: Pool, jpeg: bytes, complaint: str
) -> None:
    with pytest.raises(HandsimError) as told:
        decoded(written(jpeg), pool.hand_ids[:1])
    name = format_hand_id(int(pool.hand_ids[0]))
    assert str(told.value).startswith(f"the crop of hand {name} in ")
    assert f" is damaged: {complaint}; " in str(told.value)
    assert "\n" not in str(told.value)


def test_what_has_no_picture_is_named(written: Callable[[bytes | None], CropFiles], pool: Pool) -> None:
    files = written(None)
    for hand_id in pool.hand_ids[:2]:  # the first has keypoints alone, the second is not there at all
        with pytest.raises(NotThereError, match=f"no picture of hand {format_hand_id(int(hand_id))}"):
            files.jpegs(np.array([hand_id]))


def test_files_that_were_cut_or_are_missing(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    (tar,) = pool.path.glob("parts/*/crops.tar")
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(
        HandsimError, match=r"part 000000 of the pool .* is damaged \(crops.tar ends too early\)"
    ):
        CropFiles(pool.path).jpegs(pool.hand_ids)
    tar.unlink()
    with pytest.raises(HandsimError, match=r"is damaged \(crops.tar is missing\)"):
        CropFiles(pool.path).jpegs(pool.hand_ids)


def test_a_grey_picture_has_three_colours_too(
    written: Callable[[bytes], CropFiles], pool: Pool, tmp_path: Path
) -> None:
    Image.new("L", (32, 32), 80).save(tmp_path / "grey.jpg")
    crops = decoded(written((tmp_path / "grey.jpg").read_bytes()), pool.hand_ids[:1])
    assert (np.abs(crops.astype(int) - 80) <= 1).all()
