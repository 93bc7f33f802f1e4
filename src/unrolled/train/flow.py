"""Watch how gradients flow back through time while a model trains, and change nothing in the run.

A few batches an epoch are watched: the training step itself is, through the layers' own backward
pass, so that no step is computed twice. `measure.py` beside this file has what is computed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor, nn

from unrolled.artifact import write_files
from unrolled.errors import ConfigError
from unrolled.nn.decoder import Seen
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.writer import Writer
from unrolled.train import measure
from unrolled.train.checkpoint import Counters
from unrolled.train.history import FLOW, read_lines
from unrolled.train.measure import ByLag, Call

SAMPLES = 3


class FlowWatch:
    """A watcher that records, an epoch a line, what the gradient does on its way back.

    `h` and `c`: the root mean square over rows of |dL/dh[t]| and |dL/dc[t]|, by lag: the steps
    between t and the last step that the direction reads, each row's own. `memory`: the same of
    a unit pull at the last state alone, which says how far back the last state remembers. Beside
    them: spectral radii, update-to-weight ratios, gate saturation; see `measure`. Each line goes to
    `tell`, and with a `folder` into training/flow.jsonl.

    Raises ConfigError where an engine was chosen that does not tell what its backward pass finds,
    and where gradients are truncated.
    """

    def __init__(
        self, model: nn.Module, tell: Callable[[dict[str, Any]], None], folder: Path | None = None
    ) -> None:
        self.model, self.tell, self.folder = model, tell, folder
        self.layers = {n: m for n, m in model.named_modules() if isinstance(m, Recurrent)}
        self.writers = {
            f"{n}.decoder".lstrip("."): m for n, m in model.named_modules() if isinstance(m, Writer)
        }
        for layer in self.layers.values():
            if layer.engine == "torch":
                raise ConfigError(
                    "--watch needs the gradient of every hidden state, which engine 'torch' does "
                    "not give; choose auto, native or reference"
                )
            if layer.truncate:
                raise ConfigError(
                    "--watch measures gradients through whole sequences; leave --truncate out"
                )
        self.armed = False
        self.calls: list[Call] = []
        self.hooks: list[Any] = []
        self.before: dict[str, Tensor] = {}
        self._clear()

    def _clear(self) -> None:
        self.sampled, self.spent = 0, 0.0
        self.by_lag: dict[tuple[str, int, str, str], ByLag] = {}
        self.last_calls: dict[str, Call] = {}
        self.ratios: dict[str, list[float]] = {}
        self.epoch_began = time.monotonic()

    def begin(self, epochs: int, counters: Counters) -> None:
        """Attach to the layers; a resumed run keeps the lines of the epochs that are done."""
        if self.folder is not None:
            written = read_lines(self.folder, FLOW)
            kept = [_line(record) for record in written if record["epoch"] <= counters.epoch]
            write_files(self.folder, {FLOW: b"".join(kept)})
        for name, layer in self.layers.items():
            self.hooks.append(
                layer.register_forward_pre_hook(self._recorder(name, layer), with_kwargs=True)
            )
        self._clear()
        self._arm()

    def _seen(self, name: str, seen: Seen) -> None:
        """Take what a decoder did in the watched step, whose cell its module does not run."""
        self.calls.append(Call(name, self.layers[name], (seen.x, seen.state), {}, seen.flow))

    def _recorder(self, name: str, layer: Recurrent) -> Callable[..., Any]:
        def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not (self.armed and module.training):
                return None
            flow: list[Tensor] = []
            self.calls.append(Call(name, layer, args, kwargs, flow))
            return args, {**kwargs, "flow": flow}

        return record

    def _arm(self) -> None:
        """Prepare for the next step to be watched."""
        began = time.monotonic()
        self.armed, self.calls = True, []
        self.before = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        for name, writer in self.writers.items():
            writer.watch = partial(self._seen, name)
        self.spent += time.monotonic() - began

    def step(self, epoch: int, done: int, of: int, loss: float, share: float) -> None:
        """Take in what the watched step found; decide whether the next one is watched."""
        if self.armed:
            began = time.monotonic()
            self._take()
            self.spent += time.monotonic() - began
        if done < of and done in {k * of // SAMPLES for k in range(1, SAMPLES)}:
            self._arm()

    def _take(self) -> None:
        for call in self.calls:
            for key, found in measure.by_lag(call):
                self.by_lag[(call.name, *key)] = self.by_lag.get((call.name, *key), ByLag()) + found
            # What is measured once an epoch is measured on the last call.
            self.last_calls[call.name] = call.without_graph()
        for name, ratio in measure.update_ratios(self.before, self.model).items():
            self.ratios.setdefault(name, []).append(ratio)
        self._disarm()
        self.sampled += 1

    def _disarm(self) -> None:
        self.armed, self.calls, self.before = False, [], {}
        for writer in self.writers.values():
            writer.watch = None

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Measure what is measured once an epoch and write the line."""
        began = time.monotonic()
        line = {
            "epoch": record["epoch"],
            "sampled_steps": self.sampled,
            "clipped_share": record["clipped_share"],
            "gradient_norm": record["gradient_norm"],
            "lr": record["lr"],
            "layers": measure.layers(self.by_lag, self.last_calls),
            "radius": {n: measure.radii(layer) for n, layer in self.layers.items()},
            "update_ratio": {n: _mean(found) for n, found in self.ratios.items()},
            "gates": {n: measure.gates(call) for n, call in self.last_calls.items()},
        }
        now = time.monotonic()
        line["watch_seconds"] = round(self.spent + now - began, 4)
        line["watch_share"] = round((self.spent + now - began) / (now - self.epoch_began), 4)
        if self.folder is not None:
            with (self.folder / FLOW).open("ab") as stream:
                stream.write(_line(line))
        self.tell(line)
        self._clear()
        self._arm()

    def end(self) -> None:
        """Let go of the layers."""
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
        self._disarm()


def _mean(values: list[float]) -> float:
    return measure.rounded(sum(values) / len(values))


def _line(record: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(record) + b"\n"
