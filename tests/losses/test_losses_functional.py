import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.losses.functional import asl, bce, focal, soft_f1, two_way

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
ELEMENTWISE = {
    "bce": bce,
    "bce_weighted": lambda z, y: bce(z, y, pos_weight_C=torch.full((z.shape[1],), 10.0)),
    "focal_2": focal,
    "focal_half_alpha": lambda z, y: focal(z, y, gamma=0.5, alpha=0.25),
    "asl": asl,
    "asl_half_gammas": lambda z, y: asl(z, y, gamma_pos=0.5, gamma_neg=0.5, clip=0.05),
    "asl_no_clip": lambda z, y: asl(z, y, gamma_pos=1.0, gamma_neg=0.5, clip=0.0),
    "asl_tiny_clip": lambda z, y: asl(z, y, gamma_pos=1.0, gamma_neg=2.0, clip=1e-10),
    "asl_huge_clip": lambda z, y: asl(z, y, gamma_pos=1.0, gamma_neg=2.0, clip=0.7),
}
REDUCED = {
    "macro": soft_f1,
    "macro_all": lambda z, y: soft_f1(z, y, mask_absent=False),
    "micro": lambda z, y: soft_f1(z, y, average="micro"),
    "two_way": two_way,
    "two_way_sharp": lambda z, y: two_way(z, y, temperature_pos=0.5, temperature_neg=2.0),
}
LOSSES = ELEMENTWISE | REDUCED


def draw_batch(seed: int, *, shape: tuple[int, int] = (16, 7), spread: float = 4.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * spread
    targets = (torch.rand(shape, generator=generator) < 0.3).double()
    return logits, targets


def log_sigmoid(z: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -z)


def reference_focal(z: np.ndarray, y: np.ndarray, gamma: float, alpha: float | None) -> np.ndarray:
    signed = np.where(y == 1, z, -z)
    p_t = np.exp(log_sigmoid(signed))
    weight = 1.0 if alpha is None else np.where(y == 1, alpha, 1 - alpha)
    return -weight * (1 - p_t) ** gamma * log_sigmoid(signed)


def reference_asl(z: np.ndarray, y: np.ndarray, gamma_pos: float, gamma_neg: float, clip: float) -> np.ndarray:
    p = np.exp(log_sigmoid(z))
    p_m = np.maximum(p - clip, 0)
    return np.where(y == 1, -((1 - p) ** gamma_pos) * np.log(p), -(p_m**gamma_neg) * np.log1p(-p_m))


def reference_soft_f1(z: np.ndarray, y: np.ndarray, *, masked: bool) -> float:
    losses = []
    for z_c, y_c in zip(z.T, y.T, strict=True):
        tp = fp = fn = 0.0
        for logit, label in zip(z_c, y_c, strict=True):
            p = 1 / (1 + math.exp(-logit))
            tp, fp, fn = tp + p * label, fp + p * (1 - label), fn + (1 - p) * label
        if label_present := y_c.any():
            losses.append(1 - 2 * tp / (2 * tp + fp + fn))
        elif not masked:
            assert not label_present
            losses.append(1.0)
    return float(np.mean(losses))


def reference_two_way(z: np.ndarray, y: np.ndarray, t_pos: float, t_neg: float) -> float:
    total = 0.0
    for rows, truth in ((z, y), (z.T, y.T)):
        losses = []
        for row, label in zip(rows, truth, strict=True):
            if not 0 < label.sum() < len(label):
                continue
            highest = t_neg * math.log(sum(math.exp(value / t_neg) for value in row[label == 0]))
            lowest = t_pos * math.log(sum(math.exp(-value / t_pos) for value in row[label == 1]))
            losses.append(math.log1p(math.exp(highest + lowest)))
        total += float(np.mean(losses)) if losses else 0.0
    return total


def test_bce__equals_the_formula_with_weights() -> None:
    z, y = draw_batch(0)
    weight = torch.linspace(0.5, 10, 7, dtype=torch.float64)
    expected = -(weight.numpy() * y.numpy() * log_sigmoid(z.numpy()) + (1 - y.numpy()) * log_sigmoid(-z.numpy()))
    actual = bce(z.float(), y, pos_weight_C=weight.float())
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-6)


