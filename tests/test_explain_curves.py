"""Learning curves: every log drawn, with its validation, in lines, sentences and a table."""

from __future__ import annotations

import re

import pytest

from reports import LOG, drawn, words
from unrolled.explain import curves


def test_curves_of_a_log() -> None:
    losses, rates = curves.charts(LOG)
    assert [line.name for line in losses.series] == ["training"]
    assert losses.series[0].points == ((1.0, 2.0), (2.0, 1.0), (3.0, 0.5))
    assert [line.name for line in rates.series] == ["PER", "WER"]
    assert rates.series[0].points == ((1.0, 50.0), (2.0, 25.0))
    assert curves.best_epoch(LOG) == 2
    assert curves.best_epoch([]) is None
    assert curves.charts([]) == []


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        ({"log_loss": 0.5, "accuracy": 0.9}, [["training", "validation"], ["accuracy"]]),
        ({"nats": 1.3, "bits": 1.9, "perplexity": 3.7}, [["training", "validation"]]),
        (
            {"hr@10": 0.1, "recall@20": 0.2, "ndcg@10": 0.05, "mrr@20": 0.04, "nats": 6.0},
            [["training", "validation"], ["HR@10", "recall@20", "NDCG@10", "MRR@20"]],
        ),
        ({"mae": 2.0, "rmse": 3.0, "r2": 0.8}, [["training"], ["RMSE", "MAE"]]),
    ],
)
def test_what_validation_found_is_drawn_beside_the_training_loss(record, lines) -> None:
    log = [{"epoch": k, "train_loss": 1.0, **record} for k in (1, 2)]
    assert [[line.name for line in chart.series] for chart in curves.charts(log)] == lines
    told = [chart.reading for chart in curves.charts(log) if "is overfitting" in chart.reading]
    assert len(told) == ("validation" in lines[0])
    columns = re.findall('<th scope="col"', curves.learning_curves(log))
    assert len(columns) == 2 + len(record)


def test_curves_as_html() -> None:
    html = curves.learning_curves(LOG)
    assert len(drawn(html, "polyline")) == 3
    assert "PER: from 50 % to 25 % in epoch 2." in words(html)
    assert "marks epoch 2, whose weights were kept" in words(html)
    assert "rate [%]" in words(html)
    assert [th["scope"] for th in drawn(html, "th")].count("row") == 3


@pytest.mark.parametrize("value", [0.0, 1e-9, 0.03, 1.0, 99.0, 12345.0])
def test_one_epoch_and_any_scale_can_be_drawn(value: float) -> None:
    html = curves.learning_curves([{"train_loss": value}])
    circles = [c for c in drawn(html, "circle") if c["class"] == "dot s0"]
    assert len(circles) == 2
    assert all(0 <= float(c["cy"] or -1) <= 250 for c in circles)


def test_losses_below_zero_stay_inside_their_chart():
    html = curves.learning_curves([{"train_loss": 1.0}, {"train_loss": -0.6}])
    assert ">-1</text>" in html
    ends = [float(y) for y in re.findall(r'cy="([0-9.-]+)"', html)]
    assert max(ends) <= 210
