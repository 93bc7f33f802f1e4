"""A network as text: a table of its parameters, and a drawing of it unrolled over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from unrolled.config import ModelConfig
from unrolled.spec import (
    CaptionerSpec,
    ClassifierSpec,
    ForecasterSpec,
    GeneratorSpec,
    NetworkSpec,
    RecurrentSpec,
    RegressorSpec,
    TaggerSpec,
    TranslatorSpec,
)

NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def parameter_table(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return one line a parameter: name, shape, count; and the total."""
    rows = [
        (name, " x ".join(map(str, value.shape)) or "1", value.size)
        for name, value in sorted(weights.items())
    ]
    name_width = max(len("parameter"), *(len(name) for name, _, _ in rows))
    shape_width = max(len("shape"), *(len(shape) for _, shape, _ in rows))
    line = f"{{:<{name_width}}}  {{:>{shape_width}}}  {{:>12}}"
    total = sum(count for _, _, count in rows)
    body = [line.format(name, shape, f"{count:,}") for name, shape, count in rows]
    head = line.format("parameter", "shape", "count")
    return "\n".join([head, "-" * len(head), *body, line.format("total", "", f"{total:,}")])


def describe(config: ModelConfig) -> str:
    """Return what the model is, in a few lines of words."""
    spec = config.network
    if isinstance(spec, ClassifierSpec):
        kind = "labels, any number of them" if spec.multi_label else "classes"
        lines = _describe_pooled(spec, config, f"{spec.num_classes} {kind}")
    elif isinstance(spec, RegressorSpec):
        lines = _describe_pooled(spec, config, ", ".join(config.data.targets))
    elif isinstance(spec, TaggerSpec):
        lines = _describe_tagger(spec, config)
    elif isinstance(spec, CaptionerSpec):
        lines = _describe_captioner(spec, config)
    elif isinstance(spec, GeneratorSpec):
        lines = _describe_generator(spec, config)
    elif isinstance(spec, ForecasterSpec):
        lines = _describe_forecaster(spec, config)
    else:
        attention = spec.attention.kind + " attention" if spec.attention else "no attention"
        lines = [
            f"translate: {spec.source_vocab_size} source {config.data.source_vocabulary.tokens}s, "
            f"{spec.target_vocab_size} target {config.data.target_vocabulary.tokens}s",
            f"encoder: embedding of {spec.source_embedding_size}, {stack_words(spec.encoder)}",
            f"decoder: embedding of {spec.target_embedding_size}, {stack_words(spec.decoder)}, "
            f"{attention}",
        ]
    return "\n".join(lines)


def _describe_captioner(spec: CaptionerSpec, config: ModelConfig) -> list[str]:
    reads = {
        "vector": f"a vector of {spec.feature_size} numbers",
        "regions": f"regions of {spec.feature_size} numbers",
        "attributes": f"attributes, {spec.feature_size} in the vocabulary",
    }[spec.inputs]
    ordered = f", in order, at most {spec.positions}" if spec.positions else ""
    return [
        f"caption: {reads}{ordered}; {spec.target_vocab_size} target "
        f"{config.data.target_vocabulary.tokens}s",
        f"memory of {spec.memory_size}, {_conditioned(spec)}",
        f"decoder: embedding of {spec.target_embedding_size}, {stack_words(spec.decoder)}",
    ]


def _conditioned(spec: CaptionerSpec) -> str:
    if spec.attention is not None:
        return (
            f"its summary is the first state, its rows are read by {spec.attention.kind} attention"
        )
    return {"every": "its summary is the first state and is read at every step"}.get(
        spec.condition, "its summary is the first state"
    )


def _describe_pooled(
    spec: ClassifierSpec | RegressorSpec, config: ModelConfig, answers: str
) -> list[str]:
    pooled = spec.pooling if spec.attention is None else f"{spec.attention.kind} attention"
    reads = f"{spec.vocab_size} {config.data.source_vocabulary.tokens}s in the vocabulary"
    embedded = f"embedding of {spec.embedding_size}, "
    if spec.frame_size:
        masked = ", and which are missing" if spec.mask_missing else ""
        reads, embedded = f"{spec.frame_size} numbers a step{masked}", ""
    return [
        f"{config.task}: {reads}, {answers}",
        f"{embedded}{stack_words(spec.recurrent)}, pooled by {pooled}",
    ]


def _describe_tagger(spec: TaggerSpec, config: ModelConfig) -> list[str]:
    tagging = config.data.tagging
    scheme = "" if tagging is None or tagging.scheme == "none" else f" in {tagging.scheme.upper()}"
    held = ", answers held to it" if tagging is not None and tagging.constrained else ""
    reads = f"{spec.frame_size} numbers a frame" if spec.frame_size else f"{spec.vocab_size} words"
    lines = [f"tag: {reads}, {spec.num_tags} tags{scheme}{held}"]
    if spec.num_intents:
        lines.append(
            f"and one of {spec.num_intents} labels for the whole, from the maximum over time"
        )
    if spec.characters is not None:
        stack = stack_words(spec.characters.recurrent)
        lines.append(
            f"spelling: {spec.characters.vocab_size} characters, embedding of "
            f"{spec.characters.embedding_size}, {stack}"
        )
    embedded = f"embedding of {spec.embedding_size}, " if spec.embedding_size else ""
    head = "a CRF over the sequence" if spec.head == "crf" else "a softmax at each step"
    return [*lines, f"{embedded}{stack_words(spec.recurrent)}, {head}"]


