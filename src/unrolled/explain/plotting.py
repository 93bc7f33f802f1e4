"""What every figure by matplotlib shares: its layout, its letters, and how to read it below."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from unrolled.errors import ConfigError
from unrolled.explain.labels import fitted, width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_AN_INCH = 72
TITLE_SIZE, MOST_TITLE_LINES = 12, 3
# Looked for in this order; each fills in the characters that those before it lack.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Noto Sans KR",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
)


def new_figure(wide: float, high: float) -> Figure:
    """Return an empty figure of so many inches; `ConfigError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("pictures need matplotlib: pip install 'unrolled[plot]'") from None
    return Figure(figsize=(wide, high), layout="constrained")


def fonts() -> list[str]:
    """Return the installed fonts that may draw a token or a name, those to prefer first."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in FONTS if name in installed]


def with_reading(figure: Figure, *sentences: str) -> Figure:
    """Return the figure with how to read it below, in lines no wider than it is."""
    lines = [wrapped(each, figure.get_figwidth(), 8) for each in sentences]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="dimgray")
    return figure


def legend_below(axes: Any, inches: float, columns: int) -> None:
    """Put the legend so far below the axes, however high these become."""
    from matplotlib.transforms import ScaledTranslation

    down = ScaledTranslation(0, -inches, axes.figure.dpi_scale_trans)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=axes.transAxes + down,
        ncols=columns,
        fontsize="small",
    )


def titled(content: str, inches: float) -> str:
    """Return a title in lines no longer than so many inches, cut in its middle to three lines."""
    ems = inches * POINTS_AN_INCH / TITLE_SIZE
    return wrapped(fitted(content, MOST_TITLE_LINES * 0.9 * ems), inches, TITLE_SIZE)


def wrapped(content: str, inches: float, size: float) -> str:
    """Return a text in lines no longer than so many inches, in letters of `size` points."""
    ems = inches * POINTS_AN_INCH / size
    return textwrap.fill(content, max(8, int(ems * len(content) / max(width(content), 0.6))))
