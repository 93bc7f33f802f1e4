"""One HTML page that needs nothing else: its style, its sections, and the pieces they hold.

Every function takes plain text and escapes it, unless its parameter is called `body`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unrolled.explain.labels import join, shown, text
from unrolled.explain.svg import STRONG

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #16191f; --soft: #525a66;
  --rule: #d5dae2; --panel: #f5f7fa; --accent: #083b86; --accent-rgb: 8, 59, 134;
  --ground: var(--page); --shade: rgba(22, 25, 31, .28);
  --minus-rgb: 150, 62, 8;
  --on: #ffffff; --in: #0a0c10; --s0: #0b57d0; --s1: #a8480b; --s2: #0b7a53; --s3: #8a2f9c; }
@media (prefers-color-scheme: dark) { :root { --page: #101216; --ink: #e9ecf1; --soft: #a9b2bf;
  --rule: #343a44; --panel: #191d23; --accent: #6ea8fe; --accent-rgb: 110, 168, 254;
  --shade: rgba(200, 212, 228, .3);
  --minus-rgb: 224, 138, 80;
  --on: #000000; --in: #ffffff; --s0: #8ab4f8; --s1: #ffab70; --s2: #6fd3a6; --s3: #d9a0e6; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem clamp(1rem, 4vw, 2.5rem) 3rem; max-width: 76rem;
  background: var(--page); color: var(--ink); font: 1rem/1.55 system-ui, "Segoe UI", "Noto Sans",
  "Noto Sans KR", "Noto Sans CJK KR", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem; border-top: 1px solid var(--rule);
  padding-top: 1.25rem; }
h3 { font-size: 1.1rem; margin: 0 0 .5rem; }
p { max-width: 46rem; } .lead { font-size: 1.1rem; } .soft { color: var(--soft); }
.grid-of { display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
article, figure { min-width: 0; }
article { --ground: var(--panel); background: var(--panel); border-radius: .75rem; padding: 1rem; }
figure { margin: 0 0 1rem; } figcaption { color: var(--soft); font-size: .92rem; max-width: 46rem; }
figcaption b { color: var(--ink); }
article.wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; padding: 2px; --to: var(--ground) 50%, transparent; background:
  linear-gradient(to right, var(--to)) 0 0 / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--to)) 100% 0 / 2rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) 0 0 / .8rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shade), transparent) 100% 0 / .8rem 100% no-repeat scroll; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
nav a { display: inline-block; padding: .25rem 0; color: var(--s0); }
:focus-visible { outline: 3px solid var(--s0); outline-offset: 2px; border-radius: .25rem; }
svg text { fill: var(--ink); font-size: 13px; } svg.chart { width: 100%; height: auto;
  max-width: 29rem; }
svg.plot { width: 100%; height: auto; min-width: 34rem; max-width: 60rem; }
svg.near { width: 100%; height: auto; max-width: 29rem; display: none; }
@media (max-width: 40rem) { svg.near { display: block; }
  svg.near + svg.plot { display: none; } }
svg .axis, svg .tick { fill: var(--soft); font-size: 12px; }
svg .on, svg .in { font-size: 11px; } svg .on { fill: var(--on); } svg .in { fill: var(--in); }
svg.grid { max-width: 100%; height: auto; }
.scroll svg.grid { max-width: max(100%, 60rem); } svg.grid rect { stroke: var(--rule); }
svg.grid rect.peak { stroke: var(--ink); stroke-width: 2; }
svg .rule { stroke: var(--rule); } svg .mark { stroke: var(--soft); stroke-dasharray: 3 4; }
.line { fill: none; stroke-width: 2.2; } .dot { stroke: var(--page); }
.line.s0 { stroke: var(--s0); } .dot.s0 { fill: var(--s0); }
.line.s1 { stroke: var(--s1); stroke-dasharray: 7 3; } .dot.s1 { fill: var(--s1); }
.line.s2 { stroke: var(--s2); stroke-dasharray: 2 3; } .dot.s2 { fill: var(--s2); }
.line.s3 { stroke: var(--s3); stroke-dasharray: 9 3 2 3; } .dot.s3 { fill: var(--s3); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1.25rem; }
caption { text-align: left; color: var(--soft); font-size: .92rem; padding-bottom: .25rem;
  max-width: calc(100vw - 5rem); }
th, td { padding: .3rem .55rem .3rem 0; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; overflow-wrap: break-word; }
td.number, th.number { text-align: right; } td.number { white-space: nowrap; }
.share { min-width: 3.5rem; width: 10rem; }
.share i { display: block; height: .8rem; margin-top: .35rem; min-width: 1px;
  background: var(--accent); border-radius: 2px; }
summary { cursor: pointer; padding: .35rem 0; color: var(--soft); }
ul { padding-left: 1.2rem; margin: .5rem 0; }
.plain { white-space: pre-wrap; font: inherit; max-width: 46rem; }
.read { font-size: 1.1rem; line-height: 2; white-space: pre-wrap; max-width: 46rem; }
.read span { background: rgba(var(--accent-rgb), var(--w)); color: var(--in); padding: .15em 0;
  border-radius: 3px; } .read span.strong { color: var(--on); }
.read span.minus { background: rgba(var(--minus-rgb), var(--w));
  text-decoration: underline dotted; text-underline-offset: .2em; }
svg .plus { fill: rgb(var(--accent-rgb)); } svg .minus { fill: rgb(var(--minus-rgb)); }
svg .band { fill: var(--soft); opacity: .18; }
h4 { font-size: 1rem; margin: 1rem 0 .35rem; }
.pair { display: grid; gap: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
@media (max-width: 30rem) { article { padding: .75rem; } table { font-size: .92rem; } }
@media print { article, figure { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Report:
    """A page in the making: `add` gives a report with one more section, `html` the whole page."""

    title: str
    lead: str
    sections: tuple[tuple[str, str], ...] = ()

    def add(self, heading: str, body: str) -> Report:
        """Return the report with a section more; `body` is HTML made by this module."""
        return replace(self, sections=(*self.sections, (heading, body)))

    def html(self) -> str:
        """Return the page: no script, no request to anywhere (its own policy forbids both)."""
        sections = "".join(
            f'<section aria-labelledby="s{k}"><h2 id="s{k}">{text(heading)}</h2>{body}</section>\n'
            for k, (heading, body) in enumerate(self.sections)
        )
        links = "".join(
            f'<li><a href="#s{k}">{text(heading)}</a></li>'
            for k, (heading, _) in enumerate(self.sections)
        )
        contents = f'<nav aria-label="On this page"><ul>{links}</ul></nav>\n'
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta http-equiv="Content-Security-Policy"'
            " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            f"<title>{text(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f'<h1>{text(self.title)}</h1>\n<p class="lead">{text(self.lead)}</p>\n'
            f"{contents if len(self.sections) > 1 else ''}{sections}</main>\n</body>\n</html>\n"
        )


def percent(share: float, digits: int = 0) -> str:
    """Return a share as per cent; the sign stays on the line of its number."""
    return f"{100 * share:.{digits}f}\u00a0%"


def paragraph(content: str, *, kind: str = "") -> str:
    """Return one paragraph."""
    return f"<p{_kind(kind)}>{text(content)}</p>"


def preformatted(content: str) -> str:
    """Return text whose lines stay as they are."""
    return f'<pre class="plain">{text(content)}</pre>'


def bullets(items: Sequence[str]) -> str:
    """Return a list of sentences."""
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in items) + "</ul>"


def figure(title: str, body: str, reading: str, *, scrolls: bool = False) -> str:
    """Return a figure with its title and one sentence on how to read it.

    A picture that `scrolls` may be wider than the screen: it can be reached and moved by keyboard.
    """
    if scrolls:
        body = _scrolling(title, body)
    caption = f"<figcaption><b>{text(title)}.</b> {text(reading)}</figcaption>"
    return f"<figure>{body}{caption}</figure>"


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str | float | int]]) -> str:
    """Return a table whose first column names its rows; numbers are set to the right."""
    numeric = [
        k > 0 and all(isinstance(row[k], (int, float)) for row in rows) for k in range(len(header))
    ]
    head = "".join(
        f'<th scope="col"{_kind("number" if n else "")}>{text(h)}</th>'
        for h, n in zip(header, numeric, strict=True)
    )
    lines = []
    for row in rows:
        cells = "".join(
            f"<td{_kind('number' if n else '')}>{text(_value(v))}</td>"
            for v, n in zip(row[1:], numeric[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{text(_value(row[0]))}</th>{cells}</tr>')
    return _scrolling(
        caption,
        f"<table><caption>{text(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>",
    )


def shares(caption: str, header: tuple[str, str], values: Sequence[tuple[str, float]]) -> str:
    """Return a table of names and shares from 0 to 1, each as per cent and as a bar."""
    lines = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="number">{percent(value, 1)}</td>'
        f'<td class="share" aria-hidden="true"><i style="width:{100 * value:.1f}%"></i></td></tr>'
        for name, value in values
    )
    name, share = map(text, header)
    return (
        f'<table><caption>{text(caption)}</caption><thead><tr><th scope="col">{name}</th>'
        f'<th scope="col" class="number">{share}</th><td></td></tr></thead>'
        f"<tbody>{lines}</tbody></table>"
    )


def details(heading: str, body: str) -> str:
    """Return something to open: the heading is seen, the body on demand."""
    return f"<details><summary>{text(heading)}</summary>{body}</details>"


def articles(items: Sequence[tuple[str, str, bool]]) -> str:
    """Return panels of a heading and HTML, side by side where there is room; True: a full row."""
    inner = "".join(
        f"<article{_kind('wide' if wide else '')}><h3>{text(heading)}</h3>{body}</article>"
        for heading, body, wide in items
    )
    return f'<div class="grid-of">{inner}</div>'


def marked_text(tokens: Sequence[str], weights: Sequence[float], *, apart: bool = False) -> str:
    """Return a text with tokens shaded by weight, the heaviest fully; tooltips tell the weights.

    `apart` puts a space between all tokens, also where they are single characters.
    """
    most = max(weights, default=0.0) or 1.0
    pieces = _spaced(tokens) if apart else join(tokens)
    spans = []
    for token, piece, weight in zip(tokens, pieces, weights, strict=True):
        share = max(weight, 0.0) / most
        strong = ' class="strong"' if share >= STRONG else ""
        gap = " " if piece.startswith(" ") and len(piece) > 1 else ""
        tip = text(f"{shown(token)}: {weight:.3f}")
        inner = text(piece.removeprefix(gap))
        spans.append(f'{gap}<span{strong} style="--w:{share:.3f}" title="{tip}">{inner}</span>')
    return f'<p class="read" dir="auto">{"".join(spans)}</p>'


def _spaced(tokens: Sequence[str]) -> list[str]:
    return [f" {token}" if k else token for k, token in enumerate(tokens)]


def signed_text(tokens: Sequence[str], values: Sequence[float], *, apart: bool = False) -> str:
    """Return a text with tokens shaded by value, the largest fully; below 0 underlined as well.

    `apart` puts a space between all tokens, also where they are single characters.
    """
    most = max(map(abs, values), default=0.0) or 1.0
    spans = []
    pieces = _spaced(tokens) if apart else join(tokens)
    for token, piece, value in zip(tokens, pieces, values, strict=True):
        share = abs(value) / most
        kinds = [
            name for name, holds in (("strong", share >= STRONG), ("minus", value < 0)) if holds
        ]
        gap = " " if piece.startswith(" ") and len(piece) > 1 else ""
        tip = text(f"{shown(token)}: {value:+.4g}")
        kind = _kind(" ".join(kinds))
        inner = text(piece.removeprefix(gap))
        spans.append(f'{gap}<span{kind} style="--w:{share:.3f}" title="{tip}">{inner}</span>')
    return f'<p class="read" dir="auto">{"".join(spans)}</p>'


def subheading(content: str) -> str:
    """Return a heading inside a panel."""
    return f"<h4>{text(content)}</h4>"


def beside(*bodies: str) -> str:
    """Return pieces of HTML side by side where there is room."""
    return f'<div class="pair">{"".join(f"<div>{body}</div>" for body in bodies)}</div>'


def _scrolling(title: str, body: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">{body}</div>'


def _value(value: str | float | int) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
