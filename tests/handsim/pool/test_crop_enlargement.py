"""Pools whose pictures show more than SiMHand's crop: what they store, and what they give."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from handsim import HandsimError, Pool, PoolWriter
from handsim.ingest import ingest
from handsim.pool.crop_hashes import hash_crops
from handsim.pool.crops import CropFiles, decode_central, decode_crop
from handsim.pool.export.coco import write_coco
from handsim.pool.export.hands import ExportedHands
from handsim.pool.export.webdataset import write_webdataset
from handsim.pool.layout import HANDS_FILE, published_parts, read_columns, read_crop_enlargement
from handsim.pool.merge import merge
from handsim.pool.selection import Selection
from handsim.pool.subset import write_subset
from handsim.synthetic import SyntheticConfig, synthesise_pool
from tests.handsim.builders import BrightnessDetector, make_hand, make_partial_hand

WORLD = SyntheticConfig(videos=2, hands_per_video=2, size_px=64, seed=4)


def write_photographs(folder: Path, count: int = 3) -> Path:
    """Smooth pictures in which `BrightnessDetector` finds a hand in the middle."""
    folder.mkdir(parents=True)
    for number in range(count):
        noise = np.random.default_rng(number).integers(60, 220, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(noise).filter(ImageFilter.GaussianBlur(12)).save(folder / f"{number}.png")
    return folder


def begin_as_earlier_versions_did(pool: Path) -> Path:
    PoolWriter(pool).close()
    content = json.loads((pool / "pool.json").read_text())
    del content["crop_enlargement"]
    (pool / "pool.json").write_text(json.dumps(content))
    return pool


def crops_of(pool: Pool) -> NDArray[np.int64]:
    return np.stack([pool.crop(int(hand_id)) for hand_id in np.sort(pool.hand_ids)]).astype(np.int64)


def keypoints_of(pool: Pool) -> NDArray[np.float32]:
    return pool.keypoints[np.argsort(pool.hand_ids)]


def test_what_is_stored_is_wide_and_what_is_given_is_simhands_crop(tmp_path: Path) -> None:
    hands = [make_hand(1), make_partial_hand(2, [4])]
    with PoolWriter(tmp_path / "pool", crop_enlargement=2.6) as writer:
        for hand in hands:
            writer.add(hand)
    pool = Pool.open(tmp_path / "pool")
    expected = np.stack([hand.keypoints for hand in hands])
    np.testing.assert_allclose(pool.keypoints, expected, atol=1e-6)
    assert pool.is_complete.tolist() == [True, False]
    (part,) = published_parts(pool.path)
    stored = np.stack(read_columns(part, HANDS_FILE, ["keypoints"])["keypoints"].to_numpy())
    half = expected / 2 + [0.25, 0.25, 0]
    np.testing.assert_allclose(stored.reshape(-1, 21, 3), half, atol=1e-6)


def test_ingested_hands_are_the_same_in_wide_and_in_narrow_pictures(tmp_path: Path) -> None:
    """A new pool has wide ones; one that an earlier version began goes on with its own."""
    photographs = write_photographs(tmp_path / "photographs")
    old = begin_as_earlier_versions_did(tmp_path / "old")
    for pool in (old, tmp_path / "new"):
        assert ingest([photographs], pool, BrightnessDetector, workers=1).hands_new == 3
    narrow, wide = Pool.open(old), Pool.open(tmp_path / "new")
    assert (narrow.crop_enlargement, wide.crop_enlargement) == (1.3, 2.6)
    np.testing.assert_allclose(keypoints_of(wide), keypoints_of(narrow), atol=1e-6)
    assert np.abs(crops_of(wide) - crops_of(narrow)).mean() < 2
    hand_id = int(wide.hand_ids[0])
    central = decode_central(wide.stored_jpeg(hand_id), hand_id, CropFiles(wide.path).enlargement)
    assert np.array_equal(central, wide.crop(hand_id))
    assert np.abs(decode_crop(wide.crop_jpeg(hand_id), hand_id).astype(int) - central).mean() < 2
    hashes = [hash_crops(pool.path, np.sort(pool.hand_ids), pool.stored_jpeg) for pool in (wide, narrow)]
    apart = [int(one ^ other).bit_count() for one, other in zip(*(h.perceptual for h in hashes), strict=True)]
    assert max(apart) <= 4


def test_a_synthetic_world_has_the_same_hands_in_wide_and_in_narrow_pictures(tmp_path: Path) -> None:
    old = tmp_path / "old"
    synthesise_pool(old, WORLD, crop_enlargement=1.3)
    synthesise_pool(old, WORLD)
    synthesise_pool(tmp_path / "new", WORLD)
    narrow, wide = Pool.open(old), Pool.open(tmp_path / "new")
    assert (narrow.crop_enlargement, wide.crop_enlargement) == (1.3, 2.6)
    assert sorted(narrow.hand_ids) == sorted(wide.hand_ids)
    np.testing.assert_allclose(keypoints_of(wide), keypoints_of(narrow), atol=1e-5)
    with pytest.raises(HandsimError, match=r"crop_enlargement is 1\.2; .* 1\.3 to 10 times"):
        synthesise_pool(tmp_path / "new", WORLD, crop_enlargement=1.2)


@pytest.mark.parametrize("layout", ["coco", "webdataset"])
def test_an_exported_hand_comes_back_with_all_that_was_stored(tmp_path: Path, layout: str) -> None:
    photographs = write_photographs(tmp_path / "photographs")
    ingest([photographs], tmp_path / "pool", BrightnessDetector, workers=1)
    pool = Pool.open(tmp_path / "pool")
    hands, out = ExportedHands.select(pool, Selection()), tmp_path / "out"
    write = write_coco if layout == "coco" else write_webdataset
    write(out, hands, lambda done, of: None)
    file = out / "annotations.json" if layout == "coco" else out
    narrow = tmp_path / "narrow"
    PoolWriter(narrow).close()
    for again in (tmp_path / "again", narrow):
        assert ingest([file], again, BrightnessDetector, workers=1).hands_in_pool == 3
        np.testing.assert_allclose(keypoints_of(Pool.open(again)), keypoints_of(pool), atol=1e-5)
    same = Pool.open(tmp_path / "again")
    assert all(same.stored_jpeg(hand_id) == pool.stored_jpeg(hand_id) for hand_id in pool.hand_ids.tolist())
    assert np.abs(crops_of(Pool.open(narrow)) - crops_of(pool)).mean() < 2


def test_parts_of_a_pool_and_what_is_merged_keep_its_enlargement(tmp_path: Path) -> None:
    synthesise_pool(tmp_path / "wide", WORLD)
    with PoolWriter(tmp_path / "wide", crop_size_px=64) as writer:
        assert writer.crop_enlargement == 2.6
        writer.add(make_partial_hand(1, [4]))  # raises the version of the format
    write_subset(tmp_path / "wide", tmp_path / "part", 2)
    merge(tmp_path / "whole", tmp_path / "part")
    for name in ("wide", "part", "whole"):
        assert read_crop_enlargement(tmp_path / name) == 2.6
    synthesise_pool(tmp_path / "narrow", WORLD, crop_enlargement=1.3)
    with pytest.raises(HandsimError, match=r"narrow are 1\.3 times .* 2\.6 times; .*ingest"):
        merge(tmp_path / "whole", tmp_path / "narrow")
