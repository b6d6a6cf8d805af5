"""A scheduler and workers started with Dask's own commands, over TLS."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def write_certificates(folder):
    """ca.pem, cert.pem and key.pem of one self-signed certificate."""
    from distributed import Security

    made = Security.temporary()
    for name, text in (("ca", made.tls_ca_file), ("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        (folder / f"{name}.pem").write_text(text)


def tls_options(folder):
    return [f"--tls-{o}={folder / f'{n}.pem'}" for o, n in (("ca-file", "ca"), ("cert", "cert"), ("key", "key"))]


def tls_environment(folder):
    """Dask's own configuration, as environment variables."""
    values = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": f"{folder / 'ca.pem'}"}
    for role in ("CLIENT", "SCHEDULER", "WORKER"):
        values[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = f"{folder / 'cert.pem'}"
        values[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = f"{folder / 'key.pem'}"
    return values


@contextmanager
def cluster(folder, *workers, **environment):
    """Run a scheduler, and a worker for each list of options; yields the scheduler file."""
    env = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", **environment}
    scheduler_file = folder / "scheduler.json"
    common = [*tls_options(folder), "--scheduler-file", scheduler_file, "--no-dashboard"]
    common += ["--dashboard-address", "127.0.0.1:0", "--protocol", "tls", "--host", "127.0.0.1"]
    processes = []

    def start(name, *options):
        log = (folder / f"{name}.log").open("w")
        command = [sys.executable, "-m", "dask", *map(str, options), *map(str, common)]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=HERE.parents[1]))

    start("scheduler", "scheduler", "--port", "0")
    try:
        deadline = time.monotonic() + 60
        while not scheduler_file.exists():
            assert time.monotonic() < deadline, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        for i, options in enumerate(workers):
            hooks = ["--preload", "geoseg.run.worker", "--preload", HERE / "slow_network.py"]
            start(f"worker{i}", "worker", "--nworkers", 1, "--nthreads", 1, *hooks, *options)
        yield scheduler_file
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(timeout=30)
