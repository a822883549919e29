import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from handsim import Pool
from handsim.embedding import ImageEmbedding, embedding_from_facts, load_embedding
from handsim.embedding.image_fit import ImageFitOptions, fit_image_embedding
from handsim.errors import HandsimError, NotThereError
from tests.handsim.embedding.image.pools import CROP_PX, picture, write_pool


@pytest.fixture(scope="module")
def fitted(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 30 hands and an embedding of their crops."""
    home = tmp_path_factory.mktemp("fitted")
    options = ImageFitOptions(components=5, image_size_px=CROP_PX, device="cpu")
    fit_image_embedding(
        write_pool(home / "pool", range(30)), str(checkpoint), home / "embedding.json", options
    )
    return home


@pytest.fixture
def home(fitted: Path, tmp_path: Path) -> Path:
    """A copy of it for a test to change."""
    return shutil.copytree(fitted, tmp_path / "home")


def weights_file(home: Path) -> Path:
    return next(home.glob("encoder-*.safetensors"))


def test_a_picture_asked_about_lands_on_its_hand(home: Path) -> None:
    pool, embedding = Pool.open(home / "pool"), load_embedding(home / "embedding.json")
    kept = embedding.embed_hands(pool, slice(None))
    seen = embedding.embed(crops=[pool.crop(hand_id) for hand_id in pool.hand_ids[3:9].tolist()])
    np.testing.assert_allclose(seen, kept[3:9], atol=2e-3 * np.abs(kept).max())
    distances = np.linalg.norm(kept[None] - seen[:, None], axis=2)
    assert distances.argmin(axis=1).tolist() == list(range(3, 9))
    assert (embedding.kind, embedding.dimension) == ("image", 5)


def test_many_crops_of_several_sizes_and_none(home: Path) -> None:
    embedding = load_embedding(home / "embedding.json")
    crops = [picture(number, CROP_PX * (1 + number % 2)) for number in range(70)]  # more than one batch
    together = embedding.embed(crops=crops)
    alone = np.concatenate([embedding.embed(crops=[crop]) for crop in crops[60:]])
    np.testing.assert_allclose(together[60:], alone, atol=2e-3 * np.abs(together).max())
    assert embedding.embed(crops=[]).shape == (0, 5)


def test_new_hands_are_encoded_once_and_known_ones_never_again(home: Path) -> None:
    embedding = load_embedding(home / "embedding.json")
    before = embedding.embed_hands(Pool.open(home / "pool"), slice(None))
    pool = write_pool(home / "pool", range(30, 37))
    weights = weights_file(home)
    hidden = weights.rename(home / "hidden")
    np.testing.assert_array_equal(embedding.embed_hands(pool, slice(0, 30)), before)
    with pytest.raises(NotThereError, match=rf"{weights.name}, are missing .*; copy that file there"):
        embedding.embed_hands(pool, slice(25, 37))
    hidden.rename(weights)
    vectors = embedding.embed_hands(pool, slice(25, 37))
    hidden = weights.rename(home / "hidden")
    again = load_embedding(home / "embedding.json").embed_hands(pool, slice(None))
    np.testing.assert_array_equal(again, np.concatenate([before[:25], vectors]))
    hidden.rename(weights)
    seen = embedding.embed(crops=[pool.crop(int(pool.hand_ids[35]))])
    np.testing.assert_allclose(seen[0], again[35], atol=2e-3 * np.abs(again).max())


def test_it_travels_with_its_weights(home: Path, tmp_path: Path) -> None:
    (tmp_path / "version").mkdir()
    embedding = load_embedding(home / "embedding.json")
    embedding.save(tmp_path / "version" / "embedding.json")
    weights = weights_file(home)
    assert (tmp_path / "version" / weights.name).samefile(weights)  # shared, not copied
    weights.unlink()
    there = load_embedding(tmp_path / "version" / "embedding.json")
    assert there.fingerprint == embedding.fingerprint
    assert there.facts() == embedding.facts()
    assert there.embed(crops=[picture(1)]).shape == (1, 5)
    there.save(home / "embedding.json")
    assert weights.exists()


def test_its_weights_are_copied_to_another_disk(home: Path) -> None:
    if not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == home.stat().st_dev:
        pytest.skip("needs a second file system, and /dev/shm is none")
    weights = weights_file(home)
    with TemporaryDirectory(dir="/dev/shm") as other:
        load_embedding(home / "embedding.json").save(Path(other) / "embedding.json")
        copy = Path(other) / weights.name
        assert not copy.samefile(weights)
        assert copy.read_bytes() == weights.read_bytes()
        assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(weights.stat().st_mode) == 0o644
        assert len(list(Path(other).iterdir())) == 2


def test_facts_are_enough_where_the_weights_can_be_found(home: Path, tmp_path: Path) -> None:
    embedding = load_embedding(home / "embedding.json")
    facts = json.loads(json.dumps(embedding.facts()))
    again = embedding_from_facts(facts, [tmp_path, home])
    assert isinstance(again, ImageEmbedding)
    assert again.fingerprint == embedding.fingerprint == facts["fingerprint"]
    np.testing.assert_array_equal(again.embed(crops=[picture(1)]), embedding.embed(crops=[picture(1)]))
    np.testing.assert_array_equal(again.explained_variance_ratio_, embedding.explained_variance_ratio_)
    with pytest.raises(NotThereError, match=r"encoder-\w{16}.safetensors, are missing"):
        embedding_from_facts(facts).embed(crops=[picture(1)])


@pytest.mark.parametrize("place", [2000, -40], ids=["header or trunk", "last tensor"])
def test_altered_weights_are_refused(home: Path, place: int) -> None:
    content = bytearray(weights_file(home).read_bytes())
    content[place] ^= 1
    weights_file(home).write_bytes(content)
    with pytest.raises(HandsimError, match=r"was altered|is damaged"):
        load_embedding(home / "embedding.json").embed(crops=[picture(1)])


@pytest.mark.parametrize("content", [b"", b"not this", b"\x08\0\0\0\0\0\0\0{}      "])
def test_other_weights_files_are_refused_in_one_line(home: Path, content: bytes) -> None:
    weights_file(home).write_bytes(content)
    with pytest.raises(HandsimError, match=r"^[^\n]*is damaged[^\n]*; fit the embedding again$"):
        load_embedding(home / "embedding.json").embed(crops=[picture(1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimension": 6}, "was altered"),
        ({"trunk_sha256": "0" * 64}, "was altered"),
        ({"architecture": "vit"}, "unknown architecture 'vit'"),
        ({"image_size_px": None}, "damaged"),
        ({"version": 2}, "has format 2, this handsim reads up to 1; upgrade"),
        ({"version": None}, "version is missing"),
        ({"format": "another"}, "its format is 'another'"),
    ],
)
def test_altered_facts_are_refused(home: Path, change: dict[str, object], message: str) -> None:
    facts = json.loads((home / "embedding.json").read_text())
    (home / "embedding.json").write_text(json.dumps(facts | change))
    with pytest.raises(HandsimError, match=message):
        load_embedding(home / "embedding.json")
    with pytest.raises(HandsimError, match=f"the index's embedding.*{message}"):
        embedding_from_facts(facts | change, [home])


def test_it_asks_for_what_it_needs(home: Path) -> None:
    embedding = load_embedding(home / "embedding.json")
    pool = write_pool(home / "pool", [31], with_crops=False)
    with pytest.raises(HandsimError, match="embeds pictures, keypoints alone cannot be placed"):
        embedding.embed(keypoints=pool.keypoints[:2])
    with pytest.raises(HandsimError, match=r"crop 1 is uint8 \[32, 16, 3\]"):
        embedding.embed(crops=[picture(1), picture(2)[:, :16]])
    with pytest.raises(HandsimError, match="crop 0 is float32"):
        embedding.embed(crops=[picture(1).astype(np.float32)])
    with pytest.raises(HandsimError, match="keypoints but no picture"):
        embedding.embed_hands(pool, slice(30, 31))

    class Poses:
        hand_ids = pool.hand_ids
        keypoints = pool.keypoints

        def __len__(self) -> int:
            return len(self.hand_ids)

    with pytest.raises(HandsimError, match="looks at crops, and these hands have keypoints alone"):
        embedding.embed_hands(Poses(), slice(0, 2))


def test_known_hands_need_no_torch(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from handsim import Pool\n"
        "from handsim.embedding import load_embedding\n"
        "home = Path(sys.argv[1]); embedding = load_embedding(home / 'embedding.json')\n"
        "print(embedding.embed_hands(Pool.open(home / 'pool'), slice(None)).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(30, 5) False"
