"""Data parallelism: the devices of a training step, `pmap`, and the mean of the gradients.

`map_in_threads` is for work on the CPU that is not JAX's.
"""

import collections
import concurrent.futures
import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from srcnn_jax.runtime import available_cores, largest_divisor

AXIS = "batch"
T = TypeVar("T")
R = TypeVar("R")


def choose_devices(batch_size: int, devices: int) -> list[jax.Device]:
    """Returns the devices of all processes that share a training step.

    Args:
      batch_size: patches of a step, over all processes.
      devices: number of devices to use, over all processes. 0 means as many as possible: the
        number must divide the batch.

    Raises:
      ValueError: if the number is negative, there are not enough devices, or their number does not
        divide the batch.
    """
    if devices < 0:
        raise ValueError(
            f"train.devices is a number of devices, or 0 for all that fit, not {devices}"
        )
    processes = jax.process_count()
    each = min(len(jax.local_devices(process)) for process in range(processes))
    if devices == 0:
        if batch_size % processes:
            raise ValueError(
                f"train.batch_size {batch_size} does not divide by {processes} processes"
            )
        devices = processes * largest_divisor(batch_size // processes, each)
    if devices > processes * each or devices % processes:
        raise ValueError(
            f"train.devices {devices} cannot be had: there are {processes} processes "
            f"with {each} each; choose a smaller multiple of the processes, or 0 for all that fit"
        )
    if batch_size % devices:
        raise ValueError(
            f"train.batch_size {batch_size} does not divide by {devices} devices: "
            "choose a multiple, or train.devices=0 for as many as divide it"
        )
    return [
        device
        for process in range(processes)
        for device in jax.local_devices(process)[: devices // processes]
    ]


def local(devices: list[jax.Device]) -> list[jax.Device]:
    """Returns the devices that belong to this process."""
    return [device for device in devices if device.process_index == jax.process_index()]


@functools.lru_cache
def pmap_parts(function: Callable, devices: tuple[jax.Device, ...], **static: Any) -> Callable:
    """Maps `function(shared, part, part, **static)` over devices, one part on each device.

    The two parts and the result have a leading axis of devices. Equal arguments give the same
    function, so it is compiled once.
    """
    return jax.pmap(functools.partial(function, **static), in_axes=(None, 0, 0), devices=devices)


def pmap_steps(steps: Callable, devices: list[jax.Device]) -> jax.stages.Wrapped:
    """Returns `steps(state, batches, pixels) -> (state, losses)`, data-parallel over `devices`.

    All devices hold the same state and the same pixels, so these have no axis of devices. Batches
    have a leading axis of local devices. `steps` must average over the axis `AXIS`. The caller
    must wait for the result before the next call, because the collectives of two calls at the same
    time can dead-lock on CPU devices. The state is donated: its arrays cannot be used again.
    """
    return jax.pmap(
        steps,
        axis_name=AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=devices,
        donate_argnums=(0,),
    )


def compile_in_thread(function: jax.stages.Wrapped, *arguments: Any) -> Callable:
    """Compiles a function of `pmap_steps` in a thread that starts at once.

    Args:
      function: from `pmap_steps`.
      arguments: arrays as the function will get them, or their shapes (`shape_on_devices`).

    Returns:
      The function. A call waits for the thread, and raises the error of the compilation.
    """

    def compile_it() -> None:
        function.lower(*arguments).compile()  # JAX keeps the program for calls of these shapes

    pool = concurrent.futures.ThreadPoolExecutor(1, "compile_in_thread")
    compiling = pool.submit(compile_it)
    pool.shutdown(wait=False)

    def call(*args: Any) -> Any:
        compiling.result()
        return function(*args)

    return call


def mean(tree: Any, axis_name: str | None) -> Any:
    """Mean over the leading axis of arrays, and over the devices of `axis_name`, if it is given.

    Neighbours are added in pairs, then pairs of pairs. So the order of additions, and the rounding,
    are the same for any number of devices if the total number of parts is a power of two. This
    matters because the preconditioner magnifies rounding errors in directions where the gradient is
    almost zero. Without this order, losses on 1 and 8 devices would differ by 0.1 % after some ten
    steps.
    """

    def mean_of_axis(x: jax.Array) -> jax.Array:
        count = len(x)
        while len(x) > 1:
            left_over = x[len(x) // 2 * 2 :]
            pairs = x[: len(x) // 2 * 2].reshape(-1, 2, *x.shape[1:])
            x = pairs[:, 0] + pairs[:, 1]
            x = jnp.concatenate([x, left_over]) if len(left_over) else x
        return x[0] / count

    tree = jax.tree.map(mean_of_axis, tree)
    if axis_name is None or jax.lax.axis_size(axis_name) == 1:
        return tree
    # One vector holds all arrays, because even a short array costs the latency of a collective. The
    # vector is written array by array. For a concatenation, XLA would check for every number which
    # array it belongs to, and only then add the parts (a seventh of a step of 9-5-5 on a CPU).
    leaves, (_, unravel) = jax.tree.leaves(tree), ravel_pytree(tree)
    vector, start = jnp.zeros(sum(leaf.size for leaf in leaves), jnp.result_type(*leaves)), 0
    for leaf in leaves:
        vector = vector.at[start : start + leaf.size].set(leaf.ravel())
        start += leaf.size
    return unravel(mean_of_axis(jax.lax.all_gather(vector, axis_name)))


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """Puts arrays on local devices, sharded as the results of `pmap_steps`: it compiles once."""
    return jax.device_put(tree, NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec()))


def to_global(tree: Any) -> Any:
    """Makes one global array of each array that all processes hold, for checkpoints."""
    first = [jax.local_devices(process)[0] for process in range(jax.process_count())]
    sharding = NamedSharding(Mesh(np.array(first), ("process",)), PartitionSpec())

    def join(x: jax.Array) -> jax.Array:
        local = jax.device_put(x.addressable_data(0), jax.local_devices()[0])
        return jax.make_array_from_single_device_arrays(x.shape, sharding, [local])

    return jax.tree.map(join, tree)


def to_local(tree: Any) -> Any:
    """Returns this process's copy of the arrays of `to_global`."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def prefetch_to_devices(
    batches: Iterator[Any], devices: list[jax.Device], size: int = 2
) -> Iterator[Any]:
    """Puts each batch on the devices before it is needed, in a thread that starts at once.

    Args:
      batches: pytrees of arrays (k, n, ...), for k steps with a local batch of n.
      devices: local devices; their number must divide n.
      size: number of batches held ready.

    Returns:
      Iterator over the same pytrees with arrays (devices, k, n / devices, ...), sharded over the
      first axis. An error in `batches` is raised by the iterator.
    """
    sharding = _over(devices)

    def shard(x: np.ndarray) -> jax.Array:
        parts = x.reshape(x.shape[0], len(devices), -1, *x.shape[2:]).swapaxes(0, 1)
        return jax.make_array_from_process_local_data(sharding, parts, parts.shape)

    ready: queue.Queue = queue.Queue(size)

    def fill() -> None:
        try:
            for batch in batches:
                ready.put((jax.tree.map(shard, batch), None))
            ready.put((None, None))
        except BaseException as error:
            ready.put((None, error))

    def take() -> Iterator[Any]:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch

    threading.Thread(target=fill, daemon=True).start()
    return take()


def shape_on_devices(
    shape: tuple[int, ...], dtype: Any, devices: list[jax.Device]
) -> jax.ShapeDtypeStruct:
    """Returns shape, type and sharding that `prefetch_to_devices` gives an array (k, n, ...)."""
    steps, patches, *rest = shape
    parts = len(devices), steps, patches // len(devices), *rest
    return jax.ShapeDtypeStruct(parts, dtype, sharding=_over(devices))


def _over(devices: list[jax.Device]) -> NamedSharding:
    """The sharding of batches: each of the local devices has an entry of the first axis."""
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS))


def max_over_processes(number: int) -> int:
    """Returns the largest of the numbers of all processes; every process must call this."""
    if jax.process_count() == 1:
        return number
    largest = _pmap_largest()(np.array([number], np.int32))
    return int(largest.addressable_data(0)[0])


def barrier() -> None:
    """Waits until every process has called this."""
    max_over_processes(0)


@functools.lru_cache
def _pmap_largest() -> Callable:
    first = [jax.local_devices(process)[0] for process in range(jax.process_count())]
    return jax.pmap(lambda x: jax.lax.pmax(x, "process"), "process", devices=first)


def is_main_process() -> bool:
    """Whether this process writes logs and files."""
    return jax.process_index() == 0


def map_in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yields `function(item)` in the order of the items, computed by a thread for each core.

    It is for functions that spend their time in NumPy and SciPy, which let other threads run. The
    items are taken in this thread, one more than there are threads at a time, so that few are in
    memory.

    Raises:
      Exception: what `function` or the items raise, in the order of the items. Items that have not
        begun are left out.
    """
    threads = available_cores()
    pool = concurrent.futures.ThreadPoolExecutor(threads, "map_in_threads")
    pending: collections.deque[concurrent.futures.Future[R]] = collections.deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