def _describe_generator(spec: GeneratorSpec, config: ModelConfig) -> list[str]:
    stack = stack_words(spec.recurrent)
    if spec.frame_size:
        return [f"generate: frames of {spec.frame_size} keys", f"{stack}, a sigmoid for each key"]
    kind = "item" if config.data.generation and config.data.generation.kind == "items" else None
    unit = kind or config.data.source_vocabulary.tokens
    tied = ", tied to the embedding" if spec.tied else ""
    return [
        f"generate: {spec.vocab_size} {unit}s in the vocabulary",
        f"embedding of {spec.embedding_size}, {stack}, a softmax{tied}",
    ]


def _describe_forecaster(spec: ForecasterSpec, config: ModelConfig) -> list[str]:
    reads = config.data.forecasting
    assert reads is not None
    outputs = {
        "point": "a point",
        "quantiles": f"{len(spec.quantiles)} quantiles",
        "normal": "a normal distribution",
        "student_t": "a Student's t distribution",
        "negative_binomial": "a negative binomial distribution",
    }
    decoders = {
        "linear": "all steps at once, linear",
        "mlp": f"all steps at once, {spec.decoder_size} numbers told to each",
        "rnn": "a recurrent decoder",
        "autoregressive": "goes on by itself, each step from what it drew",
    }
    told = {"none": "", "last": ", added to the last value", "season": ", added to a season ago"}
    beside = [
        f"{len(names)} {kind} covariate{'s' if len(names) > 1 else ''}"
        for kind, names in (("past", reads.past), ("known", reads.future), ("static", reads.static))
        if names
    ]
    beside += [f"calendar: {', '.join(reads.calendar)}"] if reads.calendar else []
    lines = [
        f"forecast: {spec.horizon} steps of {reads.freq} from the {reads.window} before, "
        f"{outputs[spec.output]} each{told[spec.residual]}",
        f"scaled by the {reads.scale_by}'s own {reads.scaling} scale"
        if reads.scaling != "none"
        else "not scaled",
        f"{stack_words(spec.recurrent)}; {decoders[spec.decoder]}",
    ]
    if reads.calibration is not None:
        lines.append(f"intervals calibrated on {reads.calibration.windows} validation windows")
    return [*lines, *(["; ".join(beside)] if beside else [])]


def stack_words(spec: RecurrentSpec) -> str:
    """Return a recurrent stack in words."""
    layers = f"{spec.num_layers} {NAMES[spec.cell]} layer{'s' if spec.num_layers > 1 else ''}"
    widths = "/".join(map(str, dict.fromkeys(spec.hidden_sizes)))
    way = f", both directions ({spec.merge})" if spec.bidirectional else ""
    return f"{layers} of {widths}{way}"


def draw(spec: NetworkSpec) -> str:
    """Return the network unrolled over time: a column a time step, information flowing upwards.

    `->` carries the state to the next step, `<->` in both directions.
    """
    if isinstance(spec, (ClassifierSpec, RegressorSpec)):
        return _draw_pooled(spec)
    if isinstance(spec, TaggerSpec):
        return _draw_tagger(spec)
    if isinstance(spec, CaptionerSpec):
        return _draw_captioner(spec)
    if isinstance(spec, GeneratorSpec):
        return _draw_generator(spec)
    if isinstance(spec, ForecasterSpec):
        return _draw_forecaster(spec)
    return _draw_translator(spec)


def _draw_pooled(spec: ClassifierSpec | RegressorSpec) -> str:
    steps = ["x[1]", "x[2]", "x[T]"]
    body = _stack(spec.recurrent, steps)
    width = max(map(len, body))
    pooled = {
        "attention": f"attention pooling ({spec.attention.kind if spec.attention else ''})",
        "last": "last state",
        "mean": "mean over time",
        "max": "maximum over time",
    }[spec.pooling]
    count = spec.num_outputs
    answers = f"{count} number{'s' if count > 1 else ''}"
    if isinstance(spec, ClassifierSpec):
        answers = f"{count} labels, each by itself" if spec.multi_label else f"{count} classes"
    top = [
        answers,
        "^",
        f"linear {spec.recurrent.output_size} -> {count}",
        "^",
        pooled,
    ]
    return "\n".join([line.center(width).rstrip() for line in top] + body)


