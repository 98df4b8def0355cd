"""What averaging the gradient over devices costs: measured here, and by formula for other links.

    python -m experiments.bench.scaling            # measures, on loopback; minutes
    python -m experiments.bench.scaling --formula  # prints the tables by formula

The tables are in experiments/results/bench/scaling.md.
It measures a training step of one device, and the exchange of its gradient (`parallel.mean`) by two
and four processes with Gloo, and by two CPU devices in one process.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import time

import numpy as np

from experiments import machine

NETWORKS = {"9-1-5": (9, 1, 5), "9-5-5": (9, 5, 5)}
EXCHANGES = 100  # of one dispatch
REPEATS = 5
# One direction of one device's link: bytes a second, and seconds from a program to that of the next
# device. Rates are from datasheets. Latencies are what collectives see, to about a power of ten.
LINKS = {
    "10 GbE, TCP": (1.25e9, 30e-6),
    "100 GbE, TCP": (12.5e9, 20e-6),
    "200 Gb/s InfiniBand": (25e9, 5e-6),
    "400 Gb/s InfiniBand": (50e9, 5e-6),
    "NVLink 4": (450e9, 3e-6),
    "TPU ICI, a v4 link": (50e9, 1e-6),
}
DEVICES = (8, 64, 512)
SIZES = {"9-1-5": 32_516, "9-5-5": 229_124}  # bytes of a gradient, float32, biases included


def seconds_to_exchange(how: str, devices: int, size: float, link: str) -> float:
    """Time for all devices to have the mean of their gradients.

    Args:
      how: 'all_gather' (a ring that passes every gradient to every device, as `parallel.mean`
        needs), 'ring' or 'tree' (all-reduce).
      devices: their number, N.
      size: bytes of a gradient, S.
      link: of `LINKS`, with latency a and rate b.
    """
    rate, latency = LINKS[link]
    if how == "all_gather":  # (N - 1) (a + S / b)
        return (devices - 1) * (latency + size / rate)
    if how == "ring":  # 2 (N - 1) (a + S / (N b))
        return 2 * (devices - 1) * (latency + size / devices / rate)
    assert how == "tree"  # 2 log2(N) (a + S / b)
    return 2 * math.ceil(math.log2(devices)) * (latency + size / rate)


def formula() -> None:
    """Prints the tables that need no measurement."""
    print("| link | gradient | devices | all-gather, ms | ring, ms | tree, ms |")
    print("|---|---|---|---|---|---|")
    for link in LINKS:
        for network, size in SIZES.items():
            for devices in DEVICES:
                times = [
                    seconds_to_exchange(how, devices, size, link)
                    for how in ("all_gather", "ring", "tree")
                ]
                cells = " | ".join(f"{1e3 * seconds:.3g}" for seconds in times)
                print(f"| {link} | {network} | {devices} | {cells} |")


def step(network: str, batch_size: int) -> float:
    """The median seconds of a training step of one device, without other devices."""
    from configs import default
    from srcnn_jax import parallel, runtime, train, train_step

    config = default.get_config("x3")
    config.model.kernel_sizes = NETWORKS[network]
    config.train.batch_size = batch_size
    config.train.steps_per_dispatch = 5
    config.train.devices = 1
    config.optimizer.learning_rate = 1e-4
    runtime.start(batch_size, 1)
    devices = parallel.choose_devices(batch_size, 1)
    source = train.load_data(config).source
    run, batches = train_step.create_steps(config, source, devices, range(10**9))
    state = parallel.replicate(train_step.create_train_state(config), devices)
    seconds = []
    for _ in range(REPEATS + 1):  # the first compiles
        batch = next(batches)
        start = time.perf_counter()
        state, losses = run(state, batch)
        losses.block_until_ready()
        seconds.append((time.perf_counter() - start) / 5)
    return statistics.median(seconds[1:])


def exchange(network: str, port: int, count: int, index: int, devices: int) -> float:
    """The median seconds of one `parallel.mean` of a gradient and the loss over all devices."""
    import jax

    from configs import default
    from srcnn_jax import parallel, runtime, train_step
    from srcnn_jax.multihost import launch

    runtime.start(count * devices, count * devices, count)
    if count > 1:
        launch.join(launch.Job(count, f"127.0.0.1:{port}", index))
    config = default.get_config("x3")
    config.model.kernel_sizes = NETWORKS[network]
    gradient = (train_step.create_train_state(config).params, np.zeros((), np.float32))

    def exchanges(tree):
        def once(tree, _):
            return parallel.mean(jax.tree.map(lambda x: x[None], tree), parallel.AXIS), None

        return jax.lax.scan(once, tree, None, EXCHANGES)[0]

    run = jax.pmap(exchanges, parallel.AXIS, devices=jax.devices())
    stacked = jax.tree.map(lambda x: np.stack([np.asarray(x)] * devices), gradient)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(run(stacked))
        seconds.append((time.perf_counter() - start) / EXCHANGES)
    return statistics.median(seconds[1:])


def _measure(function: str, processes: int = 1, **arguments) -> float:
    """Runs a function of this file in processes of their own; returns the first one's answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if function == "exchange":
        arguments |= {"port": port, "count": processes}
    started = []
    for index in range(processes):
        if function == "exchange":
            arguments["index"] = index
        command = [sys.executable, "-m", "experiments.bench.scaling", "--measure", function]
        started.append(
            subprocess.Popen(
                [*command, json.dumps(arguments)],
                stdout=subprocess.PIPE if index == 0 else subprocess.DEVNULL,
                env={**os.environ, "JAX_LOGGING_LEVEL": "ERROR"},
                text=True,
            )
        )
    out = started[0].communicate()[0]
    for process in started[1:]:
        process.wait()
    return float(out.strip().splitlines()[-1])


def measure() -> None:
    """Prints what was measured on this machine."""
    print(f"fp32 matrix product: {machine.rate():.0f} GF/s; load {os.getloadavg()[0]:.1f}\n")
    print("| step of one device | batch | ms |")
    print("|---|---|---|")
    for network in NETWORKS:
        for batch_size in (8, 32, 64):
            seconds = _measure("step", network=network, batch_size=batch_size)
            print(f"| {network} | {batch_size} | {1e3 * seconds:.1f} |", flush=True)
    print("\n| exchange of a gradient | processes | devices of each | ms |")
    print("|---|---|---|---|")
    for network in NETWORKS:
        for count, devices in ((1, 2), (2, 1), (4, 1)):
            seconds = _measure("exchange", count, network=network, devices=devices)
            print(f"| {network} | {count} | {devices} | {1e3 * seconds:.2f} |", flush=True)
    print(f"\nfp32 matrix product: {machine.rate():.0f} GF/s; load {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--formula", action="store_true", help="print the tables by formula")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.formula:
        formula()
    elif args.measure:
        function, arguments = args.measure
        measured = step if function == "step" else exchange
        print(measured(**json.loads(arguments)))
    else:
        measure()


if __name__ == "__main__":
    main()
