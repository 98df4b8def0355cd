"""Reads pickles as plain data: nothing in them is imported, called or built.

Python's own unpickler does what a pickle says: it calls functions, and it computes the hash of any
key, which never ends for some nested tuples and crashes the process for others. This reader follows
the instructions itself. What code would have to make is a name to it, and nothing more.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

MAX_INSTRUCTIONS = 1_000_000  # an instruction takes up to 200 bytes of memory, without its text
LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Unread:
    """What a pickle makes by code: a function, a class, or any object of theirs.

    Attributes:
      name: the function's or class's, with its module: 'torch.FloatStorage'.
    """

    name: str


def read(
    file: BinaryIO,
    call: Callable[[str, tuple], Any] = lambda name, arguments: Unread(name),
    refer: Callable[[Any], Any] = lambda reference: Unread("a reference"),
) -> Any:
    """Reads the next pickle.

    Args:
      file: the file, which is left behind the pickle.
      call: `call(name, arguments)` returns what stands for the object that the function or class
        of this name would make.
      refer: `refer(reference)` returns what stands for an object outside of the pickle.

    Returns:
      Numbers, strings, bytes, None, tuples, lists, dicts, `Unread`, and what `call` and `refer`
      return. They may be nested without end. Of a dict, only the items whose keys are strings are
      there. Sets, and the attributes of objects, are left out.

    Raises:
      ValueError: if it is no pickle, or is damaged, too long, or of another kind than the pickles
        of data.
    """
    try:
        return _run(file, call, refer)
    except (IndexError, KeyError, TypeError) as error:  # too little on the stack, or the wrong kind
        raise ValueError("its pickle is damaged") from error


def _run(file: BinaryIO, call: Callable[[str, tuple], Any], refer: Callable[[Any], Any]) -> Any:
    """As `read`; raises IndexError, KeyError and TypeError for damaged pickles, too."""
    stack: list[Any] = []
    marks: list[int] = []  # sizes of the stack
    memo: dict[int, Any] = {}
    argument: Any

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if count == MAX_INSTRUCTIONS:
            raise ValueError(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions")
        name = instruction.name
        if name in LITERALS:
            stack.append(argument)
            continue
        match name:
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(Unread("builtins.set"))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "APPEND":
                _extend(stack[-2], [stack.pop()])
            case "APPENDS" | "ADDITEMS":
                items = pop_to_mark()
                _extend(stack[-1], items)
            case "SETITEM":
                items = [stack.pop(-2), stack.pop()]
                _update(stack[-1], items)
            case "SETITEMS":
                items = pop_to_mark()
                _update(stack[-1], items)
            case "GLOBAL":
                stack.append(Unread(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                stack[-2:] = [Unread(".".join(stack[-2:]))]
            case "REDUCE" | "NEWOBJ":
                arguments, maker = stack.pop(), stack.pop()
                known = isinstance(maker, Unread) and isinstance(arguments, tuple)
                stack.append(call(maker.name, arguments) if known else Unread("an object's method"))
            case "BUILD":
                stack.pop()  # the attributes
            case "BINPERSID":
                stack.append(refer(stack.pop()))
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                raise ValueError(f"it has the pickle instruction {name} where no state_dict would")
    return stack.pop()


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)


def _update(target: Any, items: list[Any]) -> None:
    """Adds keys and values, which take turns in `items`, to a dict.

    Numbers are left out with the rest: a pickle can choose them so that all have the same hash.
    """
    if isinstance(target, dict):
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                target[key] = value
