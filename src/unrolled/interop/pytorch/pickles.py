"""A pickle read as data: an interpreter of the opcodes that builds containers and calls nothing.

Python's own unpickler imports what a pickle names and calls it; a file can so run any code. Here a
global is only a name, looked up in the caller's table, and what is not in the table is an error.
Opcodes are decoded by `pickletools`, in plain Python, with bounds on their number and size.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from unrolled.errors import InteropError

MAX_BYTES, MAX_OPCODES = 1 << 25, 2_000_000


class Global(NamedTuple):
    """The name of a class or function in a pickle, never imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class ScriptObject:
    """An object of a TorchScript archive: its class's name and its attributes."""

    kind: Global
    attributes: dict[str, Any] = field(default_factory=dict)


class Rules(NamedTuple):
    """What a pickle may do: `known` says whether a global may be named, `call` calls one."""

    known: Callable[[Global], bool]
    call: Callable[[Global, tuple[Any, ...]], Any]
    persistent: Callable[[Any], Any]


class DamagedError(Exception):
    """The opcodes make no sense; `read` turns this into an InteropError that names the file."""


@dataclass
class _Machine:
    rules: Rules
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise DamagedError("it takes a value that is not there")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise DamagedError("it takes values without a mark")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise DamagedError(f"it fills something that is no {kind.__name__}")
        return self.stack[-1]


def read(stream: IO[bytes], where: str, rules: Rules) -> Any:
    """Return what the pickle at the stream's position describes, and stop right behind it.

    Raises InteropError, naming `where`, for a damaged pickle, one that is too long, or one that
    names a global that `rules` does not know.
    """
    machine = _Machine(rules)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if number > MAX_OPCODES:
                raise DamagedError(f"it has more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                return machine.pop()
            step = OPCODES.get(opcode.name)
            if step is None:
                raise DamagedError(f"the opcode {opcode.name} is not read: it makes objects")
            step(machine, argument)
    except InteropError as error:
        raise InteropError(f"{where}: {error}") from None
    except (
        DamagedError,
        ValueError,
        DeprecationWarning,
        OverflowError,
        UnicodeError,
        MemoryError,
    ) as error:
        raise InteropError(f"{where}: damaged or not a checkpoint ({error})") from None
    raise InteropError(f"{where}: damaged or cut short (the pickle has no end)")


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _global(machine: _Machine, found: Global) -> None:
    if not machine.rules.known(found):
        raise InteropError(
            f"holds an object of {found}; objects are never unpickled, as that would run code of "
            "the file: save the state_dict() in the framework that wrote it"
        )
    machine.stack.append(found)


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise DamagedError("a global without a name")
    _global(machine, Global(module, name))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(arguments, tuple) or not isinstance(function, Global):
        raise DamagedError("it calls something that is no function")
    machine.stack.append(machine.rules.call(function, arguments))


def _new_object(machine: _Machine, _: Any) -> None:
    arguments, kind = machine.pop(), machine.pop()
    if not isinstance(kind, Global) or arguments != ():
        raise DamagedError("it makes an object of something that is no class")
    machine.stack.append(machine.rules.call(kind, ()))


def _build(machine: _Machine, _: Any) -> None:
    """Give a script object its attributes; what else has a state (an OrderedDict) needs none."""
    state = machine.pop()
    owner = machine.stack[-1] if machine.stack else None
    if isinstance(owner, ScriptObject):
        owner.attributes.update(state if isinstance(state, dict) else {"state": state})
    elif not isinstance(owner, dict):
        raise DamagedError("it gives a state to something that has none")


def _set(machine: _Machine, pairs: list[Any]) -> None:
    owner = machine.top(dict)
    if len(pairs) % 2:
        raise DamagedError("a key without a value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        plain = key if isinstance(key, tuple) else (key,)
        # Deeply shared tuples take forever to hash; no checkpoint has them.
        if not all(isinstance(part, (str, int, float, bool, type(None))) for part in plain):
            raise DamagedError(f"a key that is a {type(key).__name__}")
        owner[key] = value


def _put(machine: _Machine, place: int) -> None:
    if not machine.stack:
        raise DamagedError("it remembers a value that is not there")
    machine.memo[place] = machine.stack[-1]


def _get(machine: _Machine, place: int) -> None:
    if place not in machine.memo:
        raise DamagedError("it recalls a value that it did not remember")
    machine.stack.append(machine.memo[place])


def _tuple(size: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(size)]
        machine.stack.append(tuple(reversed(values)))

    return step


def _constant(value: Any) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value)


def _pop(machine: _Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _extend(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _skip(machine: _Machine, _: Any) -> None:
    """Do nothing: the opcode carries no value."""


OPCODES: dict[str, Callable[[_Machine, Any], object]] = {
    **dict.fromkeys(("PROTO", "FRAME"), _skip),
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _push),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"), _push),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _push),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.top(object)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_to_mark()),
    "APPEND": lambda machine, _: _extend(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: _set(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: _set(machine, machine.pop_to_mark()),
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": lambda machine, name: _global(machine, Global(*name.split(" ", 1))),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": lambda machine, _: machine.stack.append(machine.rules.persistent(machine.pop())),
}
