"""Embeddings of pictures, alone or with poses: queries, caching, travelling with the weights, refusals.

What both kinds promise is tested on both.
"""

import json
import resource
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import Pool
from handsim.embedding import (
    BlendEmbedding,
    ImageEmbedding,
    PoseEmbedding,
    embedding_from_json,
    load_embedding,
)
from handsim.errors import HandsimError, NotThereError
from index import open_catalog
from tests.handsim.builders import CROP_PX, limited, picture, write_picture_pool

pytestmark = pytest.mark.slow

KINDS = pytest.mark.parametrize("kind", ["image", "blend"])


def weights_file(home: Path) -> Path:
    return next(home.glob("encoder-*.safetensors"))


@pytest.mark.parametrize(("kind", "dimension"), [("image", 5), ("blend", 9)])
def test_a_query_by_picture_lands_on_its_hand(kind: str, dimension: int, fitted: Path) -> None:
    pool, embedding = Pool.open(fitted / "pool"), load_embedding(fitted / f"{kind}.json")
    assert (embedding.kind, embedding.dimension) == (kind, dimension)
    expected = embedding.embed_hands(pool, slice(None))
    np.testing.assert_array_equal(embedding.embed_hands(pool, np.arange(3, 9)), expected[3:9])
    crops = [pool.crop(hand_id) for hand_id in pool.hand_ids[3:9].tolist()]
    vectors = embedding.embed(keypoints=pool.keypoints[3:9], crops=crops)
    np.testing.assert_allclose(vectors, expected[3:9], atol=2e-3 * np.abs(expected).max())
    distances = np.linalg.norm(expected[None] - vectors[:, None], axis=2)
    assert distances.argmin(axis=1).tolist() == list(range(3, 9))
    assert embedding.embed(keypoints=pool.keypoints[:0], crops=[]).shape == (0, dimension)


def test_crops_of_several_sizes_in_several_batches(fitted: Path) -> None:
    embedding = load_embedding(fitted / "image.json")
    crops = [picture(number, CROP_PX * (1 + number % 2)) for number in range(70)]
    together = embedding.embed(crops=crops)
    alone = np.concatenate([embedding.embed(crops=[crop]) for crop in crops[60:]])
    np.testing.assert_allclose(together[60:], alone, atol=2e-3 * np.abs(together).max())


def test_new_hands_are_encoded_once_and_known_ones_never_again(home: Path) -> None:
    embedding = load_embedding(home / "image.json")
    before = embedding.embed_hands(Pool.open(home / "pool"), slice(None))
    pool = write_picture_pool(home / "pool", range(40, 47))
    weights = weights_file(home)
    hidden = weights.rename(home / "hidden")
    np.testing.assert_array_equal(embedding.embed_hands(pool, slice(0, 40)), before)
    with pytest.raises(NotThereError, match=rf"{weights.name}, are missing .*; copy that file there"):
        embedding.embed_hands(pool, slice(35, 47))
    hidden.rename(weights)
    vectors = embedding.embed_hands(pool, slice(35, 47))
    hidden = weights.rename(home / "hidden")
    again = load_embedding(home / "image.json").embed_hands(pool, slice(None))
    np.testing.assert_array_equal(again, np.concatenate([before[:35], vectors]))
    hidden.rename(weights)
    query = embedding.embed(crops=[pool.crop(int(pool.hand_ids[45]))])
    np.testing.assert_allclose(query[0], again[45], atol=2e-3 * np.abs(again).max())


