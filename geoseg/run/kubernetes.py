"""Resources of the Dask operator for a run."""

from typing import Any

from geoseg.cluster_config import KubernetesCluster, seconds
from geoseg.run.worker import NETWORK


def cluster_spec(cluster: KubernetesCluster) -> dict[str, Any]:
    """The DaskCluster resource: a scheduler and the pods that run networks."""
    from dask_kubernetes.operator import make_cluster_spec

    spec: dict[str, Any] = make_cluster_spec(name=cluster.name, image=cluster.image, n_workers=cluster.workers)
    spec["spec"]["worker"] = {"replicas": cluster.workers, "spec": _pod(cluster, network=True)}
    scheduler = spec["spec"]["scheduler"]["spec"]["containers"][0]
    scheduler["env"] = [{"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}]
    return spec


def vector_group_spec(cluster: KubernetesCluster) -> dict[str, Any]:
    """A group of pods that only vectorize and write: the `worker` of a DaskWorkerGroup."""
    return {"replicas": cluster.vector_workers, "spec": _pod(cluster, network=False)}


def _pod(cluster: KubernetesCluster, *, network: bool) -> dict[str, Any]:
    gpus = cluster.gpus if network else 0
    limits = {"cpu": str(cluster.cores), "memory": cluster.memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    arguments = [
        "dask",
        "worker",
        "--name",
        "$(DASK_WORKER_NAME)",
        "--nthreads",
        "2" if gpus else "1",
        "--no-dashboard",
        "--memory-limit",
        "0",  # Dask's own would be the share of one thread; the pod has its limit
    ]
    arguments += ["--preload", "geoseg.run.worker", *(["--resources", f"{NETWORK}=1"] if network else [])]
    if cluster.lifetime:
        stagger = min(seconds(cluster.lifetime_stagger), seconds(cluster.lifetime) // 2)
        arguments += ["--lifetime", f"{seconds(cluster.lifetime)}s", "--lifetime-stagger", f"{stagger}s"]
        arguments += ["--lifetime-restart"]
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in cluster.claims]
    mounts = [{"name": claim, "mountPath": str(path)} for claim, path in cluster.claims.items()]
    container = {
        "name": "worker",
        "image": cluster.image,
        "args": arguments,
        "env": [{"name": "GEOSEG_THREADS", "value": str(cluster.cores)}],
        "resources": {"limits": limits, "requests": limits},
        "volumeMounts": mounts,
    }
    return {"containers": [container], "volumes": volumes}
