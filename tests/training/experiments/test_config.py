"""Files of experiments: what is wrong in one is said in one line, and the command line overrides it."""

from pathlib import Path

import pytest
import yaml

from handsim.errors import HandsimError, NotThereError
from tests.training.experiments.builders import CONTENT, SHORT, Content, changed, nested
from training.experiments.config import EXPERIMENTS, check_inputs, parse_overrides, read_experiment
from training.experiments.plan import expand, merge_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
    return path


def _refused(content: Content, path: Path) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(HandsimError) as caught:
        expand(read_experiment(path, {}))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        # keys that do not exist, in the file and in what it passes on
        ("titel", "x", "there is no setting titel; did you mean title?"),
        ("data.pools.wild.wordl", "studio", "data.pools.wild.wordl; did you mean data.pools.*.world?"),
        ("axes.top_ks", [1], "no setting axes.top_ks; did you mean axes.top_k?"),
        ("tables.main.row", "pool", "no setting tables.main.row; did you mean tables.*.rows?"),
        ("axes.methods.simhand.settings.loss.temp", 1, "method simhand: there is no setting loss.temp"),
        ("base.finetune.pairs.ef", 1, "fine-tuning on studio: there is no setting pairs"),
        ("data.pools.wild.settings.video", 1, "pool wild: there is no setting video; did you mean videos?"),
        ("data.datasets.studio.settings.scene.x", 1, "dataset studio: there is no setting scene.x"),
        # values that cannot be
        ("axes.methods.simhand", None, "axes.methods.simhand is a group of settings"),
        ("axes.seeds", [1, 1], "axes.seeds is [1, 1]; name each value once"),
        ("axes.seeds", [-1], "axes.seeds is [-1]; such a number is at least 1 (a seed 0)"),
        ("axes.seeds", ["one"], "axes.seeds"),
        ("axes.seeds", [], "axes.seeds is empty"),
        ("axes.top_k", [0], "axes.top_k is [0]; such a number is at least 1"),
        ("axes.label_fractions", {}, "axes.label_fractions is empty"),
        ("axes.label_fractions", {"all": {}}, "axes.label_fractions has 'all'; a share is a number"),
        ("axes.label_fractions", {2.0: {}}, "label_fraction is 2"),
        ("axes.weightings", {"w": {"pairs": "bot"}}, "loss.weighting.pairs"),
        ("data.pools.wild.keypoint_noise", 3, "keypoint_noise is 3"),
        # recipes and worlds that are not there
        ("axes.methods.simhand.recipe", "simhnd", "no recipe simhnd; did you mean simhand?"),
        ("data.datasets.studio.recipe", "synthetik", "no recipe synthetik; did you mean synthetic?"),
        ("data.datasets.studio.world", "studi", "no world studi; did you mean studio?"),
        # parts that do not go together
        ("data.pools", {}, "data.pools is empty; pre-training needs one"),
        ("data.datasets", {}, "data.datasets is empty; there is nothing to evaluate on"),
        ("data.pools.wild.hands", 0, "a pool's hands is 0; it is at least 1, or left out for all"),
        ("data.pools.wild.home", "hands", "a pool is either that of a home (hands) or synthetic"),
        ("data.datasets.studio.root", "set", "a dataset is either in a folder (set) or synthetic"),
        ("data.pools", {"a/b": {"home": "x"}}, "data.pools has a 'a/b'; a name is letters, digits"),
        ("start.recipe", None, "axes.methods.simhand.init is start, and start.recipe is not set; set it"),
        ("start.pool", "tame", "start.pool is tame; the pools are wild"),
        ("axes.methods.scratch.settings", {"seed": 1}, "axes.methods.scratch has settings and no recipe"),
        ("base.finetune.encoder.architecture", "resnet34", "pre-trains a resnet18, and a resnet34 is"),
        ("axes.methods.simhand.init", "resnet50", "encoder.init is resnet50, ImageNet's weights for"),
        # what has a place of its own
        ("base.pretrain.encoder.init", "resnet18", "leave it out and set axes.methods.NAME.init"),
        ("base.finetune.data.label_fraction", 0.5, "label_fraction is 0.5; leave it out and set axes.label"),
        ("base.finetune.data.root", "set", "data.root is set; leave it out and set data.datasets.NAME.root"),
        ("base.pretrain.seed", 3, "seed is 3; leave it out and set axes.seeds"),
        # tables
        ("tables.main.columns", "method", "a table's rows and columns are both method; leave columns out"),
        ("tables.main.metrics", [], "a table's metrics are empty; name at least one"),
        ("tables.main.metrics", ["procrustes_mpjpe"], "did you mean procrustes_mpjpe_mm?"),
        ("tables.main.where", {"colour": 3}, "main.where has colour; the axes are method, dataset, pool, "),
        ("tables.main.where", {"method": "start"}, "main.where has method, which is a row or column"),
        ("tables.main.where", {"pool": "tame"}, "tables.main.where.pool is tame; it is one of wild"),
        ("axes.top_k", [1, 3], "main does not show top_k, which has the values 1, 3; choose one with where"),
        ("axes.label_fractions", {0.1: {}, 1.0: {}}, "not show label_fraction, which has the values 0.1, 1;"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(tmp_path: Path, setting: str, value: object, problem: str) -> None:
    *groups, name = setting.split(".")
    content = merge_settings(SHORT, {"tables": {"main": {}}})
    place = content
    for group in groups:
        place[group] = dict(place.get(group) or {})
        place = place[group]
    place[name] = value
    assert problem in _refused(content, tmp_path / "bad.yaml")


def test_files_without_an_experiment_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match=r"no experiment synthetic_mian; did you mean synthetic_main\?"):
        read_experiment("synthetic_mian", {})
    for text, problem in (
        ("- 1", "holds a list; it has to be a mapping"),
        ("a: [", "cannot be read as YAML"),
        ("", r"data\.datasets is empty"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(HandsimError, match=problem):
            read_experiment(tmp_path / "bad.yaml", {})


def test_where_accepts_a_whole_number_and_its_float(file: Path) -> None:
    for one in (1, 1.0):
        where = {"axes.label_fractions": {0.1: {}, 1: {}}, "tables.main.where": {"label_fraction": one}}
        experiment = read_experiment(file, where)
        assert experiment.labels("label_fraction") == ["0.1", "1"]


def test_the_command_line_overrides_the_file(file: Path) -> None:
    words = ["--axes.seeds", "[7]", "--data.pools.wild.settings.videos=9", "--data.datasets.extra.root=/set"]
    overrides = parse_overrides(words)
    assert overrides == {
        "axes.seeds": [7],
        "data.pools.wild.settings.videos": 9,
        "data.datasets.extra.root": "/set",
    }
    experiment = read_experiment(file, overrides)
    assert experiment.axes.seeds == (7,)
    assert experiment.data.pools["wild"].settings == {"videos": 9, "size_px": 64}
    assert experiment.data.pools["wild"].world == "in_the_wild"
    assert experiment.data.datasets["extra"].root == "/set"
    assert {*experiment.data.datasets} == {"studio", "extra"}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["seeds", "1"], "seeds is not a setting; settings are given as --its.name VALUE"),
        (["--axes.seeds"], "--axes.seeds has no value; give it as --axes.seeds VALUE"),
        (["--axes.seeds", "[1"], "--axes.seeds is '[1', which is not YAML; quote it"),
    ],
)
def test_words_that_are_not_settings_are_refused(words: list[str], problem: str) -> None:
    with pytest.raises(HandsimError) as caught:
        parse_overrides(words)
    assert str(caught.value) == problem


