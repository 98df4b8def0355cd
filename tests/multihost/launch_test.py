"""Several processes: who finds them, and how they train, stop and die together, on loopback."""

import json
import pathlib
import shlex
import signal
import socket
import subprocess
import sys

import kubernetes_validate
import numpy as np
import pytest
import yaml
from jax._src import clusters
from main_test import ROOT, metrics, start, wait_for_step

from experiments import runner
from srcnn_jax import config_fields, train
from srcnn_jax.multihost import launch, stderr_filter
from srcnn_jax.multihost.launch import Job

SLURM = {
    "SLURM_JOB_ID": "4096",
    "SLURM_STEP_NODELIST": "node[07-10],other2",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}
OPEN_MPI_5 = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}
OPEN_MPI_4 = {
    **OPEN_MPI_5,
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_MCA_orte_hnp_uri": "4096.0;tcp://10.0.0.7,10.1.0.7:34911",
}
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}
NOTHING_SAID = (None, None, None)


@pytest.fixture
def environment(monkeypatch):
    """Sets an environment without launchers but for the given variables."""

    def set_to(variables: dict[str, str]) -> None:
        for name in {
            *SLURM,
            *OPEN_MPI_4,
            *KUBERNETES,
            "TPU_WORKER_HOSTNAMES",
            "MEGASCALE_NUM_SLICES",
        }:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_to({})
    return set_to


@pytest.mark.parametrize(
    ("variables", "said", "job"),
    [
        ({}, NOTHING_SAID, None),
        ({}, ("a:1", 3, 2), Job(3, "a:1", 2)),
        (SLURM, NOTHING_SAID, Job(4)),
        (SLURM, ("a:1", None, None), Job(4, "a:1")),
        (SLURM, ("a:1", 3, 2), Job(3, "a:1", 2)),
        (OPEN_MPI_4, NOTHING_SAID, Job(4, None, 2)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"} | OPEN_MPI_4, NOTHING_SAID, Job(4, None, 2)),
        (OPEN_MPI_5, ("a:1", None, None), Job(4, "a:1", 2)),
        # Runs that have nothing to do with each other, as the trials of a sweep.
        (SLURM, (None, 1, None), None),
        (OPEN_MPI_5, (None, 1, None), None),
        (KUBERNETES, (None, 1, None), None),
        # One task, a shell of salloc (in four tasks' allocation), and an sbatch script.
        (SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, NOTHING_SAID, None),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, NOTHING_SAID, None),
        ({"SLURM_JOB_ID": "4096", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, NOTHING_SAID, None),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, NOTHING_SAID, None),
    ],
)
def test_who_is_one_of_several(environment, variables, said, job):
    environment(variables)
    assert launch.find(*said) == job


