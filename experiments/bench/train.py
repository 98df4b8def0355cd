"""A training step: ours beside PyTorch's, on the CPU or a GPU; and many networks at once."""

import itertools
from collections.abc import Mapping
from typing import Any

from configs import default
from experiments.bench.compare import (
    CPU,
    NETWORKS,
    PRECISIONS,
    TUNED,
    Competition,
    Contestant,
    case_of,
    compete,
    compete_after_all_prepared,
    layer_flop,
    name_of,
    on_gpu,
    product_on_gpu,
)

GPU_BATCHES = (128, 1024, 4096)
AT_ONCE = (1, 4, 16, 64)  # networks at once


def training_flop(case: Mapping[str, Any]) -> float:
    """Operations of a training step.

    Each layer has its forward pass and two products back, but the first has one: its input needs
    no gradient.
    """
    side = case["patch_size"] + 2 * case["context"]
    padding = "valid" if case["context"] else case["padding"]
    first, *others = layer_flop(case, padding, side, side)
    return case["batch_size"] * (2 * first + 3 * sum(others))


def benchmark_training(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """A training step, on the GPU or the CPU."""
    if not gpu:
        return [compete(each, rounds) for each in _create_on_cpu()]
    results = []
    for network in NETWORKS:
        results += compete_after_all_prepared(_create_on_gpu(network), rounds)
    return results


def benchmark_preconditioner(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """What the preconditioner adds to a step: its updates alone, beside a whole step.

    The difference of two steps is smaller than the noise of a machine that others use.
    """
    where = on_gpu() if gpu else CPU
    # So a dispatch has one eigendecomposition.
    period = default.get_config("x3").optimizer.preconditioner.update_every
    results = []
    for network in NETWORKS:
        case = {**case_of(f"x3,{network}"), "steps_per_dispatch": period, "gpu": gpu}
        always = {**case, "precondition": True, "update_every": period}
        contestants = {
            "ours, a step, SGD": Contestant("train_ours", {**case, "precondition": False}, where),
            "ours, SGD alone": Contestant("update_ours", {**always, "precondition": False}, where),
            "ours, preconditioned SGD alone": Contestant("update_ours", always, where),
            "ours, the same, fixed bases": Contestant(
                "update_ours", {**always, "update_every": 10**9}, where
            ),
        }
        competition = Competition(
            title=f"an update of the weights, {name_of(case)}",
            contestants=contestants,
            units=period,
            flop=None,
            product=product_on_gpu("float32") if gpu else None,
        )
        results.append(compete(competition, rounds))
        step, sgd, preconditioned, fixed = (
            each["median_ms"] for each in results[-1]["contestants"].values()
        )
        print(
            f"  the preconditioner adds {(preconditioned - sgd) / step:.1%} to a step, "
            f"of which eigenvectors {(preconditioned - fixed) / step:.1%}"
        )
    return results


def _create_on_cpu():
    """The paper's patches, valid; plain zero padding; and the default's windows, with masks."""
    plain = {"patch_size": 45, "context": 0}  # as many pixels as the default computes
    recipes: list[tuple[str, dict[str, int]]] = [(",paper", {}), ("", plain), ("", {})]
    for network, (words, change) in itertools.product(NETWORKS, recipes):
        case = {**case_of(f"x3,{network}{words}"), **change}
        contestants = {
            "ours, SGD": Contestant("train_ours", {**case, "precondition": False}, CPU),
            "ours, preconditioned": Contestant("train_ours", {**case, "precondition": True}, CPU),
            "PyTorch, tuned": Contestant("train_torch", {**case, "compile": False}, TUNED),
            "PyTorch, compiled, tuned": Contestant("train_torch", {**case, "compile": True}, TUNED),
        }
        title = f"training step, {name_of(case)}, {case['padding']}, {_sizes(case)}"
        yield Competition(title, contestants, 20, training_flop(case))


def _sizes(case: Mapping[str, Any]) -> str:
    """'64 patches of 41 with 6 pixels around'."""
    around = f" with {case['context']} pixels around" if case["context"] else ""
    return f"{case['batch_size']} patches of {case['patch_size']}{around}"


def _create_on_gpu(network: str) -> list[Competition]:
    """The paper's patches in batches of several sizes, in both precisions.

    PyTorch has channels last, cuDNN's search for the fastest algorithms, and the whole step as one
    CUDA graph.
    """
    competitions = []
    for batch, dtype in itertools.product(GPU_BATCHES, PRECISIONS):
        case = {
            **case_of(f"x3,{network},paper"),
            "batch_size": batch,
            "dtype": dtype,
            "steps_per_dispatch": max(10, 12_800 // batch),
            "gpu": True,
        }
        plain, compiled = {**case, "compile": False}, {**case, "compile": True}
        sgd, preconditioned = {**case, "precondition": False}, {**case, "precondition": True}
        contestants = {
            "ours, SGD": Contestant("train_ours", sgd, on_gpu()),
            "ours, preconditioned": Contestant("train_ours", preconditioned, on_gpu()),
            "PyTorch": Contestant("train_torch_gpu", plain, on_gpu()),
            "PyTorch, compiled": Contestant("train_torch_gpu", compiled, on_gpu()),
        }
        what = f"{case['padding']}, {batch} patches, {PRECISIONS[dtype]}"
        competitions.append(
            Competition(
                title=f"training step on the GPU, {name_of(case)}, {what}",
                contestants=contestants,
                units=case["steps_per_dispatch"],
                flop=training_flop(case),
                product=product_on_gpu(dtype),
            )
        )
    return competitions


def benchmark_vmap(rounds: int, gpu: bool) -> list[dict[str, Any]]:
    """Networks that train at once by `vmap`, beside one on all devices; as Markdown too."""
    case = case_of("x3") | {"precondition": True, "gpu": gpu}
    case["steps_per_dispatch"] = 50 if gpu else 5
    where = on_gpu() if gpu else CPU
    contestants = {"ours, one by one, all devices": Contestant("train_ours", case, where)}
    for networks in AT_ONCE:
        contestant = Contestant("train_at_once", {**case, "networks": networks}, where)
        contestants[f"ours, {networks} at once, one device"] = contestant
    competition = Competition(
        title=f"a network's training step, {name_of(case)}, {case['padding']}, {_sizes(case)}",
        contestants=contestants,
        units=3200 if gpu else 320,
        flop=training_flop(case),
        product=product_on_gpu("float32") if gpu else None,
    )
    result = compete(competition, rounds)
    print("\n| networks | patches/s in all |\n|---|---|")
    for name, each in result["contestants"].items():
        rate = 1e3 * case["batch_size"] / each["median_ms"]
        print(f"| {name.removeprefix('ours, ')} | {rate:,.0f} |")
    return [result]
