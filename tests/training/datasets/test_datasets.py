"""What all datasets promise alike, and what FreiHAND and handsim's own do."""

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import mirror_points
from handsim.skeleton import REFERENCE_BONE
from handsim.synthetic import LabelledPicture, PeopleConfig, SyntheticConfig, synthesise_labelled
from handsim.synthetic.camera import project
from handsim.synthetic.config import MotionConfig
from tests.training.datasets.builders import ASSEMBLYHANDS, DEXYCB, FREIHAND, SYNTHETIC, damaged
from tests.training.datasets.conftest import Copier
from training.datasets import layouts
from training.datasets.freihand import FreiHAND
from training.datasets.generic import write_generic
from training.datasets.layouts import (
    EVALUATION_EVERY,
    is_synthetic,
    write_assemblyhands,
    write_dexycb,
    write_freihand,
)
from training.datasets.open_dataset import DATASETS, known_splits, open_dataset
from training.datasets.synthetic import (
    CROP_ENLARGEMENT,
    LABELS_FILE,
    METADATA_FILE,
    SyntheticHands,
    split_of_people,
    write_synthetic,
)

REMEDIES = {
    "freihand": "download and extract FreiHAND_pub_v2.zip again",
    "dexycb": "extract its archive again",
    "assemblyhands": "extract that sequence's archive of ego_images_rectified again",
    "ho3d": "download and extract HO-3D again",
    "interhand": "extract the archive of that capture's images again",
    "coco_wholebody": "extract COCO's archive of pictures of 2017 again",
    "hint": "download and extract HInt again",
    "generic": "correct hands.json or add the image",
    "synthetic": "write it again with `handsim synth --layout synthetic`",
}
LAYOUTS: dict[str, tuple[Callable[[Path, SyntheticConfig], None], SyntheticConfig]] = {
    "freihand": (write_freihand, FREIHAND),
    "dexycb": (write_dexycb, DEXYCB),
    "assemblyhands": (write_assemblyhands, ASSEMBLYHANDS),
    "generic": (write_generic, SYNTHETIC),
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


@pytest.mark.parametrize(
    ("name", "splits"), [("dexycb", ["s0_train"]), ("assemblyhands", known_splits("assemblyhands"))]
)
def test_one_persons_bones_are_equally_long(name: str, root: Path, splits: Iterable[str]) -> None:
    """In all pictures and on both sides; those of others are not."""
    lengths: dict[str, list[float]] = {}
    for dataset in (open_dataset(name, root, split) for split in splits):
        for label in map(dataset.label, range(len(dataset))):
            wrist, knuckle = label.joints_3d_mm[[*REFERENCE_BONE]]
            lengths.setdefault(label.subject, []).append(float(np.linalg.norm(knuckle - wrist)))
    for found in lengths.values():  # NaN where one is not annotated
        assert np.nanmax(found) - np.nanmin(found) < 0.01
    assert len({round(np.nanmax(found), 1) for found in lengths.values()}) == len(lengths) > 1


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


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "hint"])  # sizes are those of pictures
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


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_seed_writes_the_same_bytes_and_never_over_them(
    name: str, root: Path, tmp_path: Path
) -> None:
    write, config = LAYOUTS[name]
    again = tmp_path / "again"
    write(again, config)
    assert is_synthetic(again)
    one, other = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (root, again)
    )
    assert one == other
    with pytest.raises(HandsimError, match="is not empty; a dataset is written into a folder of its own"):
        write(again, config)


def test_the_smallest_world_has_every_split_of_freihand(tmp_path: Path) -> None:
    layouts.write_freihand(tmp_path / "set", replace(FREIHAND, videos=3, hands_per_video=1))
    assert [len(FreiHAND(tmp_path / "set", split)) for split in known_splits("freihand")] == [4, 1, 4, 1]


@pytest.mark.parametrize(
    ("name", "videos", "problem"),
    [
        ("freihand", 2, "videos is 2; the layout of freihand needs 3"),
        ("dexycb", 1001, "videos is 1001; DexYCB has at most 1000 sequences"),
        ("dexycb", 11, "videos is 11; the layout of dexycb needs 12"),
        ("assemblyhands", 2, "videos is 2; the layout of assemblyhands needs 3"),
        ("synthetic", 2, "videos is 2; the layout of synthetic needs 3"),
        ("generic", 2, "videos is 2; the layout of generic needs 3"),
    ],
)
def test_worlds_that_leave_a_split_empty_are_refused(
    tmp_path: Path, name: str, videos: int, problem: str
) -> None:
    write, config = LAYOUTS[name]
    with pytest.raises(HandsimError, match=problem):
        write(tmp_path / "set", replace(config, videos=videos))
    assert not (tmp_path / "set").exists()