def test_a_pod_of_kubernetes_and_a_host_of_a_tpu_pod(environment, monkeypatch):
    environment(KUBERNETES)
    with monkeypatch.context() as patch:
        patch.setattr(clusters.K8sCluster, "is_env_present", lambda: True)
        patch.setattr(clusters.K8sCluster, "get_process_count", lambda: 4)
        assert launch.find(*NOTHING_SAID) == Job(4)
    environment({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "MEGASCALE_NUM_SLICES": "1"})
    monkeypatch.setattr(clusters.cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    assert launch.find(*NOTHING_SAID) == Job(4)


@pytest.mark.parametrize(
    ("variables", "said", "words"),
    [
        ({}, (None, 2, None), "say all of --coordinator=HOST:PORT, --num_processes and"),
        ({}, ("a:1", None, 0), "say all of --coordinator"),
        ({}, ("a:1", 2, 2), "--process_id=2 is not one of 0 to 1"),
        (OPEN_MPI_5, NOTHING_SAID, "Open MPI 5 does not tell JAX .* --coordinator=HOST:PORT"),
        (KUBERNETES, NOTHING_SAID, "pod of an indexed Job, .* kubernetes.*--num_processes=1"),
    ],
)
def test_what_cannot_be_found(environment, monkeypatch, variables, said, words):
    environment(variables)
    monkeypatch.setitem(sys.modules, "kubernetes", None)  # as if it were not installed
    with pytest.raises(ValueError, match=words):
        launch.find(*said)


@pytest.mark.parametrize(
    ("variables", "found"),
    [(SLURM, ("node07:61440", 4, 2, [0])), (OPEN_MPI_4, ("10.0.0.7:61441", 4, 2, [0]))],
)
def test_what_jax_finds_itself(environment, variables, found):
    """The variables above are those that the pinned JAX looks at."""
    environment(variables)
    assert (
        clusters.ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
        == found
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def by_flags(index: int, count: int, port: int) -> tuple[list[str], dict[str, str]]:
    flags = f"--coordinator=127.0.0.1:{port} --num_processes={count} --process_id={index}"
    return flags.split(), {}


def by_slurm(index: int, count: int, port: int) -> tuple[list[str], dict[str, str]]:
    return [], {
        **SLURM,
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": str(count),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_PROCID": str(index),
        "JAX_COORDINATOR_PORT": str(port),
    }


def start_all(arguments, count, launcher) -> list[subprocess.Popen]:
    port = free_port()
    told = [launcher(index, count, port) for index in range(count)]
    return [start(*arguments, *flags, **variables) for flags, variables in told]


def end_all(started: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    outputs = [process.communicate(timeout=60) for process in started]  # within a minute
    return [(p.returncode, *output) for p, output in zip(started, outputs, strict=True)]


def saved(workdir: pathlib.Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def losses(workdir) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in metrics(workdir) if "loss" in line}


def test_a_job_that_lost_a_process_ends_as_if_one_had_trained(tiny_config, tmp_path):
    """Of four processes the first is killed, of two the second; two are told to stop; then one."""
    changed = {
        "name": "x3",
        "train.steps": 180,
        "train.batch_size": 32,
        "train.microbatch_size": 1,
        "train.steps_per_dispatch": 4,
        "train.log_every": 20,
        "train.eval_every": 60,
        "train.checkpoint_every": 20,
        "optimizer.precondition": False,  # which compiles for long
        "optimizer.learning_rate": 0.1,
    }
    tiny_config.update_from_flattened_dict(changed)
    flat = config_fields.flatten(json.loads(tiny_config.to_json()))
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    config = ["--config=configs/default.py:x3", f"--workdir={shared}"]
    for field, value in flat.items():
        config.append(f"--config.{field}={runner.text(value)}")
    train.train_and_evaluate(tiny_config, str(whole))

    lost = 0
    # With the first dies the service that the others keep in touch by.
    for count, victim, launcher in ((4, 0, by_flags), (2, 1, by_slurm)):
        started = start_all(config, count, launcher)
        wait_for_step(shared, lost + 20)
        started[victim].kill()
        ended = end_all(started)
        assert ended.pop(victim)[0] == -signal.SIGKILL
        for code, out, err in ended:
            assert code not in (0, -signal.SIGKILL)
            assert {line for line in err.splitlines() if "rror" in line} == {
                f"error: {stderr_filter.LOST}"
            }
            assert "stack trace" not in err
            assert victim == 1 or out == ""  # only process 0 speaks
        assert saved(shared)[-1] > lost
        lost = saved(shared)[-1]
        assert lost < tiny_config.train.steps

    started = start_all(config, 2, by_slurm)
    wait_for_step(shared, lost + 20)
    started[1].send_signal(signal.SIGTERM)
    (code, out, err), (other_code, other_out, other_err) = end_all(started)
    assert code == other_code == 128 + signal.SIGTERM, err + other_err
    assert f"resumed after step {lost}" in out
    stopped = saved(shared)[-1]
    assert f"stopped by SIGTERM after step {stopped}; the same command goes on" in err
    assert (other_out, other_err) == ("", "\nSIGTERM: saving, then stopping\n")
    assert metrics(shared)[-1]["step"] == stopped < tiny_config.train.steps

    train.train_and_evaluate(tiny_config, str(shared))
    by_many, by_one = losses(shared), losses(whole)
    assert by_many.keys() == by_one.keys()
    np.testing.assert_allclose(list(by_many.values()), list(by_one.values()), rtol=1e-6)


def test_kubernetes_manifest():
    documents = list(yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text()))
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    kinds = {document["kind"]: document for document in documents}
    job = kinds["Job"]
    pod = job["spec"]["template"]["spec"]
    # What JAX asks for: an index, the Job's labels, a name for the first pod, and leave to ask.
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"]
    assert job["metadata"]["labels"]
    service = kinds["Service"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    account = kinds["ServiceAccount"]["metadata"]["name"]
    assert pod["serviceAccountName"] == account == kinds["RoleBinding"]["subjects"][0]["name"]
    # The command is one that this project has, and its config can be shared by the pods.
    (container,) = pod["containers"]
    words = shlex.split(container["args"][0])
    config = next(word for word in words if word.startswith("--config=")).partition("=")[2]
    assert (ROOT / config.partition(":")[0]).is_file()
    mounted = container["volumeMounts"][0]["mountPath"]
    assert next(w for w in words if w.startswith("--workdir=")).startswith(f"--workdir={mounted}/")
