"""The page in a browser: nothing fetched, nothing complained of, readable at every width."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import explaining
from reports import LOG, Page, words
from unrolled.data.vocab import LabelVocabulary
from unrolled.explain.explanation import examples_of
from unrolled.explain.generating import surprise_report
from unrolled.explain.report import classification_report, write_report
from unrolled.explain.tagging import tagged_examples, tagging_report

TEXT = "w0 w1 w2 good w3 w4 bad w5 w6 w7 w8 w9 w0 w1 w2 w3"
LONG = np.random.default_rng(0).normal(size=(450, 3)).astype(np.float32)
WIDTHS = (390, 800, 1400)

ACCESS = """() => ({
  lang: document.documentElement.lang,
  title: document.title,
  levels: [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1]),
  nameless: [...document.querySelectorAll('svg,img')].filter(
    p => !(p.getAttribute('aria-label') || p.getAttribute('alt'))).length,
  unreachable: [...document.querySelectorAll('*')].filter(e => {
    const x = getComputedStyle(e).overflowX;
    return (x === 'auto' || x === 'scroll') && e.scrollWidth > e.clientWidth && e.tabIndex < 0;
  }).length,
  wide: document.documentElement.scrollWidth - window.innerWidth,
  small: [...document.querySelectorAll('p,li,td,th,figcaption,summary')].filter(
    e => e.checkVisibility() && parseFloat(getComputedStyle(e).fontSize) < 12).length,
  cut: [...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).flatMap(s => {
    const v = s.getBoundingClientRect();
    return [...s.querySelectorAll('text,rect,circle,line,polyline')].filter(t => {
      const b = t.getBoundingClientRect();
      return Math.max(v.left - b.left, b.right - v.right, v.top - b.top, b.bottom - v.bottom) > 3;
    }).map(t => t.outerHTML.slice(0, 90));
  }),
  over: [...document.querySelectorAll('svg')].filter(s => s.checkVisibility()).flatMap(s => {
    const upright = [...s.querySelectorAll('text')].filter(t => !t.getAttribute('transform'));
    const boxes = upright.map(t => [t.getBoundingClientRect(), t.textContent]);
    return boxes.flatMap(([a, one], k) => boxes.slice(k + 1).filter(([b]) =>
      Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4
    ).map(([, other]) => one + ' / ' + other));
  }),
  tiny: [...document.querySelectorAll('svg text')].filter(t => {
    const s = t.ownerSVGElement, k = s.getBoundingClientRect().width / s.viewBox.baseVal.width;
    return s.checkVisibility() && parseFloat(getComputedStyle(t).fontSize) * k < 7.5;
  }).length,
  ink: getComputedStyle(document.body).color,
  page: getComputedStyle(document.documentElement).backgroundColor
       + getComputedStyle(document.body).backgroundColor,
})"""


def classified() -> str:
    model = explaining.planted()
    found = [model.explain(text, "all") for text in (TEXT, "good", TEXT * 30)]
    examples = examples_of(model, [TEXT, "good"])
    return classification_report("Reviews", examples, LOG, {"accuracy": 1.0}, explanations=found)


CHANNELS = ("body acceleration x", "body acceleration y", "temperature", "심박수", "unused")


def measured() -> str:
    """A classifier of a table whose columns have names, of a long and of a single step."""
    import polars

    import signals
    from unrolled.tasks import Classifier

    draw = np.random.default_rng(0)
    values = draw.normal(size=(60, 5)) * (4, 3, 2, 1, 0.01)
    columns = {name: values[:, k] for k, name in enumerate(CHANNELS)}
    rows = {"id": np.arange(60) // 3, "side": np.where(np.arange(60) // 3 % 2, "left", "right")}
    columns_read = {"sequence": "id", "features": ",".join(CHANNELS), "label": "side"}
    estimator = Classifier(**{**signals.LEARN, "epochs": 1}, **columns_read)
    model = estimator.fit(polars.DataFrame({**rows, **columns})).model_
    inputs = [values[:9].astype(np.float32), values[:1].astype(np.float32)]
    found = [model.explain(each) for each in inputs]
    return classification_report("Signals", examples_of(model, inputs), explanations=found)


def tagged() -> str:
    import tagging
    from unrolled.nn.build import build

    spec = tagging.tagger("lstm", frames=3)
    weights = {k: v.detach().numpy() for k, v in build(spec).state_dict().items()}
    model = explaining.model_of("tag", spec, weights, {"target": LabelVocabulary(tuple("abcde"))})
    found = model.explain(LONG, "occlusion,integrated,states,memory", target=450)
    return tagging_report("Frames", tagged_examples(model, [LONG]), explanations=[found])


def foretold() -> str:
    import forecasting
    from test_explaining_planted import planted_forecaster
    from test_explaining_written import series
    from unrolled.explain.forecasting import forecast_examples, forecasting_report

    model = planted_forecaster()
    given = series(40, promo=lambda k, t: float(t % 7 == 0))
    found = [model.explain(given, "all", target=target) for target in (None, "covariates")]
    panel = forecasting.panel(given, past="promo")
    return forecasting_report("Series", forecast_examples(model, panel), explanations=found)


def generated() -> str:
    from test_explaining_planted import planted_generator
    from unrolled.explain.generating import surprise_report, surprised_examples

    model = planted_generator()
    found = [model.explain(explaining.PLANTED, "all", target=target) for target in (None, "6")]
    shown = surprised_examples(model, [explaining.PLANTED])
    return surprise_report("Histories", shown, explanations=found)


def captioned() -> str:
    import captioning
    from unrolled.data.captions import Described
    from unrolled.explain.captioning import captioned_examples, captioning_report
    from unrolled.runtime.model import from_artifact
    from unrolled.tasks.caption import train

    values, texts = captioning.regions(60)
    things = Described("things", "regions", values, [[text] for text in texts])
    training = captioning.training(epochs=4)
    model = from_artifact(train(things, captioning.options(), training))
    several = [v for v in values if len(v) == 3][:2]
    found = [model.explain(each, "all") for each in several]
    shown = captioned_examples(model, Described("things", "regions", several))
    return captioning_report("Regions", shown, explanations=found)


def translated() -> str:
    import tiny
    from unrolled.explain.report import translation_report
    from unrolled.runtime.model import from_artifact
    from unrolled.tasks.translate import train

    model = from_artifact(train(tiny.pairs(), tiny.translate_options(), tiny.training(epochs=1)))
    text = "abcabcabcabcabcabcabcabc"
    found = [model.explain(text, "attention,occlusion,states,memory")]
    flow = {"epoch": 1, "sampled_steps": 3, "gradient_norm": 1.0, "clipped_share": 0.5, "lr": 1e-3}
    layer = {"name": "encoder", "layer": 0, "direction": "forward", "h": [1.0, 1.0, 1.1]}
    flow |= {"radius": {}, "update_ratio": {}, "gates": {}}
    log = [
        {**LOG[0], "flow": {**flow, "layers": [{**layer, "memory": [0.5**k for k in range(60)]}]}}
    ]
    return translation_report("Letters", examples_of(model, [text]), log, explanations=found)


def compared() -> str:
    from test_compare import setting
    from unrolled.explain.comparison import comparison_report
    from unrolled.tasks.compare import Comparison, recommend

    settings = (
        setting("a setting with a long name", [0.9, 0.91, 0.9]),
        setting("noisy", [0.2, 0.95, 0.6], memory=3.0),
    )
    said = {"task": "classify", "equal": "time", "metric": "accuracy", "more_is_better": True}
    sizes = {"train_size": 10, "test_size": 5, "counted": "examples"}
    told = tuple(recommend(settings, "accuracy", "time"))
    return comparison_report(
        "c", Comparison(**said, **sizes, settings=settings, recommendation=told)
    )


PAGES = {
    "translate": translated,
    "compare": compared,
    "classify": classified,
    "frames": measured,
    "tag": tagged,
    "forecast": foretold,
    "generate": generated,
    "caption": captioned,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        write_report(folder / f"{name}.html", make())
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium to open pages in (Debian: apt install chromium)")
    with sync_api.sync_playwright() as started:
        # A container's user may be root, for whom chromium has no sandbox.
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_browser_shows_the_page_at_every_width(name, scheme, browser, written) -> None:
    context = browser.new_context(color_scheme=scheme)
    said, fetched = [], []
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: fetched.append(request.url))
    tab.goto(written[name].as_uri())
    inks = {}
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 800})
        found = tab.evaluate(ACCESS)
        assert found["wide"] <= 0, width
        assert (found["nameless"], found["unreachable"], found["small"]) == (0, 0, 0), width
        assert (found["cut"], found["over"], found["tiny"]) == ([], [], 0), width
        inks[width] = found["ink"]
    assert (found["lang"], bool(found["title"])) == ("en", True)
    assert found["levels"][0] == 1
    assert all(b - a <= 1 for a, b in pairwise(found["levels"]))
    assert set(inks.values()) == {"rgb(22, 25, 31)" if scheme == "light" else "rgb(233, 236, 241)"}
    assert said == []
    assert fetched == [written[name].as_uri()]
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_has_a_title_and_how_to_read_it(name: str, written) -> None:
    html = written[name].read_text()
    found = Page(html)
    least = 1 if name == "compare" else 4
    assert len(found.named("figure")) == len(found.named("figcaption")) >= least
    captions = html.split("<figcaption>")[1:]
    for caption in captions:
        title, _, reading = caption.split("</figcaption>")[0].removeprefix("<b>").partition("</b> ")
        assert title.endswith(".")
        assert reading.count(".") >= 1


def test_what_the_page_says(written) -> None:
    said = words(written["classify"].read_text())
    for part in ("Which step mattered", "Gates and states", "Memory", "TimeSHAP", "Trust it here:"):
        assert part in said
    assert "Too short to tell: 1 step; a test needs" in said
    assert "completeness gap" in said


def test_features_are_called_by_their_names(written) -> None:
    page = written["frames"].read_text()
    said = words(page)
    assert all(f">{name}</text>" in page for name in CHANNELS[:4])
    assert re.search(r"Feature Value body acceleration x [\d.-]+ body acceleration y", said)
    assert "feature 1" not in said


SEEN = """() => [...document.querySelectorAll('svg.near,svg.plot')]
  .filter(s => s.checkVisibility()).map(s => [s.classList[0],
    s.querySelector('.mark').getBoundingClientRect().right < window.innerWidth,
    s.closest('.scroll').scrollWidth <= s.closest('.scroll').clientWidth])"""


@pytest.mark.parametrize(("width", "kind"), [(390, "near"), (640, "near"), (700, "plot")])
def test_a_forecast_is_seen_without_a_scroll(width, kind, browser, written) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(written["forecast"].as_uri())
    assert tab.evaluate(SEEN) == [[kind, True, True]]
    tab.goto(written["compare"].as_uri())
    assert tab.evaluate("document.querySelector('svg.plot').checkVisibility()")
    tab.close()


def test_a_page_of_items_is_called_what_it_is(written) -> None:
    said = words(written["generate"].read_text())
    assert "Histories Below is how much each item of a sequence surprised the model" in said
    assert "Sequences of items Which step mattered" in said
    assert "bits an item. The most surprising is" in said
    assert "Every item Item Bits Expected 1" in said
    assert "Texts" not in said


def test_items_of_one_character_stand_apart() -> None:
    example = {
        "unit": "item",
        "tokens": ["a", "b", "c"],
        "bits": np.array([1.0, 2.0, 3.0]),
        "expected": [[("a", 0.5)] * 3] * 3,
    }
    page = surprise_report("Items", [example])
    assert [said.split() for said in re.findall(r"<h3[^>]*>(.*?)</h3>", page)] == [["a", "b", "c"]]
    assert len(re.findall("</span> <span", page)) == 2


def test_numbered_parts_stand_apart(written) -> None:
    assert 'title="1: ' in written["caption"].read_text()
    assert "</span> <span" in written["caption"].read_text()
    assert " 1 2 3 Attention" in words(written["caption"].read_text())


def test_the_answer_and_why_come_before_how_the_model_was_trained(written) -> None:
    found = Page(written["classify"].read_text())
    links = [link["href"] for link in found.named("a")]
    assert links == [f"#{section['aria-labelledby']}" for section in found.named("section")]
    said = words(written["classify"].read_text())
    order = ["Texts", "Which step mattered", "Gates and states", "Memory", "Results", "Learning"]
    assert " ".join(order) in said
    assert "(a probability of" in said
    assert said.index("Explained: label") < said.index("What was measured")
