"""The fields of a config: dotted names, comments, and the error line for an unknown name."""

import ast
import difflib
import io
import pathlib
import shutil
import textwrap
import tokenize
from collections.abc import Iterable, Mapping
from typing import Any

import ml_collections

OPTIONS = "optimizer.options"  # a group that may hold any fields
MAX_WHOLE_NUMBER = 2**31 - 1
INDENT = 4 * " "  # before a comment
RENAMED = {  # fields of earlier versions, and their names now
    "data.copies": "data.downscale_factors",
    "train.keep": "train.keep_weights",
    "optimizer.precondition_every": "optimizer.preconditioner.update_every",
}
FLAGS = {  # fields of earlier versions that are flags of `main` now
    "data.dir": "--data_dir=FOLDER",
    "data.allow_sample": "--noallow_sample",
    "eval.save_images": "--save_images",
    "eval.outputs": "--outputs=FOLDER",
}
ADDED: dict[str, Any] = {  # fields that earlier versions lack, and what those versions did
    "data.degradation.shrink": "bicubic",
    "data.degradation.sigma": 0.0,
    "data.degradation.enlarge": "bicubic",
    "data.degradation.noise": [],
    "data.degradation.jpeg": [],
    "data.degraded_copies": 1,
    "train.cauchy_scale": 0.0,
}
RETYPED = (  # fields that held strings in earlier versions and hold other values now
    "optimizer.options",
    "optimizer.rates",
    "train.loss_channels",
    "model.convolution",
)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turns {'a': {'b': 1}} into {'a.b': 1}; an empty mapping stays as it is.

    Args:
      tree: a ConfigDict, or the dict that `json.loads` makes from one.
      prefix: text in front of every name.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        below = hasattr(value, "items") and len(value) > 0
        flat |= flatten(value, f"{prefix}{name}.") if below else {prefix + name: value}
    return flat


def has(config: Any, field: str) -> bool:
    """Whether a config has a field, or a group of fields, with this dotted name."""
    for name in field.split("."):
        if not hasattr(config, "keys") or name not in config.keys():  # noqa: SIM118 (a ConfigDict)
            return False
        config = config[name]
    return True


def explain_unknown(field: str, known: Iterable[str]) -> str:
    """Returns one line about a field that a config does not have, with the fix.

    Args:
      field: dotted name of the field.
      known: dotted names of the fields that the config has.
    """
    what = f"the config has no field {field!r}"
    if field in FLAGS:
        return f"{what}: it is a flag now, {FLAGS[field]}"
    if field in RENAMED:
        return f"{what}: it is called {RENAMED[field]} now"
    if field.startswith("optimizer.options."):
        name = field.rpartition(".")[2]
        return (
            f"{what}: give all options of the optimiser at once, "
            f"--config.optimizer.options=\"{{'{name}': VALUE}}\""
        )
    close = difflib.get_close_matches(field, list(known), n=1)
    return what + (f": did you mean {close[0]}?" if close else ": --mode=config lists them")


def fill_added(config: ml_collections.ConfigDict) -> None:
    """Gives a config of an earlier version the fields of `ADDED` that it lacks, in place."""
    with config.unlocked():
        for field, value in ADDED.items():
            *groups, name = field.split(".")
            group = config
            for each in groups:
                if each not in group:
                    group[each] = ml_collections.ConfigDict()
                group = group[each]
            if name not in group:
                group[name] = tuple(value) if isinstance(value, list) else value


def check_complete(config: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Checks that a config has the fields that the programs read, and no others.

    Args:
      config: the config of a command. Its file may be the user's own, and a flag may have replaced
        a group of fields by a dict.
      known: a config with all fields. `optimizer.options` may hold any names.

    Raises:
      ValueError: if a field is missing or unknown, in one line with the name and the fix.
    """
    names, wanted = (
        {OPTIONS if name.startswith(f"{OPTIONS}.") else name for name in flatten(each)}
        for each in (config, known)
    )
    if unknown := sorted(names - wanted - {name.rpartition(".")[0] for name in wanted}):
        raise ValueError(explain_unknown(unknown[0], wanted))
    if missing := sorted(wanted - names):
        others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ValueError(
            f"the config lacks the field {missing[0]}{others}: a dict for a group holds all of its "
            f"fields, while --config.{missing[0]}=VALUE sets one alone; a config file of your own "
            "begins with the config of configs/default.py"
        )


def check_whole_numbers(config: Mapping[str, Any]) -> None:
    """Raises ValueError if a whole number of a config has more than 32 bits."""
    for name, value in flatten(config).items():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, int) and abs(each) > MAX_WHOLE_NUMBER:
                raise ValueError(f"{name} {each} is too large: the limit is {MAX_WHOLE_NUMBER}")


def read_comments(path: pathlib.Path) -> dict[str, str]:
    """Returns the comment of each field that the `get_config` of a config file assigns.

    A comment stands at the end of the line of its field, or on the lines above it.

    Args:
      path: a Python file such as `configs/default.py`, where `config.model = model = ...` lets
        `model` be short for `config.model`.

    Returns:
      Comments by dotted name, such as 'model.padding'.
    """
    source = path.read_text(encoding="utf-8")
    whole_lines: dict[int, str] = {}
    ends: dict[int, str] = {}  # comments beside code, by line
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            (whole_lines if alone else ends)[token.start[0]] = token.string.lstrip("# ").strip()
    names: dict[str, str] = {"config": ""}
    comments = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Assign):
            continue
        fields = [
            f"{names[target.value.id]}{target.attr}"
            for target in node.targets
            if isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id in names
        ]
        for target in node.targets:
            if isinstance(target, ast.Name) and fields:
                names[target.id] = f"{fields[0]}."
        above: list[str] = []
        line = node.lineno - 1
        while line in whole_lines:
            above.insert(0, whole_lines[line])
            line -= 1
        at_end = [ends[line] for line in (node.lineno, node.end_lineno) if line in ends][:1]
        for field in fields:
            if above or at_end:
                comments[field] = " ".join([*above, *at_end])
    return comments


def describe(config: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Lists the fields of a config: a line with name, value and [unit], and the comment below it.

    Args:
      config: as `configs/default.py`.
      comments: as `read_comments`. The fields are in their order. One may begin with a [unit].
    """
    flat = flatten(config)
    order = {name: number for number, name in enumerate(comments)}
    about = {name: name if name in order else name.rpartition(".")[0] for name in flat}
    wide = max(map(len, flat)) + 2
    columns = shutil.get_terminal_size((100, 0)).columns
    lines = ["Set a field by --config.NAME=VALUE.", ""]
    for name in sorted(flat, key=lambda name: order.get(about[name], len(order))):
        line, comment = f"{name:{wide}}{flat[name]!r}", comments.get(about[name], "")
        if comment.startswith("["):
            unit, bracket, comment = comment.partition("]")
            line += f"  {unit}{bracket}"
        lines.append(line)
        lines += textwrap.wrap(
            comment.strip(), columns, initial_indent=INDENT, subsequent_indent=INDENT
        )
    return "\n".join(lines)
