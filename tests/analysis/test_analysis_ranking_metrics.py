import numpy as np
import pytest
import sklearn.metrics as skm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from src.analysis.decision_metrics import ScoringError
from src.analysis.ranking_metrics import average_precisions, ranking_metrics
from src.metrics import ranking as torch_ranking

Pair = tuple[NDArray[np.float32], NDArray[np.uint8]]


def draw(seed: int, *, images: int = 80, classes: int = 7, levels: int = 0) -> Pair:
    """Random scores and targets; the last class is absent, one image has no label, one has all but it; levels ties."""
    rng = np.random.default_rng(seed)
    scores = rng.random((images, classes), dtype=np.float32)
    if levels:
        scores = (scores * levels).round() / np.float32(levels)
    targets = (rng.random((images, classes)) < 0.3).astype(np.uint8)
    targets[0], targets[1] = 0, 1
    targets[:, -1] = 0
    return scores, targets


@st.composite
def pairs(st_draw: st.DrawFn) -> Pair:
    shape = (st_draw(st.integers(1, 6)), st_draw(st.integers(2, 5)))
    scores = arrays(np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    return st_draw(scores), st_draw(arrays(np.uint8, shape, elements=st.integers(0, 1)))


def reference(scores: NDArray, targets: NDArray) -> dict[str, float]:
    present, labelled = targets.any(axis=0), targets.any(axis=1)
    ap = [skm.average_precision_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(present)]
    ap_images = [skm.average_precision_score(targets[n], scores[n]) for n in np.flatnonzero(labelled)]
    return {
        "map": float(np.mean(ap)) if ap else 0.0,
        "map_all": float(np.sum(ap) / targets.shape[1]),
        "map_samples": float(np.mean(ap_images)) if ap_images else 0.0,
        "lrap": skm.label_ranking_average_precision_score(targets, scores),
        "coverage": skm.coverage_error(targets, scores),
        "ranking_loss": skm.label_ranking_loss(targets, scores),
    }


@pytest.mark.parametrize("levels", [0, 3, 1], ids=["distinct", "tied", "nearly all tied"])
@pytest.mark.parametrize("seed", range(3))
def test_ranking_metrics__equal_scikit_learn(seed: int, levels: int) -> None:
    scores, targets = draw(seed, levels=levels)
    assert ranking_metrics(scores, targets) == pytest.approx(reference(scores, targets), abs=1e-9)


@given(pairs())
@settings(max_examples=25, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_ranking_metrics__equal_scikit_learn_in_every_corner(pair: Pair) -> None:
    assert ranking_metrics(*pair) == pytest.approx(reference(*pair), abs=1e-9)


@pytest.mark.parametrize("levels", [0, 3])
def test_ranking_metrics__lrap_over_labelled_images_is_scikit_learns_sample_wise_ap(levels: int) -> None:
    scores, targets = draw(1, levels=levels)
    labelled = targets.any(axis=1)
    expected = skm.average_precision_score(targets[labelled], scores[labelled], average="samples")
    assert ranking_metrics(scores, targets)["map_samples"] == pytest.approx(expected, abs=1e-9)
    assert ranking_metrics(scores[labelled], targets[labelled])["lrap"] == pytest.approx(expected, abs=1e-9)


def test_ranking_metrics__images_that_rank_nothing() -> None:
    scores = np.array([[0.1, 0.9, 0.5]] * 2, dtype=np.float32)
    targets = np.array([[0, 0, 0], [1, 1, 1]])
    found = ranking_metrics(scores, targets)
    assert (found["lrap"], found["ranking_loss"], found["map_samples"]) == (1.0, 0.0, 1.0)
    assert found["coverage"] == (0 + 3) / 2
    assert found["map"] == 0.5


def test_ranking_metrics__nothing_labelled_at_all() -> None:
    found = ranking_metrics(np.ones((2, 3)), np.zeros((2, 3)))
    assert found == {"map": 0, "map_all": 0, "map_samples": 0, "lrap": 1, "coverage": 0, "ranking_loss": 0}


@pytest.mark.parametrize("levels", [0, 5])
def test_average_precisions__equal_the_torch_twin_exactly(levels: int) -> None:
    scores, targets = draw(4, levels=levels)
    found = average_precisions(scores, targets)
    assert found.dtype == np.float64
    twin = torch_ranking.average_precisions(torch.from_numpy(scores), torch.from_numpy(targets)).numpy()
    np.testing.assert_allclose(found, twin, rtol=0, atol=1e-15)
    assert found[-1] == 0


@given(pairs(), st.permutations(range(6)), st.permutations(range(5)))
@settings(max_examples=30, deadline=None)
def test_ranking_metrics__order_repetition_and_monotone_maps_change_nothing(
    pair: Pair, images: list[int], classes: list[int]
) -> None:
    scores, targets = pair
    found = ranking_metrics(scores, targets)
    rows = [n for n in images if n < scores.shape[0]]
    columns = [c for c in classes if c < scores.shape[1]]
    shuffled = scores[np.ix_(rows, columns)], targets[np.ix_(rows, columns)]
    for changed in (
        shuffled,
        (np.concatenate([scores, scores]), np.concatenate([targets, targets])),
        (scores * 20 - 7, targets),
    ):
        assert ranking_metrics(*changed) == pytest.approx(found, abs=1e-12)


# What peers call AP, written from its definition.


def voc_ap(scores: NDArray, targets: NDArray) -> float:
    """PASCAL VOC 2010+ (SSGRL, Query2Label): each precision raised to the highest one at that recall or beyond."""
    hits = targets[np.argsort(-scores, kind="stable")].astype(bool)
    precision_at = hits.cumsum() / np.arange(1, len(hits) + 1)
    return float(np.maximum.accumulate(precision_at[::-1])[::-1][hits].mean())


def ranked_ap(scores: NDArray, targets: NDArray) -> float:
    """ML-GCN, ASL: mean precision at the positives' own places, equal scores in whatever order the sort leaves them."""
    hits = targets[np.argsort(-scores, kind="stable")].astype(bool)
    return float((hits.cumsum() / np.arange(1, len(hits) + 1))[hits].mean())


def test_average_precisions__ml_gcn_and_asl_are_the_same_without_ties_only() -> None:
    scores, targets = draw(5)
    theirs = [ranked_ap(scores[:, c], targets[:, c]) for c in range(6)]
    np.testing.assert_allclose(average_precisions(scores, targets)[:6], theirs, atol=1e-12)
    tied, order = np.full(4, 0.5), [np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])]
    assert [ranked_ap(tied, targets) for targets in order] == pytest.approx([1.0, 5 / 12])
    assert [average_precisions(tied[:, None], targets[:, None])[0] for targets in order] == [0.5, 0.5]


def test_average_precisions__query2label_interpolates_and_is_never_lower() -> None:
    scores, targets = draw(6)
    ours = average_precisions(scores, targets)[:6]
    theirs = np.array([voc_ap(scores[:, c], targets[:, c]) for c in range(6)])
    assert (theirs >= ours - 1e-12).all()
    assert theirs.mean() > ours.mean() + 0.01


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ranking_metrics__names_the_problem(bad: float) -> None:
    scores, targets = draw(0)
    scores[3, 2] = bad
    with pytest.raises(ScoringError, match="NaN or infinite"):
        ranking_metrics(scores, targets)
