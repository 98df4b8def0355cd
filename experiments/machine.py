"""The machine's fp32 matrix product in NumPy, 2048 x 2048. Times stand beside its rate."""

import time
from collections.abc import Callable

import numpy as np

SIDE = 2048
GPU_SIDE = 8192
FLOP = 2 * SIDE**3  # of one product


def create() -> Callable[[int], None]:
    """A function that computes `count` products."""
    a = np.ones((SIDE, SIDE), np.float32)

    def multiply(count: int) -> None:
        for _ in range(count):
            np.matmul(a, a)

    return multiply


def rate(products: int = 5) -> float:
    """The rate in GF/s of the fastest of several products."""
    multiply = create()
    seconds = []
    for _ in range(products):
        start = time.perf_counter()
        multiply(1)
        seconds.append(time.perf_counter() - start)
    return FLOP / min(seconds) / 1e9