def test_bce__equals_torch() -> None:
    z, y = draw_batch(0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none")
    torch.testing.assert_close(bce(z, y), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("gamma", "alpha"), [(0.0, None), (0.5, None), (2.0, None), (2.0, 0.25), (5.0, 0.9)])
def test_focal__equals_a_float64_reference(gamma: float, alpha: float | None) -> None:
    z, y = draw_batch(1)
    expected = reference_focal(z.numpy(), y.numpy(), gamma, alpha)
    np.testing.assert_allclose(focal(z, y, gamma=gamma, alpha=alpha).numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(focal(z.float(), y, gamma=gamma, alpha=alpha).numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize("clip", [0.0, 1e-6, 0.05, 0.6])
@pytest.mark.parametrize(("gamma_pos", "gamma_neg"), [(0.0, 4.0), (1.0, 2.0), (0.5, 0.5), (0.0, 0.0)])
def test_asl__equals_a_float64_reference(gamma_pos: float, gamma_neg: float, clip: float) -> None:
    z, y = draw_batch(2)
    expected = reference_asl(z.numpy(), y.numpy(), gamma_pos, gamma_neg, clip)
    actual = asl(z, y, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-300)
    actual = asl(z.float(), y, gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=2e-5, atol=1e-9)


def test_asl__sure_mistake_costs_the_log_of_the_clip() -> None:
    z, y = torch.tensor([[30.0, 200.0, 1e4]]), torch.zeros(1, 3)
    for clip in (1e-10, 1e-4, 0.05):
        loss = asl(z, y, gamma_neg=1.0, clip=clip)
        expected = [-(1 - clip) * math.log(math.exp(-v) + clip) for v in (30.0, 200.0, 1e4)]
        np.testing.assert_allclose(loss.numpy()[0], expected, rtol=1e-6)


def test_asl__without_clip_keeps_the_gradient_of_a_sure_mistake() -> None:
    z = torch.tensor([[50.0, 200.0]], requires_grad=True)
    asl(z, torch.zeros(1, 2), gamma_neg=2.0, clip=0.0).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), [[1.0, 1.0]], rtol=1e-6)


def test_asl__negative_below_the_margin_is_free() -> None:
    z = torch.logit(torch.tensor([[0.01, 0.049]])).requires_grad_()
    loss = asl(z, torch.zeros(1, 2), clip=0.05)
    loss.sum().backward()
    assert loss.abs().max() == 0
    assert z.grad.abs().max() == 0


@pytest.mark.parametrize("loss", [lambda z, y: focal(z, y, gamma=0.0), lambda z, y: asl(z, y, gamma_neg=0.0, clip=0.0)])
def test_focal_and_asl__without_focus_are_bce(loss) -> None:
    z, y = draw_batch(3, spread=8.0)
    soft = torch.rand_like(y)
    for target in (y, soft):
        torch.testing.assert_close(loss(z, target), bce(z, target), rtol=1e-12, atol=0)
        torch.testing.assert_close(loss(z.float(), target), bce(z.float(), target), rtol=3e-6, atol=0)


def test_focal__alpha_half_is_half() -> None:
    z, y = draw_batch(4)
    torch.testing.assert_close(focal(z, y, alpha=0.5), 0.5 * focal(z, y))


@pytest.mark.parametrize("name", LOSSES)
def test_losses__gradcheck(name: str) -> None:
    z, y = draw_batch(5, shape=(6, 4))
    y[:, 0] = 0
    assert torch.autograd.gradcheck(lambda logits: LOSSES[name](logits, y), z.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_losses__float32_gradient_equals_float64(name: str) -> None:
    z, y = draw_batch(6, spread=6.0)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = z.float().to(dtype).requires_grad_()
        LOSSES[name](leaf, y.to(dtype)).sum().backward()
        gradients.append(leaf.grad.double())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


extreme = st.one_of(
    st.sampled_from([0.0, -0.0, 20.0, -20.0, 88.0, -88.0, 104.0, -104.0, 1e4, -1e4]),
    st.floats(-1e4, 1e4, allow_nan=False, width=16),
)


@pytest.mark.parametrize("name", LOSSES)
@given(rows=st.lists(st.tuples(extreme, extreme, st.booleans(), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_losses__finite_for_every_dtype_and_logit(name: str, rows: list[tuple[float, float, bool, bool]]) -> None:
    for dtype in DTYPES:
        z = torch.tensor([row[:2] for row in rows], dtype=dtype, requires_grad=True)
        y = torch.tensor([row[2:] for row in rows])
        loss = LOSSES[name](z, y)
        assert loss.dtype == torch.float32
        assert loss.isfinite().all()
        assert (loss >= 0).all()
        loss.mean().backward()
        assert z.grad.isfinite().all()


@pytest.mark.parametrize("name", ELEMENTWISE)
@given(low=st.floats(-100, 100, width=32), step=st.floats(0.0009765625, 50, width=32))
@settings(max_examples=40, deadline=None)
def test_elementwise__falls_with_the_logit_of_a_positive_and_rises_with_a_negative(
    name: str, low: float, step: float
) -> None:
    z = torch.tensor([[low], [low + step]], dtype=torch.float64)
    on_positive = ELEMENTWISE[name](z, torch.ones(2, 1))
    on_negative = ELEMENTWISE[name](z, torch.zeros(2, 1))
    assert on_positive[1] <= on_positive[0] + 1e-12
    assert on_negative[0] <= on_negative[1] + 1e-12


@given(z=st.floats(-100, 100), gamma=st.floats(0, 5), more=st.floats(0, 5), positive=st.booleans())
@settings(max_examples=100, deadline=None)
def test_focal__falls_with_gamma(z: float, gamma: float, more: float, positive: bool) -> None:
    logit, target = torch.tensor([[z]], dtype=torch.float64), torch.tensor([[positive]])
    assert focal(logit, target, gamma=gamma + more) <= focal(logit, target, gamma=gamma) + 1e-12


@pytest.mark.parametrize("masked", [True, False])
def test_soft_f1__macro_equals_brute_force(masked: bool) -> None:
    z, y = draw_batch(7, shape=(9, 6))
    y[:, [1, 4]] = 0
    expected = reference_soft_f1(z.numpy(), y.numpy(), masked=masked)
    assert soft_f1(z, y, mask_absent=masked).item() == pytest.approx(expected, abs=1e-12)
    assert soft_f1(z.float(), y, mask_absent=masked).item() == pytest.approx(expected, abs=1e-6)


def test_soft_f1__micro_is_macro_of_one_class() -> None:
    z, y = draw_batch(8)
    torch.testing.assert_close(soft_f1(z, y, average="micro"), soft_f1(z.reshape(-1, 1), y.reshape(-1, 1)))


def test_soft_f1__absent_class_gets_no_gradient_and_does_not_move_the_value() -> None:
    z, y = draw_batch(9)
    y[:, 2] = 0
    y[0, [c for c in range(7) if c != 2]] = 1
    leaf = z.clone().requires_grad_()
    loss = soft_f1(leaf, y)
    loss.backward()
    assert leaf.grad[:, 2].abs().max() == 0
    assert leaf.grad[:, [0, 1, 3, 4, 5, 6]].abs().min() > 0
    keep = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(loss, soft_f1(z[:, keep], y[:, keep]))


@pytest.mark.parametrize(("name", "value"), [("macro", 0.0), ("macro_all", 1.0), ("micro", 1.0)])
@pytest.mark.parametrize("logit", [0.0, -1e4])
def test_soft_f1__batch_without_positives_is_finite_and_differentiable(name: str, value: float, logit: float) -> None:
    z = torch.full((3, 2), logit, requires_grad=True)
    loss = REDUCED[name](z, torch.zeros(3, 2))
    loss.backward()
    assert loss.item() == value
    assert (z.grad == 0).all()


def test_soft_f1__hard_probabilities_give_one_minus_f1() -> None:
    y = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]])
    predicted = torch.tensor([[1, 1], [0, 1], [0, 1], [1, 0]])
    z = (predicted * 2.0 - 1) * 1e4
    assert soft_f1(z, y).item() == pytest.approx(1 - (2 / 4 + 4 / 5) / 2, abs=1e-6)
    assert soft_f1(z, y, average="micro").item() == pytest.approx(1 - 6 / 9, abs=1e-6)


@pytest.mark.parametrize(("t_pos", "t_neg"), [(4.0, 1.0), (0.7, 2.0)])
def test_two_way__equals_brute_force_without_rows_that_rank_nothing(t_pos: float, t_neg: float) -> None:
    z, y = draw_batch(10, shape=(9, 6))
    y[:, 1], y[:, 4], y[2], y[5] = 0, 1, 0, 1
    expected = reference_two_way(z.numpy(), y.numpy(), t_pos, t_neg)
    actual = two_way(z, y, temperature_pos=t_pos, temperature_neg=t_neg)
    assert actual.item() == pytest.approx(expected, abs=1e-8)  # torch's softplus is linear above 20


def test_two_way__adding_a_constant_to_all_logits_changes_nothing() -> None:
    z, y = draw_batch(11)
    torch.testing.assert_close(two_way(z + 3.5, y), two_way(z, y))


@pytest.mark.parametrize("value", [0, 1])
def test_two_way__batch_without_anything_to_rank_is_zero_and_differentiable(value: int) -> None:
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = two_way(z, torch.full((3, 2), value))
    loss.backward()
    assert loss.item() == 0
    assert (z.grad == 0).all()


def test_two_way__right_order_costs_nothing_and_wrong_order_its_distance() -> None:
    y = torch.tensor([[1, 0], [0, 1]])
    assert two_way((y * 2.0 - 1) * 50, y).item() == pytest.approx(0, abs=1e-6)
    assert two_way((1 - y * 2.0) * 50, y).item() == pytest.approx(200, abs=1e-4)