FREIHAND_WORLD = replace(FREIHAND, size_px=224, motion=MotionConfig(left_share=0), people=PeopleConfig(0))


@pytest.fixture(scope="module")
def truth() -> dict[str, list[LabelledPicture]]:
    """The pictures of each part, in their order."""
    pictures = list(synthesise_labelled(FREIHAND_WORLD, crop_enlargement=layouts.CROP_ENLARGEMENT))
    evaluation = [picture for picture in pictures if picture.video % EVALUATION_EVERY == 0]
    training = [picture for picture in pictures if picture.video % EVALUATION_EVERY]
    return {"evaluation": evaluation, "training": training}


@pytest.mark.parametrize("split", ["train", "train_v0", "val", "eval"])
def test_freihand_is_read_as_it_was_written(
    freihand_root: Path, truth: dict[str, list[LabelledPicture]], split: str
) -> None:
    dataset = FreiHAND(freihand_root, split)
    assert dataset.has_truth
    for index in range(len(dataset)):
        hand = dataset[index]
        part, number = hand.sample_id.split("/")
        picture = truth[part][int(number) % len(truth[part])]
        np.testing.assert_allclose(hand.joints_3d_mm, picture.joints_3d_mm, atol=0.01)
        np.testing.assert_allclose(hand.keypoints_2d_px, picture.keypoints_2d_px, atol=0.01)
        np.testing.assert_allclose(hand.intrinsics, picture.intrinsics, atol=1e-6)
        projected = project(hand.joints_3d_mm.astype(np.float64), hand.intrinsics)
        np.testing.assert_allclose(projected, hand.keypoints_2d_px, atol=0.01)
        assert hand.valid.all()
        assert (hand.side, hand.size_px, hand.image.shape) == ("right", (224, 224), (224, 224, 3))
        if int(number) < len(truth[part]):  # the first version is the picture itself
            assert np.abs(hand.image.astype(int) - picture.image).mean() < 4


def test_splits_of_freihand_have_each_picture_once_and_versions_together(freihand_root: Path) -> None:
    train, val, first = (FreiHAND(freihand_root, split) for split in ("train", "val", "train_v0"))
    names = [[dataset.label(i).sample_id for i in range(len(dataset))] for dataset in (train, val, first)]
    assert len(names[0]) + len(names[1]) == len(set(names[0] + names[1])) == 4 * 8
    assert len(names[1]) == 4
    assert len({val.label(i).subject for i in range(4)}) == 1
    assert set(names[2]) < set(names[0])
    assert len(names[2]) == len(names[0]) // 4
    again = FreiHAND(freihand_root, "val")
    assert [again.label(i).sample_id for i in range(len(again))] == names[1]


