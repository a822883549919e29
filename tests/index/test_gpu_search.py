"""The search on a GPU against the one on the CPU; without a GPU, in Triton's interpreter."""

import os
import subprocess
import sys

import numpy as np
import pytest

from index.kd_tree import KdTree

torch = pytest.importorskip("torch")
pytest.importorskip("triton")


def check_against_the_tree(device: str, points: int) -> None:
    """Every rule, with equal points and hands that have no neighbour."""
    from index.gpu_search import GpuSearch

    random = np.random.default_rng(0)
    vectors = random.normal(size=(points, 14)).astype(np.float32)
    vectors[points // 2 : points // 2 + 9] = vectors[0]
    videos = random.integers(12, size=points).astype(np.int32)
    groups = random.integers(40, size=points).astype(np.int32)
    queries = random.permutation(points)[: points - 10]
    gpu, tree = GpuSearch(vectors, device), KdTree(vectors, 1)
    for k, differ, one_of, band in (
        (1, videos[None], None, (0.0, np.inf)),
        (3, np.stack([videos, groups]), None, (0.001, np.inf)),
        (4, videos[None], videos, (1.5, 3.5)),
        (3, videos[None] // 9, videos // 3, (0.0, np.inf)),
        (2, videos[None], None, (0.0, 0.0)),
    ):
        on_gpu, in_tree = (
            search.nearest(
                queries, k, differ=differ, one_of=one_of, min_distance=band[0], max_distance=band[1]
            )
            for search in (gpu, tree)
        )
        np.testing.assert_array_equal(on_gpu < 0, in_tree < 0)
        expected, distances = (
            np.linalg.norm(vectors[found].astype(np.float64) - vectors[queries, None], axis=2)
            for found in (in_tree, on_gpu)
        )
        np.testing.assert_allclose(distances[on_gpu >= 0], expected[on_gpu >= 0], atol=1e-5)
        asked = np.broadcast_to(queries[:, None], on_gpu.shape)[on_gpu >= 0]
        assert (differ[:, asked] != differ[:, on_gpu[on_gpu >= 0]]).all()
        for row in on_gpu:
            numbers = (np.arange(points) if one_of is None else one_of)[row[row >= 0]]
            assert len(set(numbers.tolist())) == len(numbers)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_finds_what_the_tree_finds() -> None:
    check_against_the_tree("cuda", 3000)


@pytest.mark.slow
def test_the_kernel_finds_what_the_tree_finds() -> None:
    program = "from tests.index.test_gpu_search import check_against_the_tree as c; c('cpu', 100)"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "TRITON_INTERPRET": "1"}, check=True)
