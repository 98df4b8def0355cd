"""The long trainings of the networks that come with the project, from T91 alone.

    python -m srcnn_jax.main --config=configs/networks.py:955,x3

The words after the colon, in any order: 915 or 955, the kernel sizes, and x2, x3 or x4, the scale.
The network is the paper's, 64 and 32 filters, padding same. The recipe is that of
configs/default.py, longer. `python -m experiments.networks` trains all six.
"""

import pathlib
import runpy

import ml_collections

STEPS = {"915": 60_000, "955": 20_000}


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """Returns the config of a network, for words such as '955,x3'.

    Raises:
      ValueError: if the words are not one network and one scale.
    """
    default = runpy.run_path(str(pathlib.Path(__file__).with_name("default.py")))
    words = arg.split(",")
    networks = [word for word in words if word in STEPS]
    scales = [word for word in words if word in default["SCALES"]]
    if len(words) != 2 or len(networks) != 1 or len(scales) != 1:
        raise ValueError(
            f"config words {arg!r}: after configs/networks.py: come a network, "
            f"{' or '.join(STEPS)}, and a scale, {' or '.join(default['SCALES'])}: 955,x3"
        )
    config = default["get_config"](arg)
    config.name = f"network_{networks[0]}_{scales[0]}"
    config.train.steps = STEPS[networks[0]]
    config.eval.datasets = "set5,set14,bsd200"
    return config
