"""The processes of a job: what started them, how they meet, and how they end together."""

import atexit
import contextlib
import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator

import jax
from jax._src import clusters, distributed, xla_bridge
from jax._src.lib import _jax
from jax.extend.backend import register_backend_factory

from srcnn_jax.multihost import stderr_filter

MEETING_SECONDS = 300  # max seconds until all processes have started
HEARTBEAT_SECONDS = 30  # a process without a sign of life for so long counts as dead
PARTING_SECONDS = 7 * 24 * 3600  # max seconds that the others wait while process 0 evaluates

_filter: subprocess.Popen | None = None  # the process that filters standard error


class LostProcessError(ConnectionError):
    """Another process of this job has ended."""


@dataclasses.dataclass(frozen=True)
class Job:
    """How this process finds the others. JAX gets a value that is None from the launcher.

    Attributes:
      count: number of processes, more than one.
      coordinator: host:port of process 0.
      process_id: number of this process, from 0.
    """

    count: int
    coordinator: str | None = None
    process_id: int | None = None


def find(coordinator: str | None, num_processes: int | None, process_id: int | None) -> Job | None:
    """Returns the job that this process belongs to, or None if it is alone.

    Args:
      coordinator, num_processes, process_id: the user's flags. If they are None, the values come
        from the launcher: Open MPI, SLURM, a TPU pod, or an indexed Job of Kubernetes.
        `num_processes` 1 always means alone.

    Raises:
      ValueError: if the flags and the launcher together do not give all values.
    """
    if num_processes == 1:
        return None
    if num_processes is not None and coordinator is not None and process_id is not None:
        if not 0 <= process_id < num_processes:
            raise ValueError(
                f"--process_id={process_id} is not one of 0 to {num_processes - 1}, which "
                f"--num_processes={num_processes} allows"
            )
        return Job(num_processes, coordinator, process_id)
    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        if coordinator is None and not clusters.OmpiCluster.is_env_present():
            raise ValueError(
                "Open MPI 5 does not tell JAX where process 0 is: say --coordinator=HOST:PORT, or "
                "--num_processes=1 for independent runs"
            )
        return Job(
            num_processes or int(os.environ["OMPI_COMM_WORLD_SIZE"]),
            coordinator,
            int(os.environ["OMPI_COMM_WORLD_RANK"]) if process_id is None else process_id,
        )
    count = num_processes or _count_of_slurm() or _count_of_tpu_pod() or _count_of_kubernetes()
    if count is not None and count > 1 and _is_known_to_jax():
        return Job(count, coordinator, process_id)
    if (coordinator, num_processes, process_id) != (None, None, None):
        raise ValueError(
            "no launcher that JAX knows started several processes here: say all of "
            "--coordinator=HOST:PORT, --num_processes and --process_id"
        )
    return None


def _is_known_to_jax() -> bool:
    """Whether JAX knows the launcher and can get missing values from it."""
    types = clusters.ClusterEnv._cluster_types
    return any(not kind.opt_in_only_method and kind.is_env_present() for kind in types)


def _count_of_slurm() -> int | None:
    """Returns the number of tasks of this job step.

    JAX reads SLURM_NTASKS. In an interactive shell that is the number for the whole allocation.
    """
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 0)) or None


def _count_of_tpu_pod() -> int | None:
    """Returns the number of hosts of one or several TPU slices."""
    for kind in (clusters.GkeTpuCluster, clusters.GceTpuCluster):
        if kind.is_env_present():
            return kind.get_process_count()
    return None


def _count_of_kubernetes() -> int | None:
    """Returns the number of pods of an indexed Job; JAX asks the cluster.

    Raises:
      ValueError: if the cluster does not give the number.
    """
    if not {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys():
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            if not clusters.K8sCluster.is_env_present():
                raise RuntimeError("the package kubernetes is not installed")
        return clusters.K8sCluster.get_process_count()
    except Exception as error:  # the client of Kubernetes raises many kinds of errors
        raise ValueError(
            f"this is a pod of an indexed Job, and the number of pods cannot be found: {error}; "
            "docs/kubernetes.yaml shows the settings for it, and --num_processes=1 is for "
            "independent runs"
        ) from error


def join(job: Job) -> None:
    """Connects to the other processes; call it before anything else starts JAX.

    After this, only process 0 has a standard output. JAX's messages about dead processes become one
    line (`stderr_filter`).

    Raises:
      ConnectionError: if a process is missing after `MEETING_SECONDS`.
    """
    # The handler of this service would stop SIGTERM from ending a process before its training.
    jax.config.update("jax_enable_preemption_service", False)
    register_backend_factory("cpu", _cpu_client, priority=0, fail_quietly=False)
    told = None not in (job.coordinator, job.process_id)
    _filter_stderr()
    try:
        jax.distributed.initialize(
            job.coordinator,
            job.count,
            job.process_id,
            cluster_detection_method="deactivate" if told else None,
            initialization_timeout=MEETING_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=PARTING_SECONDS,
        )
    except RuntimeError as error:
        raise ConnectionError(
            f"the {job.count} processes of this job did not meet: {error}"
        ) from error
    if distributed.global_state.process_id > 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Gloo prints to it


def _cpu_client():
    """Makes CPU devices with collectives by Gloo, at this host's address on the way to process 0.

    By default Gloo takes the address of the host's name. On Debian that is 127.0.1.1, which no
    other host can reach.
    """
    state = distributed.global_state
    assert state.coordinator_address is not None
    host, port = state.coordinator_address.rsplit(":", 1)
    family, kind, _, _, address = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # chooses the route, sends nothing
        own = probe.getsockname()[0]
    return xla_bridge.make_cpu_client(_jax.make_gloo_tcp_collectives(state.client, hostname=own))


def _filter_stderr() -> None:
    """Sends this process's standard error through `stderr_filter`."""
    global _filter
    path = pathlib.Path(stderr_filter.__file__)
    _filter = subprocess.Popen(
        [sys.executable, "-I", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must not end it
    )
    assert _filter.stdin is not None
    real = os.dup(2)
    os.dup2(_filter.stdin.fileno(), 2)
    _filter.stdin.close()
    atexit.register(_part, real)


def _part(stderr: int) -> None:
    """Waits until the other processes end, too."""
    jax.distributed.shutdown()  # before JAX does it, and while the filter still runs
    _end_filter(stderr)


def _end_filter(stderr: int) -> None:
    """Points standard error to `stderr`, and waits until the filter has written everything."""
    if _filter is not None and _filter.returncode is None:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _filter.wait(5)


@contextlib.contextmanager
def lost_process_as_error() -> Iterator[None]:
    """Turns a collective's error about a lost process into `LostProcessError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        words = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination service")
        if not jax.distributed.is_initialized() or not any(word in str(error) for word in words):
            raise
        raise LostProcessError(stderr_filter.LOST) from error


def exit_process(code: int) -> None:
    """Ends this process at once because of an error.

    Threads of a save that failed may wait for each other, and an exit would wait for them. One of
    several processes ends without JAX's shutdown, too. The others may wait for it in a collective,
    and the shutdown would wait for the others. When it ends, its connections close, and the others
    notice that.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if jax.distributed.is_initialized():
        _end_filter(os.open(os.devnull, os.O_WRONLY))  # JAX's last messages say nothing new
    os._exit(code)