def test_freihands_evaluation_without_truth_can_be_predicted_on(
    freihand_root: Path, copy_of: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = copy_of(freihand_root)
    file = copy / "evaluation_xyz.json"
    for name in ("../freihand_eval", "evaluation", "../FreiHAND_pub_v2_eval"):  # where archives are often put
        (copy / name).mkdir(exist_ok=True)
        file = file.rename(copy / name / file.name)
        assert FreiHAND(copy, "eval").has_truth
    monkeypatch.chdir(copy)
    assert FreiHAND(Path(), "eval").has_truth
    file.unlink()
    dataset = FreiHAND(copy, "eval")
    hand = dataset[0]
    assert not dataset.has_truth
    assert not hand.valid.any()
    assert np.isnan(hand.joints_3d_mm).all()
    assert hand.intrinsics[0, 0] > 0


@pytest.mark.parametrize("missing", ["training_xyz.json", "training_K.json"])
def test_an_incomplete_download_of_freihand_is_refused(freihand_root: Path, missing: str) -> None:
    with damaged(freihand_root / missing) as path:
        path.unlink()
        with pytest.raises(NotThereError, match=rf"{missing} is missing; download"):
            FreiHAND(freihand_root, "train")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[[1, 2", r"training_xyz\.json cannot be read"),
        (json.dumps({"xyz": 1}), r"training_xyz\.json cannot be read"),
        (json.dumps([[[0.0] * 3] * 20] * 8), r"holds \[8, 20, 3\] numbers; .* has \[N, 21, 3\]; download"),
        (json.dumps([[[float("nan")] * 3] * 21] * 8), "not finite, of 8 of 8 hands, such as hand 0; d"),
        (json.dumps([[[0.0] * 3] * 21] * 7), r"has 7 hands and training_K\.json 8"),
    ],
)
def test_labels_of_freihand_of_another_form_are_refused(
    freihand_root: Path, content: str, problem: str
) -> None:
    with damaged(freihand_root / "training_xyz.json") as path:
        path.write_text(content)
        with pytest.raises(HandsimError, match=problem):
            FreiHAND(freihand_root, "train")


def test_synthetic_hands_are_read_as_right_hands(synthetic_root: Path) -> None:
    truth = {
        (picture.video, picture.frame): picture
        for picture in synthesise_labelled(SYNTHETIC, crop_enlargement=CROP_ENLARGEMENT)
    }
    datasets = [SyntheticHands(synthetic_root, split) for split in known_splits("synthetic")]
    hands = [dataset[index] for dataset in datasets for index in range(len(dataset))]
    assert len(hands) == len(truth) == 24
    assert {hand.side for hand in hands} == {"left", "right"}
    for hand in hands:
        video, frame = map(int, hand.sample_id.split("/")[1:])
        picture = truth[video, frame]
        left = picture.side == "left"
        image = picture.image[:, ::-1] if left else picture.image
        joints = picture.joints_3d_mm.astype(np.float64) * [-1 if left else 1, 1, 1]
        keypoints = mirror_points(picture.keypoints_2d_px, 64) if left else picture.keypoints_2d_px
        np.testing.assert_allclose(hand.keypoints_2d_px, keypoints, atol=0.01)
        np.testing.assert_allclose(hand.joints_3d_mm, joints, atol=0.01)
        assert np.abs(hand.image.astype(int) - image).mean() < 8
        assert hand.side == picture.side
        assert hand.valid.all()
        projected = project(hand.joints_3d_mm.astype(np.float64), hand.intrinsics)
        np.testing.assert_allclose(projected, keypoints, atol=0.01)


def test_nobody_is_in_two_splits_of_synthetic_hands(synthetic_root: Path) -> None:
    people = []
    for split in known_splits("synthetic"):
        dataset = SyntheticHands(synthetic_root, split)
        people.append({dataset.label(index).subject for index in range(len(dataset))})
    assert len(people[0] | people[1] | people[2]) == sum(map(len, people))
    assert all(people)
    counts = json.loads((synthetic_root / METADATA_FILE).read_text())["hands"]
    assert counts == {
        split: len(SyntheticHands(synthetic_root, split)) for split in known_splits("synthetic")
    }


def test_damaged_synthetic_datasets_are_refused_with_the_remedy(
    synthetic_root: Path, copy_of: Copier
) -> None:
    copy = copy_of(synthetic_root)
    metadata, labels = copy / METADATA_FILE, copy / LABELS_FILE
    content, arrays, npz = metadata.read_text(), dict(np.load(labels)), labels.read_bytes()

    def refused(problem: str) -> None:
        with pytest.raises(HandsimError, match=f"{problem}.*; write it again with `handsim synth"):
            SyntheticHands(copy, "train")

    for text, problem in (
        (content.replace('"format": 1', '"format": 2'), "has format 2, this handsim reads 1"),
        ("{", f"{METADATA_FILE} cannot be read"),
        ('{"format": 1}', f"{METADATA_FILE} lacks 'world'"),
    ):
        metadata.write_text(text)
        refused(problem)
    metadata.write_text(content)
    joints = arrays["joints_3d_mm"]
    for change, problem in (
        ({"joints_3d_mm": joints[:, :20]}, r"has joints_3d_mm \[24, 20, 3\], expected \[24, 21, 3\]"),
        ({"joints_3d_mm": np.full_like(joints, np.nan)}, "has numbers in joints_3d_mm that are not finite"),
        ({"split": np.array([None] * 24)}, f"{LABELS_FILE} cannot be read"),  # objects would be pickled
    ):
        np.savez(labels, **{**arrays, **change})
        refused(problem)
    labels.write_bytes(npz[:500])
    refused(f"{LABELS_FILE} cannot be read")
    labels.unlink()
    refused(f"{LABELS_FILE} is missing")
    metadata.unlink()
    refused("is not a synthetic dataset")


@pytest.mark.parametrize(("videos", "people"), [(3, 0), (3, 3), (4, 20), (12, 3)])
def test_small_worlds_have_a_person_for_every_split(videos: int, people: int) -> None:
    world = replace(SYNTHETIC, videos=videos, hands_per_video=1, people=PeopleConfig(count=people))
    assert set(split_of_people(world).tolist()) == {0, 1, 2}


def test_fewer_people_than_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"people.count is 2; splits are by people, so 3 are needed"):
        write_synthetic(tmp_path / "set", replace(SYNTHETIC, people=PeopleConfig(count=2)))
    assert not (tmp_path / "set").exists()