def test_hands_of_a_read_only_pool_are_encoded_without_being_cached(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = load_embedding(home / "image.json")
    pool = write_picture_pool(home / "pool", range(40, 43))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    read_only = embedding.embed_hands(pool, slice(38, 43))
    cached = len(list((home / "vectors").rglob("*.npy")))
    monkeypatch.undo()
    np.testing.assert_array_equal(embedding.embed_hands(pool, slice(38, 43)), read_only)
    assert len(list((home / "vectors").rglob("*.npy"))) == cached + 2


@KINDS
def test_it_travels_with_its_weights_as_a_file_and_as_json(kind: str, home: Path, tmp_path: Path) -> None:
    pool, embedding = Pool.open(home / "pool"), load_embedding(home / f"{kind}.json")
    keypoints, crops = pool.keypoints[:1], [picture(1)]
    expected = embedding.embed_hands(pool, slice(None))
    query = embedding.embed(keypoints=keypoints, crops=crops)
    version, weights = tmp_path / "version", weights_file(home)
    version.mkdir()
    embedding.save(version / "embedding.json")
    assert (version / weights.name).samefile(weights)  # shared, not copied
    weights.unlink()
    metadata = json.loads(json.dumps(embedding.to_json()))
    from_file, from_json = version / "embedding.json", embedding_from_json(metadata, [tmp_path, version])
    for there in (load_embedding(from_file), from_json):
        assert (there.kind, there.fingerprint) == (kind, embedding.fingerprint)
        assert there.to_json() == embedding.to_json()
        np.testing.assert_array_equal(there.explained_variance_ratio_, embedding.explained_variance_ratio_)
        np.testing.assert_array_equal(there.embed_hands(pool, slice(None)), expected)
        np.testing.assert_array_equal(there.embed(keypoints=keypoints, crops=crops), query)
    with pytest.raises(NotThereError, match=r"encoder-\w{16}.safetensors, are missing"):
        embedding_from_json(metadata).embed(keypoints=keypoints, crops=crops)
    there.save(home / f"{kind}.json")
    assert weights.exists()


def test_its_weights_are_copied_to_another_disk(home: Path) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == home.stat().st_dev:
        pytest.skip("needs a second file system, and /dev/shm is none")
    weights = weights_file(home)
    with TemporaryDirectory(dir="/dev/shm") as other:
        load_embedding(home / "image.json").save(Path(other) / "embedding.json")
        copy = Path(other) / weights.name
        assert not copy.samefile(weights)
        assert copy.read_bytes() == weights.read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(weights.stat().st_mode) == 0o644
        assert len(list(Path(other).iterdir())) == 2


def test_altered_and_other_weights_files_are_refused_in_one_line(home: Path) -> None:
    path = weights_file(home)
    whole = path.read_bytes()
    embedding = load_embedding(home / "image.json")
    for content, message in (
        (whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:], "was altered|is damaged"),  # of the trunk
        (whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:], "was altered"),  # of the last tensor
        (b"", "is empty[^\n]*, or fit the embedding again$"),
        (whole[:-40], "is cut short: it has [^\n]*, or fit the embedding again$"),
        (b"not this", "is a text[^\n]*, or fit the embedding again$"),
        (b"\x08\0\0\0\0\0\0\0{}      ", "has no 'pca.mean'; fit the embedding again$"),
    ):
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(HandsimError, match=rf"^[^\n]*({message})"):
            embedding.embed(crops=[picture(1)])


def test_a_file_that_cannot_be_opened_is_not_called_damaged(fitted: Path) -> None:
    load_embedding(fitted / "image.json").embed(crops=[picture(1)])  # what it imports needs files too
    embedding = load_embedding(fitted / "image.json")
    message = r"^[^\n]* cannot be read \(Too many open files\)"
    for refused in (
        lambda: embedding.embed(crops=[picture(1)]),
        lambda: load_embedding(fitted / "image.json"),
    ):
        with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(HandsimError, match=message):
            refused()


