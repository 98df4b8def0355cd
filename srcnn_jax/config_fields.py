"""The fields of a config by their dotted names, and the error line for an unknown name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

MAX_WHOLE_NUMBER = 2**31 - 1
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
    return what + (f": did you mean {close[0]}?" if close else ": the config's file lists them")


def check_whole_numbers(config: Mapping[str, Any]) -> None:
    """Raises ValueError if a whole number of a config has more than 32 bits."""
    for name, value in flatten(config).items():
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, int) and abs(each) > MAX_WHOLE_NUMBER:
                raise ValueError(f"{name} {each} is too large: the limit is {MAX_WHOLE_NUMBER}")
