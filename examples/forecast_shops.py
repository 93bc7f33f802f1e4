"""Forecast the visitors of three shops a week ahead, with intervals and one model for all.

The series are generated, so nothing is downloaded. Needs the extra `train`.
"""

import datetime as dt

import numpy as np

from unrolled.tasks import Forecaster

DAYS, HORIZON = 400, 7
SHOPS = {"harbour": 300.0, "market": 120.0, "station": 800.0}


def visitors(seed: int) -> dict[str, list]:
    """Return a long table: a row a day of a shop, with a promotion that is planned ahead."""
    draw = np.random.default_rng(seed)
    table: dict[str, list] = {"unique_id": [], "ds": [], "y": [], "promotion": []}
    for shop, level in SHOPS.items():
        days = np.arange(DAYS + HORIZON)
        promotion = (draw.random(len(days)) < 0.1).astype(float)
        week = 1 + 0.4 * np.isin(days % 7, (4, 5)) - 0.6 * (days % 7 == 6)
        y = level * week * (1 + 0.3 * promotion) * draw.normal(1, 0.05, len(days))
        table["unique_id"] += [shop] * len(days)
        table["ds"] += [dt.date(2024, 1, 1) + dt.timedelta(days=int(t)) for t in days]
        table["y"] += y.tolist()
        table["promotion"] += promotion.tolist()
    return table


table = visitors(seed=0)
last = dt.date(2024, 1, 1) + dt.timedelta(days=DAYS)
known = {name: [v for v, day in zip(column, table["ds"], strict=True) if day < last]
         for name, column in table.items()}  # fmt: skip
ahead = {name: [v for v, day in zip(column, table["ds"], strict=True) if day >= last]
         for name, column in table.items()}  # fmt: skip

forecaster = Forecaster(
    horizon=HORIZON, window=28, future="promotion", static="unique_id", residual="season",
    hidden_size=32, epochs=6, batch_size=32, lr=0.01,
)  # fmt: skip
forecaster.fit(known)

found = forecaster.predict(known, future=ahead, level=[80])
print(f"{'shop':<10}{'day':<12}{'forecast':>9}{'80 %':>16}{'came':>8}")
for row in range(HORIZON):
    low, high = found["y_hat-lo-80"][row], found["y_hat-hi-80"][row]
    print(
        f"{found['unique_id'][row]:<10}{found['ds'][row]:%a %d %b}  {found['y_hat'][row]:>9.0f}"
        f"{f'{low:.0f} to {high:.0f}':>16}{ahead['y'][row]:>8.0f}"
    )

errors = forecaster.evaluate(table)
print("\nmean absolute error of the last week of every shop:")
print(f"  this model      {errors['mae']:6.1f}")
print(f"  a week ago      {errors['seasonal_naive']['mae']:6.1f}")

session = forecaster.model_.stream(start=dt.date(2024, 1, 1), name="market")
for shop, y, promotion in zip(known["unique_id"], known["y"], known["promotion"], strict=True):
    if shop == "market":
        session.step(y, future={"promotion": promotion})
plan = [{"promotion": value} for value in ahead["promotion"][HORIZON : 2 * HORIZON]]
streamed, whole = session.forecast(future=plan)["y_hat"], found["y_hat"][HORIZON : 2 * HORIZON]
print(f"\na stream of the market's days says the same: {np.allclose(streamed, whole)}")
