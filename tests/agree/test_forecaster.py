"""A forecaster in torch and in the runtime: the same outputs, and the same loss as its parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

import forecasting
from tolerances import close
from unrolled.data.windows import WindowBatch
from unrolled.nn.build import build
from unrolled.nn.forecaster import Window, forecast_loss
from unrolled.runtime.build import build as build_runtime
from unrolled.runtime.distributions import from_outputs
from unrolled.spec import ForecasterSpec

SPECS = forecasting.forecasters()
DTYPES = ("float32", "float64")


def window(batch: WindowBatch) -> Window:
    return Window(*(torch.from_numpy(getattr(batch, name)) for name in Window._fields))


def both(spec: ForecasterSpec, dtype: str):
    torch.manual_seed(0)
    model = build(spec, engine="reference").to(getattr(torch, dtype)).eval()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    return model, build_runtime(spec, weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECS)
def test_both_sides_say_the_same(name: str, dtype: str) -> None:
    spec = SPECS[name]
    model, network = both(spec, dtype)
    batch = forecasting.batch(spec, dtype)
    with torch.no_grad():
        wanted = model(window(batch)).numpy()
    found = network.outputs(batch)
    assert found.shape == wanted.shape
    inside = np.ones(found.shape[:2], bool)
    if spec.decoder == "autoregressive":
        inside = np.arange(found.shape[1]) < batch.lengths[:, None]
    assert close(found[inside], wanted[inside], "forward")


@pytest.mark.parametrize("name", ["mlp-quantiles", "rnn-normal", "autoregressive-student_t"])
def test_every_weight_has_a_gradient_that_finite_differences_confirm(name: str) -> None:
    spec = SPECS[name]
    model, _ = both(spec, "float64")
    batch = forecasting.batch(spec, "float64")
    tensors = window(batch)
    y = torch.from_numpy(batch.y if spec.decoder == "autoregressive" else batch.target)
    base = torch.from_numpy(batch.base)
    scale = torch.from_numpy(batch.scale[:, None])

    def loss() -> torch.Tensor:
        return forecast_loss(spec, model(tensors), y, base, scale, kind="mse").sum()

    loss().backward()
    step = 1e-6
    for parameter in model.parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        k = int(gradient.abs().argmax())
        before = float(flat[k])
        ends = []
        for change in (step, -step):
            flat[k] = before + change
            with torch.no_grad():
                ends.append(float(loss()))
        flat[k] = before
        assert float(gradient[k]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4)


def log_density(kind: str, said, y):
    if kind == "normal":
        return stats.norm.logpdf(y, said.loc, said.scale)
    if kind == "student_t":
        return stats.t.logpdf(y, said.df, said.loc, said.scale)
    r = 1 / said.alpha
    return stats.nbinom.logpmf(y, r, r / (r + said.mean))


@pytest.mark.parametrize("kind", ["normal", "student_t", "negative_binomial"])
def test_the_loss_is_minus_the_log_density_of_what_the_runtime_says(kind: str) -> None:
    """Against scipy: scaled or not, the density of raw values is that of scaled ones over scale."""
    spec = forecasting.forecaster("mlp", kind)
    draw = np.random.default_rng(1)
    outputs = draw.normal(size=(3, 4, spec.num_outputs))
    location, scale = np.array([0.0, 5.0, -2.0]), np.array([1.0, 3.0, 0.5])
    base = draw.normal(size=(3, 4))
    if kind == "negative_binomial":
        location, base = np.zeros(3), np.zeros((3, 4))
        y = draw.poisson(3, size=(3, 4)).astype(float)
    else:
        y = draw.normal(size=(3, 4)) * 4
    scaled = (y - location[:, None]) / scale[:, None]
    found = forecast_loss(
        spec, torch.from_numpy(outputs), torch.from_numpy(scaled), torch.from_numpy(base),
        torch.from_numpy(scale[:, None]), kind="mae",
    ).numpy()  # fmt: skip
    said = from_outputs(outputs, kind, base=base, location=location, scale=scale)
    wanted = -log_density(kind, said, y)
    if kind != "negative_binomial":
        wanted = wanted - np.log(scale)[:, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_quantiles_do_not_cross_and_their_loss_is_the_pinball_loss() -> None:
    from sklearn.metrics import mean_pinball_loss

    spec = forecasting.forecaster("mlp", "quantiles")
    draw = np.random.default_rng(2)
    outputs, y = 5 * draw.normal(size=(3, 4, 3)), draw.normal(size=(3, 4))
    zero, one = np.zeros((3, 4)), np.ones(3)
    said = from_outputs(
        outputs, "quantiles", base=zero, location=0 * one, scale=one, shares=spec.quantiles
    )
    assert (np.diff(said.values, axis=-1) > 0).all()
    found = forecast_loss(
        spec, torch.from_numpy(outputs), torch.from_numpy(y), torch.from_numpy(zero),
        torch.ones(3, 1, dtype=torch.float64), kind="mae",
    )  # fmt: skip
    wanted = [
        mean_pinball_loss(y.ravel(), said.values[..., k].ravel(), alpha=share)
        for k, share in enumerate(spec.quantiles)
    ]
    assert float(found.mean()) == pytest.approx(2 * np.mean(wanted))
    np.testing.assert_allclose(said.crps(y), found.numpy())


@pytest.mark.parametrize("kind", ["mae", "mse", "huber"])
def test_a_points_loss_is_torchs(kind: str) -> None:
    spec = forecasting.forecaster("mlp", "point")
    outputs, y, base = (torch.randn(3, 4, dtype=torch.float64) * 2 for _ in range(3))
    found = forecast_loss(spec, outputs[..., None], y, base, torch.ones(3, 1), kind=kind)
    wanted = {"mae": F.l1_loss, "mse": F.mse_loss, "huber": F.huber_loss}[kind]
    torch.testing.assert_close(found.mean(), wanted(outputs + base, y))


def test_drawing_goes_on_as_teacher_forcing_would() -> None:
    """A point model's own path, fed back as if it had been observed, says the same again."""
    spec = forecasting.forecaster("autoregressive", "point")
    _, network = both(spec, "float64")
    whole = forecasting.batch(spec, "float64")
    steps = whole.y.shape[1] - spec.horizon
    row = {name: getattr(whole, name)[:1].copy() for name in whole.__dataclass_fields__}
    row["observed"][:], row["lengths"] = 1, np.array([steps])
    head = {**row, **{k: row[k][:, :steps] for k in ("y", "observed", "past", "known")}}
    head["base"] = np.repeat(head["y"][:, -1:], spec.horizon, axis=1)
    row["ahead"] = head["ahead"] = row["known"][:, steps:]
    said = network.predict(WindowBatch(**head), names=["a"]).mean
    scaled = (said - row["location"][:, None]) / row["scale"][:, None]
    row["y"][:, steps:], row["lengths"] = scaled, np.array([steps + spec.horizon])
    row["base"] = np.concatenate([np.zeros((1, 1)), row["y"][:, :-1]], axis=1)
    forced = network.outputs(WindowBatch(**row))[:, steps:, 0] + row["base"][:, steps:]
    np.testing.assert_allclose(forced, scaled, rtol=0, atol=1e-11)