def test_a_file_inherits_whole_groups_from_the_one_that_it_is_like(file: Path) -> None:
    own = file.with_name("own.yaml")
    own.write_text(
        "like: small.yaml\nbase: {components: 3}\naxes: {methods: {peclr: {recipe: peclr, init: start}}}\n"
    )
    small, experiment = read_experiment(file, {}), read_experiment(own, {})
    assert (experiment.data, experiment.start) == (small.data, small.start)
    assert (experiment.base.components, experiment.base.pretrain) == (3, {})
    assert ({*experiment.axes.methods}, experiment.title, experiment.tables) == ({"peclr"}, "", {})
    changed_here = read_experiment(own, {"data.pools.wild.keypoint_noise": 0.1})
    assert changed_here.data.pools["wild"].keypoint_noise == 0.1
    shipped = file.with_name("shipped.yaml")
    shipped.write_text("like: synthetic_tiny\naxes: {methods: {scratch: {}}}\n")
    assert read_experiment(shipped, {}).data == read_experiment("synthetic_tiny", {}).data


@pytest.mark.parametrize(
    ("like", "problem"),
    [
        ("own.yaml", r"own\.yaml is like own\.yaml, which is like own\.yaml; name that one"),
        ("small", r"there is no experiment small"),
        ("synthetic_mian", r"no experiment synthetic_mian; did you mean synthetic_main\?"),
        ("[1]", r"there is no experiment \[1\]"),
    ],
)
def test_like_takes_one_file_that_exists(file: Path, like: str, problem: str) -> None:
    own = file.with_name("own.yaml")
    own.write_text(f"like: {like}\n")
    with pytest.raises(HandsimError, match=problem):
        read_experiment(own, {})


