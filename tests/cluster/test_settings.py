"""Cluster files: what is refused, what the files that ship say, and that nothing is open to the network by accident."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from geoseg.cluster_config import (
    CudaCluster,
    KubernetesCluster,
    SlurmCluster,
    check_network,
    load_cluster,
    seconds,
    walltime_s,
)
from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.run.cluster import _job, choose_cluster
from geoseg.run.gpus import parse_cpus

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "cluster").glob("*.yaml"))


def write(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_the_files_that_ship_name_every_key_with_its_default(path):
    cluster = load_cluster(path)
    assert cluster.kind == path.stem
    values = yaml.safe_load(path.read_text())
    unsaid = {"local": set(), "cuda": {"workers"}, "slurm": {"vector_workers"}}.get(cluster.kind, set())
    assert set(values) | unsaid == set(type(cluster).model_fields)
    for key in values:
        field = type(cluster).model_fields[key]
        if not field.is_required() and key != "address":
            assert getattr(cluster, key) == field.get_default(call_default_factory=True), key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers: 2", "kind is None, but one of local, cuda, slurm, kubernetes, address is needed"),
        ("kind: pbs", "kind is 'pbs'"),
        ("kind: [local]", "kind is ['local']"),
        ("kind: local\nwoorkers: 2", "unknown key 'woorkers'; the nearest known key is 'workers'"),
        ("kind: local\nkind: slurm", "duplicate key 'kind'"),
        ("kind: local\nlifetime: soon", "lifetime: "),
        ("kind: local\nlifetime: 5 s", "must be at least 120 s"),
        ("kind: cuda\nworkers: 3", "workers is the number of GPUs"),
        ("kind: slurm\nwalltime: 2:00", "walltime: "),
        ("kind: slurm\nwalltime: '00:02:00'", "must be more than 240 s"),
        ("kind: address", "either address or scheduler_file is needed"),
        ("kind: address\naddress: tls://a:1\ntls: {ca: no.pem, cert: a, key: b}", "no.pem is not a file"),
        ("kind: kubernetes", "'image' is needed"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_cluster(write(tmp_path, text))


def test_times():
    assert [seconds(t) for t in ("45 s", "55 min", "12h", "2 d")] == [45, 3300, 43200, 172800]
    assert [walltime_s(t) for t in ("00:05:00", "1-02:00:00")] == [300, 93600]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "localhost:1", "tcp://[::1]:1", "tls://10.0.0.1:8786"])
def test_loopback_and_tls_need_no_word(address):
    check_network(address, insecure=False, source="here")


@pytest.mark.parametrize("address", ["tcp://10.0.0.1:8786", "head:8786", "ws://head", "tcp://localhost.evil.example:1"])
def test_the_network_without_tls_needs_a_word(address):
    check_network(address, insecure=True, source="here")
    with pytest.raises(ConfigError, match="--insecure-network"):
        check_network(address, insecure=False, source="here")


def test_a_job_asks_for_what_its_settings_say_and_ends_before_its_time():
    cluster = SlurmCluster(kind="slurm", cores=4, gpus=1, walltime="00:30:00", partition="p", directives=("--x",))
    job = _job(cluster)
    assert (job["job_cpu"], job["queue"], job["walltime"]) == (4, "p", "00:30:00")
    assert job["job_extra_directives"] == ["--gres=gpu:1", "--x"]
    given = dict(zip(job["worker_extra_args"][0::2], job["worker_extra_args"][1::2], strict=False))
    latest = int(given["--lifetime"][:-1]) + int(given["--lifetime-stagger"][:-1])
    assert latest == 1800 - 120
    assert "export GEOSEG_THREADS=3" in job["job_script_prologue"]


def test_kubernetes_is_refused_without_a_word_for_the_network(tmp_path):
    from geoseg.run.executors import open_executor

    cluster = KubernetesCluster(kind="kubernetes", image="geoseg:1")
    with pytest.raises(ConfigError, match="insecure-network"), open_executor(cluster, RunSettings(output=tmp_path)):
        pass


def test_pods_get_what_their_settings_say():
    pytest.importorskip("dask_kubernetes")
    from geoseg.run.kubernetes import cluster_spec, vector_group_spec

    cluster = KubernetesCluster(
        kind="kubernetes", image="geoseg:1", gpus=1, workers=3, vector_workers=1, claims={"maps": Path("/maps")}
    )
    spec = cluster_spec(cluster)
    worker = spec["spec"]["worker"]
    (container,) = worker["spec"]["containers"]
    assert worker["replicas"] == 3
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["args"][-2:] == ["--resources", "network=1"]
    assert container["volumeMounts"] == [{"name": "maps", "mountPath": "/maps"}]
    group = vector_group_spec(cluster)
    (vector,) = group["spec"]["containers"]
    assert group["replicas"] == 1
    assert container["args"][container["args"].index("--memory-limit") + 1] == "0"
    assert "network=1" not in vector["args"]
    assert "nvidia.com/gpu" not in vector["resources"]["limits"]


def test_a_missing_extra_is_one_clear_line(tmp_path):
    if find_spec("dask_kubernetes"):
        pytest.skip("dask-kubernetes is installed here")
    from geoseg.run.executors import open_executor

    cluster = KubernetesCluster(kind="kubernetes", image="geoseg:1")
    with (
        pytest.raises(ConfigError, match=r"pip install 'geoseg\[kubernetes\]'") as caught,
        open_executor(cluster, RunSettings(insecure_network=True)),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_no_gpu_is_said(tmp_path, monkeypatch):
    from geoseg.run.executors import open_executor

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with (
        pytest.raises(ConfigError, match="no GPU is seen here"),
        open_executor(CudaCluster(kind="cuda"), RunSettings()),
    ):
        pass


def test_places_of_work_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="cluster and workers exclude each other"):
        RunSettings(cluster=tmp_path, workers=1)
    assert choose_cluster(RunSettings(workers=0)) is None


def test_cpus_next_to_a_gpu():
    assert parse_cpus("0-2,8,10-11\n") == {0, 1, 2, 8, 10, 11}
    assert parse_cpus("\n") == set()


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_shards_are_numbered_from_one(shard):
    with pytest.raises(ValueError, match="shard"):
        RunSettings(shard=shard)
