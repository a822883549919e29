"""Vectors projected to the plane."""

import numpy as np
import pytest

from apps.browser.map.projection import PlaneProjection, fit_unit_square


@pytest.mark.slow
def test_umap_keeps_neighbours_and_places_other_hands_among_them() -> None:
    rng = np.random.default_rng(3)
    centres = rng.normal(0, 10, (4, 14))
    kinds = np.repeat(np.arange(4), 20)
    projection = PlaneProjection((centres[kinds] + rng.normal(0, 1, (80, 14))).astype(np.float32))
    assert projection.places.shape == (80, 2)
    others = (centres[kinds] + rng.normal(0, 1, (80, 14))).astype(np.float32)  # as many as it is fitted to
    fitted = projection.places.copy()
    for some in (others, others[:9]):
        places = projection.transform(some)
        distances = np.linalg.norm(places[:, None] - fitted[None], axis=2)
        assert (kinds[distances.argmin(axis=1)] == kinds[: len(some)]).all()
    np.testing.assert_array_equal(projection.places, fitted)
    np.testing.assert_array_equal(projection.transform(others[:9]), projection.transform(others[:9]))


@pytest.mark.parametrize(("count", "dimension"), [(1, 14), (2, 14), (3, 1), (31, 2), (31, 64)])
def test_few_hands_lie_along_their_principal_axes(count: int, dimension: int) -> None:
    vectors = np.random.default_rng(1).normal(5, 1, (count, dimension)).astype(np.float32)
    projection = PlaneProjection(vectors)
    assert projection.places.shape == (count, 2)
    np.testing.assert_allclose(projection.transform(vectors), projection.places, atol=1e-5)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False)
    variance = float((projection.places**2).sum())
    assert variance == pytest.approx(float((singular[:2] ** 2).sum()), rel=1e-4, abs=1e-6)


def test_a_map_is_rotated_to_be_wide() -> None:
    along = np.linspace(-3, 3, 50)[:, None] * [1, 2] + np.linspace(0, 0.3, 50)[::-1, None] ** 2 * [2, -1]
    unit = fit_unit_square(along.astype(np.float32))
    assert np.ptp(unit[:, 0]) == pytest.approx(1)
    assert np.ptp(unit[:, 1]) < 0.1
    assert (unit.min(axis=0) + unit.max(axis=0)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("places", [[[3, 4]], [[3, 4], [3, 4]], [[0, 0], [1e-30, 0]]])
def test_places_that_coincide_stay_within_the_square(places: list[list[float]]) -> None:
    unit = fit_unit_square(np.array(places, dtype=np.float32))
    assert np.isfinite(unit).all()
    assert (unit >= 0).all()
    assert (unit <= 1).all()
