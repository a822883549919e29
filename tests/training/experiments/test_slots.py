"""Slots: GPUs as the environment allows them, cores shared."""

import pytest
import torch

from handsim.errors import HandsimError
from training.experiments import run as slots
from training.experiments.run import Slot, make_slots


def _machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int, cores: int, allowed: str | None = None) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(slots, "available_cores", lambda: cores)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)


def _gpu(name: str, threads: int) -> Slot:
    return Slot(f"GPU {name}", {"CUDA_VISIBLE_DEVICES": name, "OMP_NUM_THREADS": str(threads)})


def test_a_cpu_is_one_slot_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=0, cores=8)
    assert make_slots(None) == [Slot("8 cores", {"OMP_NUM_THREADS": "8"})]
    assert make_slots(3) == [Slot("2 cores", {"OMP_NUM_THREADS": "2"})] * 3
    assert make_slots(8) == [Slot("a core", {"OMP_NUM_THREADS": "1"})] * 8


def test_a_slot_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, gpus=3, cores=8)
    assert make_slots(None) == [_gpu("0", 2), _gpu("1", 2), _gpu("2", 2)]
    assert make_slots(1) == [_gpu("0", 8)]


@pytest.mark.parametrize(
    ("allowed", "count", "names"),
    [
        ("2,5", 2, ["2", "5"]),
        (" 7 , 3", 2, ["7", "3"]),
        ("GPU-8932f937,GPU-27eb", 2, ["GPU-8932f937", "GPU-27eb"]),
        ("1,-1,2", 1, ["1"]),  # CUDA stops at the first that is none
        ("", 0, []),
    ],
)
def test_gpus_that_the_environment_allows(
    monkeypatch: pytest.MonkeyPatch, allowed: str, count: int, names: list[str]
) -> None:
    _machine(monkeypatch, gpus=count, cores=4, allowed=allowed)
    expected = [_gpu(name, 4 // count) for name in names] or [Slot("4 cores", {"OMP_NUM_THREADS": "4"})]
    assert make_slots(None) == expected


@pytest.mark.parametrize(
    ("gpus", "jobs", "said"),
    [
        (0, 0, "--jobs is 0; it is at least 1"),
        (2, -1, "--jobs is -1; it is at least 1"),
        (0, 5, "--jobs is 5, and there are 4 cores; give at most 4"),
        (2, 3, "--jobs is 3, and there are 2 GPUs; give at most 2"),
    ],
)
def test_numbers_of_jobs_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, gpus: int, jobs: int, said: str
) -> None:
    _machine(monkeypatch, gpus=gpus, cores=4)
    with pytest.raises(HandsimError) as caught:
        make_slots(jobs)
    assert str(caught.value) == said
