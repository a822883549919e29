import pytest

from handsim.errors import NotThereError, UnusableError, did_you_mean

SETTINGS = ["optimizer.lr", "pairs.policy.top_k", "data.world", "data.worlds"]
SPLITS = ["s0_train", "s0_val", "s1_train", "s1_val"]


@pytest.mark.parametrize(
    ("name", "known", "suggestion"),
    [
        ("simhnd", ["simclr", "simhand"], "simhand"),
        ("optimizer.lrr", SETTINGS, "optimizer.lr"),
        ("lr", SETTINGS, "optimizer.lr"),
        ("pairs.topk", SETTINGS, "pairs.policy.top_k"),
        ("train", SPLITS, "s0_train"),  # the first of equally near ones
    ],
)
def test_the_nearest_name_is_suggested(name: str, known: list[str], suggestion: str) -> None:
    assert did_you_mean(name, known) == f"; did you mean {suggestion}?"


@pytest.mark.parametrize("known", [[], ["freihand", "dexycb"]])
def test_nothing_is_suggested_for_a_name_like_no_other(known: list[str]) -> None:
    assert did_you_mean("zz", known) == ""


def test_errors_read_as_one_sentence() -> None:
    assert str(NotThereError("there is no pool")) == "there is no pool"
    assert str(UnusableError("not a video", "it holds no pictures")) == "not a video: it holds no pictures"
    assert str(UnusableError("no such file", "")) == "no such file"