@pytest.mark.parametrize(
    ("kind", "part", "change", "message"),
    [
        ("image", None, {"dimension": 6}, "was altered"),
        ("image", None, {"architecture": "vit"}, "unknown architecture 'vit'"),
        ("image", None, {"image_size_px": None}, "damaged"),
        ("image", None, {"version": 2}, "has format 2, this handsim reads up to 1; upgrade"),
        ("image", None, {"version": None}, "version is missing"),
        ("image", None, {"format": "another"}, "its format is 'another'"),
        ("blend", None, {"pose_share": 0.31}, "was altered"),
        ("blend", None, {"pose_share": 1.0}, "damaged"),
        ("blend", None, {"pose": None}, "damaged"),
        ("blend", None, {"image": {}}, "version is missing"),
        ("blend", None, {"fingerprint": "0" * 16}, "was altered"),
        ("blend", "pose", {"normalisation": "none"}, "was altered"),
        ("blend", "pose", {"explained_variance": [-1.0, 0.5, 0.2, 0.1]}, "damaged"),
        ("blend", "image", {"explained_variance": [5.0, 4.0, 3.0, 2.0, 1.0]}, "was altered"),
    ],
)
def test_an_altered_file_is_refused_in_one_line(
    kind: str, part: str | None, change: dict[str, Any], message: str, home: Path
) -> None:
    path = home / f"{kind}.json"
    metadata = json.loads(path.read_text())
    (metadata if part is None else metadata[part]).update(change)
    path.write_text(json.dumps(metadata))
    with pytest.raises(HandsimError, match=rf"^[^\n]*{kind}\.json[^\n]*{message}[^\n]*$"):
        load_embedding(path)
    with pytest.raises(HandsimError, match=f"the index's embedding.*{message}"):
        embedding_from_json(metadata, [home])


def test_it_says_what_it_needs(home: Path) -> None:
    embedding = load_embedding(home / "image.json")
    pool = write_picture_pool(home / "pool", [41], with_crops=False)
    with pytest.raises(HandsimError, match="embeds pictures, keypoints alone cannot be placed"):
        embedding.embed(keypoints=pool.keypoints[:2])
    with pytest.raises(HandsimError, match=r"crop 1 is uint8 \[32, 16, 3\]"):
        embedding.embed(crops=[picture(1), picture(2)[:, :16]])
    with pytest.raises(HandsimError, match="crop 0 is float32"):
        embedding.embed(crops=[picture(1).astype(np.float32)])
    with pytest.raises(HandsimError, match="keypoints but no picture"):
        embedding.embed_hands(pool, slice(40, 41))
    poses: Any = SimpleNamespace(hand_ids=pool.hand_ids, keypoints=pool.keypoints)
    with pytest.raises(HandsimError, match="looks at crops, and these hands have keypoints alone"):
        embedding.embed_hands(poses, slice(0, 2))


