"""What verbs share: options made from specs, configuration files, and where output goes."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import msgspec

from unrolled.config import TrainSpec
from unrolled.errors import ConfigError, did_you_mean
from unrolled.options import OPTIONS, build, choices, defaults
from unrolled.spec import Struct

PREFIX = "UNROLLED_"
ENGINE_VARIABLES = ("UNROLLED_ISA", "UNROLLED_NUM_THREADS")


def spec_options(*structs: type[Struct], without: Sequence[str] = ()) -> Callable[[Any], Any]:
    """Return a decorator that gives a command one option for each field of `structs`.

    The flag is the field's name; the help, type and default come from the struct. An option that
    is not given is left out, so that the other layers of configuration can speak. The fields named
    in `without` get no option.
    """

    def decorate(command: Any) -> Any:
        for struct in reversed(structs):
            hints = get_type_hints(struct, include_extras=True)
            for name, default in reversed(defaults(struct).items()):
                if name in without:
                    continue
                command = _option(name, hints[name], default)(command)
        return command

    return decorate


def _option(name: str, hint: Any, default: Any) -> Any:
    base, *metas = get_args(hint)
    text = next((m.description for m in metas if isinstance(m, msgspec.Meta)), "")
    flag = name.replace("_", "-")
    shown = f"{text}  [default: {str(default).lower() if isinstance(default, bool) else default}]"
    allowed = choices(base)
    if base is bool:
        return click.option(f"--{flag}/--no-{flag}", name, default=None, help=shown)
    kind: Any = click.Choice(allowed) if allowed else base
    return click.option(f"--{flag}", name, type=kind, default=None, help=shown)


def gather(
    *structs: type[Struct],
    flags: Mapping[str, Any],
    sets: tuple[str, ...],
    config: str | None,
) -> dict[str, Any]:
    """Return the options that were given: flags over `--set` over `UNROLLED_*` over the file.

    Raises ConfigError for a key that no struct knows, naming where it stood.
    """
    known = [name for struct in structs for name in defaults(struct)]
    given = _config_file(config) if config else {}
    _check(given, known, config or "")
    _check_values(structs, given, config or "")
    for key, text in _environment(known).items():
        given[key] = _typed(structs, key, text, f"environment: {PREFIX}{key.upper()}")
    assigned = dict(_assignment(text) for text in sets)
    _check(assigned, known, "--set")
    for key, text in assigned.items():
        given[key] = _typed(structs, key, text, f"--set {key}")
    flagged = {k: v for k, v in flags.items() if v is not None}
    _check_values(structs, flagged, "the flags")
    return given | flagged


def _check_values(structs: tuple[type[Struct], ...], given: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError where a value has the wrong type or is out of range, naming `where`."""
    for struct in structs:
        build(struct, {k: v for k, v in given.items() if k in defaults(struct)}, where=where)


def _environment(known: list[str]) -> dict[str, str]:
    """Return the `UNROLLED_*` variables that name one of `known`.

    Those of another task are left alone; one that names no key anywhere is an error.
    """
    structs: tuple[type[Struct], ...] = (*OPTIONS.values(), TrainSpec)
    everywhere = {n for struct in structs for n in defaults(struct)}
    found: dict[str, str] = {}
    for variable, value in os.environ.items():
        if not variable.startswith(PREFIX) or variable in ENGINE_VARIABLES:
            continue
        key = variable.removeprefix(PREFIX).lower()
        if key not in everywhere:
            near = did_you_mean(variable, [PREFIX + name.upper() for name in everywhere])
            raise ConfigError(f"environment: unknown variable {variable}.{near}")
        if key in known:
            found[key] = value
    return found


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected KEY=VALUE")
    return key.strip().rpartition(".")[2].replace("-", "_"), value.strip()


def _check(given: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(key, known)}")


def _config_file(path: str) -> dict[str, Any]:
    """Read a TOML or JSON file; tables only group keys, their names do not matter."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        if path.endswith(".json"):
            tree = msgspec.json.decode(content)
        else:
            tree = tomllib.loads(content.decode())
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: not valid {Path(path).suffix[1:] or 'TOML'} ({error})"
        ) from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a table of keys")
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return {key.replace("-", "_"): value for key, value in flat.items()}


def _typed(structs: tuple[type[Struct], ...], key: str, text: str, where: str) -> Any:
    """Read `text` as the type that the field has, within the range that it allows."""
    struct = next(s for s in structs if key in defaults(s))
    hint = get_type_hints(struct, include_extras=True)[key]
    value: Any = text
    if get_args(hint)[0] is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        value = words.get(text.lower(), text)
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} = {text!r}: {str(error).replace('`', '')}") from None


def calm_threads() -> None:
    """Let OpenMP threads that wait sleep instead of spin; call before torch is imported.

    On two cores with another program running, spinning made a training step 3 to 40 times slower;
    sleeping costs next to nothing on an idle machine. The user's own setting stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def say(text: str, *, quiet: bool = False) -> None:
    """Write a message to stderr."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def write_json(value: Any) -> None:
    """Write `value` to stdout as one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