def test_the_home_of_the_command_is_used_unless_the_file_names_one(file: Path) -> None:
    assert read_experiment(file, {}).data.home is None
    assert read_experiment(file, {}, Path("here")).data.home == "here"
    assert read_experiment(file, {"data.home": "there"}, Path("here")).data.home == "there"


def test_unknown_settings_of_the_command_line_are_refused(file: Path) -> None:
    with pytest.raises(HandsimError, match=r"no setting axes\.seed; did you mean axes\.seeds\?"):
        read_experiment(file, {"axes.seed": [1]})
    with pytest.raises(HandsimError, match=r"title"):
        read_experiment(file, {"title.short": 1})


def test_later_settings_replace_earlier_ones_key_by_key() -> None:
    below = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2]}
    assert merge_settings(below, {"a": {"c": {"f": 3}}, "e": [3]}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 3}},
        "e": [3],
    }
    assert merge_settings(below, {"a": 5}, {"a": {"g": 1}}) == {"a": {"g": 1}, "e": [1, 2]}
    assert below == {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2]}
    assert merge_settings() == {}


def test_missing_inputs_are_refused_before_any_step(tmp_path: Path) -> None:
    (tmp_path / "home" / "pool").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    (tmp_path / "a.ckpt").touch()
    home, root, start = str(tmp_path / "home"), str(tmp_path / "set"), str(tmp_path / "a.ckpt")

    def content(home: str | None, root: str | None, start: str) -> Content:
        return {
            **changed(nested("axes.methods", {"simhand": {"recipe": "simhand", "init": start}})),
            "data": {"pools": {"p": {"home": home}}, "datasets": {"d": {"root": root}}},
        }

    check_inputs(EXPERIMENTS.fill(content(home, root, start), [], "here"))
    check_inputs(EXPERIMENTS.fill(content(home, root, "resnet18"), [], "here"))
    check_inputs(EXPERIMENTS.fill(CONTENT, [], "here"))  # filmed
    for places, problem in (
        ((None, root, start), "data.home is not set; give its place with --data.home FOLDER"),
        ((root, root, start), f"data.pools.p.home is {root}, which has no folder pool"),
        ((home, None, start), "data.datasets.d.root is not set; give its place with --"),
        ((home, start, start), f"data.datasets.d.root is {start}, which is not a folder"),
        ((home, root, root), f"axes.methods.simhand.init is {root}, and there is no such file; it is "),
    ):  # fmt: skip
        with pytest.raises(HandsimError) as caught:
            check_inputs(EXPERIMENTS.fill(content(*places), [], "here"))
        assert problem in str(caught.value)