def test_known_hands_need_no_torch(fitted: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from handsim import Pool\n"
        "from handsim.embedding import load_embedding\n"
        "home = Path(sys.argv[1]); embedding = load_embedding(home / 'image.json')\n"
        "print(embedding.embed_hands(Pool.open(home / 'pool'), slice(None)).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, fitted], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(40, 5) False"


def blend(home: Path, share: float) -> BlendEmbedding:
    image = load_embedding(home / "image.json")
    assert isinstance(image, ImageEmbedding)
    return BlendEmbedding(PoseEmbedding.load(home / "pose.json"), image, share)


def squared_distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = np.square(vectors[:, None].astype(np.float64) - vectors).sum(axis=2)
    return squared


@settings(max_examples=15)
@given(share=st.floats(0.001, 0.999))
def test_squared_distances_of_a_blend_add_up_by_shares(fitted: Path, share: float) -> None:
    pool, blended = Pool.open(fitted / "pool"), blend(fitted, share)
    poses = blended.pose.embed_hands(pool, slice(None))
    pictures = blended.image.embed_hands(pool, slice(None))
    vectors = blended.embed_hands(pool, slice(None))
    # The variance of each part over the pool is taken from its vectors here, and from its fit there.
    expected = share * squared_distances(poses) / poses.var(axis=0, ddof=1).sum()
    expected += (1 - share) * squared_distances(pictures) / pictures.var(axis=0, ddof=1).sum()
    np.testing.assert_allclose(squared_distances(vectors), expected, rtol=2e-4, atol=1e-5)
    assert vectors.var(axis=0, ddof=1).sum() == pytest.approx(1, rel=2e-4)
    assert vectors[:, :4].var(axis=0, ddof=1).sum() == pytest.approx(share, rel=2e-4)
    assert vectors.dtype == np.float32
    assert (vectors.shape, blended.dimension) == ((40, 9), 9)


def test_the_explained_variance_of_a_blend_is_that_of_the_whole(fitted: Path) -> None:
    blended = blend(fitted, 0.3)
    ratios = blended.explained_variance_ratio_
    parts = blended.pose.explained_variance_ratio_.sum(), blended.image.explained_variance_ratio_.sum()
    # Of the variance along the components, the pose has its share; the rest is what each part loses.
    assert ratios[:4].sum() / ratios.sum() == pytest.approx(0.3)
    assert min(parts) < ratios.sum() < max(parts)
    lost = 0.3 * (1 / parts[0] - 1) + 0.7 * (1 / parts[1] - 1)
    assert ratios.sum() == pytest.approx(1 / (1 + lost))
    assert (np.diff(ratios[:4]) <= 0).all()
    assert (np.diff(ratios[4:]) <= 0).all()


def test_a_blend_needs_both_inputs_a_share_between_0_and_1_and_parts_that_vary(fitted: Path) -> None:
    pool, blended = Pool.open(fitted / "pool"), blend(fitted, 0.3)
    crops = [pool.crop(int(pool.hand_ids[0]))]
    with pytest.raises(HandsimError, match="keypoints alone cannot be placed in it; ask with a picture"):
        blended.embed(keypoints=pool.keypoints[:1])
    with pytest.raises(HandsimError, match="together, pictures alone cannot be placed in it; ask with keyp"):
        blended.embed(crops=crops)
    with pytest.raises(HandsimError, match="2 poses and 1 crops; give one crop for each pose"):
        blended.embed(keypoints=pool.keypoints[:2], crops=crops)
    for share in (-0.1, 0.0, 1.0, float("nan")):
        with pytest.raises(HandsimError, match=f"pose_share is {share}; it lies between 0 and 1"):
            blend(fitted, share)
    same = PoseEmbedding.fit(np.full((10, 21, 2), 0.5), 2, "centre")
    with pytest.raises(HandsimError, match="variance of the poses in their embedding is 0; to be blended"):
        BlendEmbedding(same, blended.image, 0.5)


def test_different_blends_have_different_fingerprints(fitted: Path) -> None:
    half, other_pose = blend(fitted, 0.5), PoseEmbedding.fit(Pool.open(fitted / "pool"), 5)
    other_image = ImageEmbedding(replace(half.image.record, image_size_px=64), [])
    blends = [blend(fitted, 0.5), blend(fitted, 0.50001)]
    blends += [BlendEmbedding(other_pose, half.image, 0.5), BlendEmbedding(half.pose, other_image, 0.5)]
    fingerprints = {half.pose.fingerprint, half.image.fingerprint, half.fingerprint}
    assert len(fingerprints.union(one.fingerprint for one in blends)) == 6


def test_a_blend_fills_an_index_that_answers_by_hand_and_by_picture(home: Path) -> None:
    pool, blended = Pool.open(home / "pool"), load_embedding(home / "blend.json")
    vectors = blended.embed_hands(pool, slice(None))
    with open_catalog(home / "index") as catalog:
        info = catalog.build(pool, blended)
        assert (info.embedding_kind, info.dimension) == ("blend", 9)
        shutil.rmtree(home / "vectors")  # a version needs nothing of the home it was built in
        for weights in home.glob("encoder-*"):
            weights.unlink()
        with catalog.current() as version:
            assert version.embedding.fingerprint == info.embedding_fingerprint == blended.fingerprint
            found = version.search_hands(pool.hand_ids[:7], 3)
            distances = np.sqrt(squared_distances(vectors))[:7] + np.diag(np.full(len(pool), np.inf))[:7]
            np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :3], rtol=1e-4)
            np.testing.assert_array_equal(found.hand_ids[:, 0], pool.hand_ids[distances.argmin(axis=1)])
            crop = pool.crop(int(pool.hand_ids[11]))
            query = version.embedding.embed(keypoints=pool.keypoints[11:12], crops=[crop])
            assert version.search(query, 1).hand_ids[0, 0] == pool.hand_ids[11]
            with pytest.raises(HandsimError, match="keypoints alone cannot be placed in it"):
                version.search_keypoints(pool.keypoints[:1])
