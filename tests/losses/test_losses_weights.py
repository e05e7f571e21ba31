import numpy as np
import pytest

from src.losses.weights import pos_weights

COUNTS = np.array([64115, 189, 0, 118287])
IMAGES = 118287


def test_pos_weights__none_is_none() -> None:
    assert pos_weights(COUNTS, IMAGES, kind="none") is None


def test_pos_weights__sqrt_is_capped_both_ways() -> None:
    weights = pos_weights(COUNTS, IMAGES, kind="sqrt", cap=10.0)
    np.testing.assert_allclose(weights, [((118287 - 64115) / 64115) ** 0.5, 10.0, 10.0, 0.1], rtol=1e-6)


def test_pos_weights__effective_equals_the_sum_of_powers() -> None:
    beta, counts, images = 0.9, np.array([1, 4, 30]), 40
    effective = {k: sum(beta**i for i in range(k)) for k in range(images)}
    expected = [effective[images - n] / effective[n] for n in counts]
    np.testing.assert_allclose(pos_weights(counts, images, kind="effective", beta=beta, cap=100), expected, rtol=1e-6)


def test_pos_weights__effective_runs_from_one_to_neg_over_pos() -> None:
    counts, images = np.array([10, 40]), 100
    np.testing.assert_allclose(pos_weights(counts, images, kind="effective", beta=0.0), [1.0, 1.0])
    limit = pos_weights(counts, images, kind="effective", beta=1 - 1e-9)
    np.testing.assert_allclose(limit, [9.0, 1.5], rtol=1e-5)


@pytest.mark.parametrize("kind", ["sqrt", "effective"])
def test_pos_weights__finite_positive_and_falling_with_the_count(kind: str) -> None:
    counts = np.arange(0, 1001)
    weights = pos_weights(counts, 1000, kind=kind, cap=5.0).numpy()
    assert weights.dtype == np.float32
    assert (np.diff(weights) <= 0).all()
    assert weights.max() == 5.0
    assert weights.min() == pytest.approx(0.2)


def test_pos_weights__object_counts_instead_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.10 images; got 3\.\.11"):
        pos_weights(np.array([3, 11]), 10, kind="sqrt")
