"""The numbers of a run, in low precision."""

from tests.training.pretrain.small_runs import Place


def test_low_precision_and_honest_shares(place: Place) -> None:
    place.train("low", ["--trainer.precision=bf16-mixed", "--trainer.max_steps=3"])
    lines = place.lines("low")
    assert len(lines) == 3
    for numbers in lines:
        assert 0 < numbers["loss"] < 20
        assert 0 <= numbers["index_wait"] <= numbers["data_wait"] <= 1
        assert 0 <= numbers["without_positive"] <= 1
        assert numbers["images_per_s"] > 0
        assert numbers["positive_distance"] > 0
