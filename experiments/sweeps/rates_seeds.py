"""Three seeds of every shape and length of `rates.py`, at the rate of the rule: does one diverge?

    python -m experiments.sweep experiments/sweeps/rates_seeds.py --workdir=DIR

42 trainings, 9 hours on two cores.
"""

import pathlib
import runpy

rates = runpy.run_path(str(pathlib.Path(__file__).with_name("rates.py")))

CONFIG, FIELDS, METRIC = rates["CONFIG"], rates["FIELDS"], rates["METRIC"]
SEEDS = 3
GRID = {
    "model.kernel_sizes,model.features,train.steps": [
        (*shape, steps) for steps in rates["lengths"] for shape in rates["shapes"]
    ]
}
