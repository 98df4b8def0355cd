"""The processes of a job: who started them, how they meet, and how they end together."""

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

MEETING_SECONDS = 300  # until all processes must have started
HEARTBEAT_SECONDS = 30  # without a sign of life from a process, it counts as dead
PARTING_SECONDS = 7 * 24 * 3600  # that others wait while process 0 evaluates

_filter: subprocess.Popen | None = None  # what standard error goes through


class LostProcessError(ConnectionError):
    """Another process of this job has ended."""


@dataclasses.dataclass(frozen=True)
class Job:
    """How this process finds the others; what is None, JAX asks the launcher for.

    Attributes:
      count: number of processes, more than one.
      coordinator: host:port of process 0.
      process_id: number of this process, from 0.
    """

    count: int
    coordinator: str | None = None
    process_id: int | None = None


def find(coordinator: str | None, num_processes: int | None, process_id: int | None) -> Job | None:
    """The job that this process is one of; None if it is alone.

    Args:
      coordinator, num_processes, process_id: what the user said. Without them, the launcher tells:
        Open MPI, SLURM, a TPU pod, or an indexed Job of Kubernetes. `num_processes` 1 is alone,
        whatever started it.

    Raises:
      ValueError: if what is said and what can be found do not suffice.
    """
    if num_processes == 1:
        return None
    if num_processes is not None and coordinator is not None and process_id is not None:
        if not 0 <= process_id < num_processes:
            raise ValueError(
                f"--process_id={process_id} is not one of 0 to {num_processes - 1}, as "
                f"--num_processes={num_processes} has it"
            )
        return Job(num_processes, coordinator, process_id)
    if int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        if coordinator is None and not clusters.OmpiCluster.is_env_present():
            raise ValueError(
                "Open MPI 5 does not tell JAX where process 0 is: say --coordinator=HOST:PORT, or "
                "--num_processes=1 for runs that have nothing to do with each other"
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
    """Whether JAX will find by itself what nobody told it."""
    types = clusters.ClusterEnv._cluster_types
    return any(not kind.opt_in_only_method and kind.is_env_present() for kind in types)


def _count_of_slurm() -> int | None:
    """Tasks of this job step.

    SLURM_NTASKS, which JAX looks at, is that of the whole allocation in an interactive shell.
    """
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 0)) or None


def _count_of_tpu_pod() -> int | None:
    """Hosts of a TPU slice, or of several."""
    for kind in (clusters.GkeTpuCluster, clusters.GceTpuCluster):
        if kind.is_env_present():
            return kind.get_process_count()
    return None


def _count_of_kubernetes() -> int | None:
    """Pods of an indexed Job; JAX asks the cluster for their number."""
    if not {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys():
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            if not clusters.K8sCluster.is_env_present():
                raise RuntimeError("the package kubernetes is not installed")
        return clusters.K8sCluster.get_process_count()
    except Exception as error:  # the client of Kubernetes has many
        raise ValueError(
            f"this is a pod of an indexed Job, and how many there are cannot be found: {error}; "
            "docs/kubernetes.yaml shows what it takes, and --num_processes=1 is for runs "
            "that have nothing to do with each other"
        ) from error


def join(job: Job) -> None:
    """Meets the other processes; call it before anything else starts JAX.

    From here on only process 0 has a standard output, and what JAX says of processes that died is
    one line (`stderr_filter`).

    Raises:
      ConnectionError: if they did not all come.
    """
    # Its handler would keep SIGTERM from ending a process that does not train yet.
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Gloo prints, too


def _cpu_client():
    """CPU devices with collectives by Gloo, at the address by which process 0 is reached.

    Left to itself, Gloo takes what the host's name stands for, which on Debian is 127.0.1.1, where
    no other host finds it.
    """
    state = distributed.global_state
    assert state.coordinator_address is not None
    host, port = state.coordinator_address.rsplit(":", 1)
    family, kind, _, _, address = socket.getaddrinfo(
        host.strip("[]"), int(port), type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)  # chooses the way, sends nothing
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
        start_new_session=True,  # Ctrl-C is not meant for it
    )
    assert _filter.stdin is not None
    real = os.dup(2)
    os.dup2(_filter.stdin.fileno(), 2)
    _filter.stdin.close()
    atexit.register(_part, real)


def _part(stderr: int) -> None:
    """Waits for the others to come to their end as well."""
    jax.distributed.shutdown()  # before JAX does it, and with the condenser still there
    _end_filter(stderr)


def _end_filter(stderr: int) -> None:
    """Points standard error elsewhere, and waits until what went there before has come out."""
    if _filter is not None and _filter.returncode is None:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            _filter.wait(5)


@contextlib.contextmanager
def lost_process_as_error() -> Iterator[None]:
    """Turns what a collective raises when its other end is gone into `LostProcessError`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        words = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination service")
        if not jax.distributed.is_initialized() or not any(word in str(error) for word in words):
            raise
        raise LostProcessError(stderr_filter.LOST) from error


def exit_process(code: int) -> None:
    """Ends this process because of an error.

    At once, if it is one of several: they may wait for it in a collective, and JAX would wait for
    them before it lets go. So their end of the connection closes, which they notice.
    """
    if not jax.distributed.is_initialized():
        sys.exit(code)
    sys.stdout.flush()
    _end_filter(os.open(os.devnull, os.O_WRONLY))  # JAX has more to say now, but nothing new
    os._exit(code)