def _draw_tagger(spec: TaggerSpec) -> str:
    read = "x" if spec.frame_size else "w"
    body = _stack(
        spec.recurrent,
        [f"{read}[1]", f"{read}[2]", f"{read}[T]"],
        outputs=["y[1]", "y[2]", "y[T]"],
    )
    head = (
        "y[1] - y[2] ... y[T] scored together by a CRF" if spec.head == "crf" else "a softmax each"
    )
    if spec.num_intents:
        head += f"; one of {spec.num_intents} labels from the maximum over time"
    parts = ["embedding"] if spec.embedding_size else []
    parts += ["last states of its characters"] if spec.characters else []
    notes = [f"w[t]: {' and '.join(parts)} of word t"] if parts else ["x[t]: frame t"]
    return "\n".join([head, "", *body, "", *notes])


def _draw_captioner(spec: CaptionerSpec) -> str:
    beside = {"every": " + v", "attend": " + c"}.get(spec.condition, "")
    read = [f"{token}{beside}" for token in ("<s>", "y[1]", "y[T]")]
    if spec.attention is not None and spec.attention.kind != "additive":
        read = ["<s>", "y[1]", "y[T]"]
    body = _stack(spec.decoder, read, outputs=["y[1]", "y[2]", "</s>"])
    row = {"vector": "m = tanh(W f + b)", "regions": "m[s] = tanh(W f[s] + b)"}.get(
        spec.inputs, "m[s] = embedding of attribute s"
    )
    summed = {"vector": "v = m", "regions": "v = mean of m[s]"}.get(spec.inputs, "v = sum of m[s]")
    notes = [f"{row}; {summed}; the first state comes from v"]
    if spec.attention is not None:
        notes.append(f"c[t]: a context from all m[s] by {spec.attention.kind} attention")
    return "\n".join([*body, "", *notes])


def _draw_generator(spec: GeneratorSpec) -> str:
    body = _stack(spec.recurrent, ["x[0]", "x[1]", "x[T-1]"], outputs=["x[1]", "x[2]", "x[T]"])
    head = "a sigmoid for each key" if spec.frame_size else "a softmax over what comes next"
    return "\n".join([head, "", *body])


def _draw_forecaster(spec: ForecasterSpec) -> str:
    if spec.decoder == "autoregressive":
        body = _stack(
            spec.recurrent, ["y[t-1]", "y[t]", "y[t+H-1]"], outputs=["y[t]", "y[t+1]", "y[t+H]"]
        )
        return "\n".join([*body, "", "up to now a step reads what was, then what it drew itself"])
    body = _stack(spec.recurrent, ["x[1]", "x[2]", "x[T]"])
    width = max(map(len, body))
    head = {"linear": "linear", "mlp": "network of two layers", "rnn": "recurrent decoder"}
    top = [
        f"y[T+1] ... y[T+{spec.horizon}]",
        "^",
        head[spec.decoder] + (", with what is known ahead" if spec.known_size else ""),
        "^",
        "last state",
    ]
    note = "x[t]: the value, whether it is there, and what stands beside it"
    return "\n".join([*(line.center(width).rstrip() for line in top), *body, "", note])


def _draw_translator(spec: TranslatorSpec) -> str:
    encoder = _stack(spec.encoder, ["x[1]", "x[2]", "x[S]"])
    decoder = _stack(spec.decoder, ["<s>", "y[1]", "y[T]"], outputs=["y[1]", "y[2]", "</s>"])
    height = max(len(encoder), len(decoder))
    encoder = [""] * (height - len(encoder)) + encoder
    decoder = [""] * (height - len(decoder)) + decoder
    left = max(map(len, encoder))
    bridge = height - 3
    arrow = "  == bridge ==>  "
    rows = [
        f"{a:<{left}}{arrow if i == bridge else ' ' * len(arrow)}{b}".rstrip()
        for i, (a, b) in enumerate(zip(encoder, decoder, strict=True))
    ]
    if spec.attention is None:
        return "\n".join(rows)
    note = {
        "additive": "the decoder's cell reads a context c[t] from all encoder outputs",
        "dot": "a context c[t] from all encoder outputs joins each decoder output",
    }
    kind = spec.attention.kind
    text = f"{kind} attention: {note.get(kind, note['dot'])}"
    return "\n".join([text, "", *rows])


def _stack(spec: RecurrentSpec, inputs: list[str], outputs: list[str] | None = None) -> list[str]:
    """Draw a stack over three time steps, the last one set apart by dots."""
    names = [f"{NAMES[spec.cell]} {size}" for size in spec.hidden_sizes]
    box = max(len(name) for name in names) + 2
    link = "<->" if spec.bidirectional else "-->"

    def row(parts: list[str], first: str = "   ", second: str = "   ") -> str:
        one, two, last = (part.center(box) for part in parts)
        return f"{one}{first}{two}{second}{last}".rstrip()

    arrows = row(["^"] * 3)
    lines = [row(outputs), arrows] if outputs else [arrows]
    for layer in reversed(range(spec.num_layers)):
        boxes = [f"[{names[layer].center(box - 2)}]"] * 3
        lines += [f"{row(boxes, link, '...')}  layer {layer + 1}", arrows]
    return [*lines, row(inputs)]
