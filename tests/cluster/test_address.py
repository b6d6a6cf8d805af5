"""A scheduler that runs already: Dask's own commands, TLS on."""

import json
import os
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import psutil
import pytest

from geoseg.cli import main
from geoseg.cluster_config import AddressCluster, TlsSettings
from geoseg.config import RunSettings
from geoseg.errors import ConfigError
from geoseg.run.executors import open_executor
from tests.cluster.by_hand import cluster, tls_environment, write_certificates
from tests.cluster.tasks import Where
from tests.conftest import write_raster

pytest.importorskip("cryptography")


@pytest.fixture
def folder(tmp_path):
    write_certificates(tmp_path)
    return tmp_path


def over_tls(folder, **more):
    tls = TlsSettings(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
    return AddressCluster(kind="address", scheduler_file=folder / "scheduler.json", tls=tls, **more)


@pytest.mark.alone
@pytest.mark.slow
def test_a_mixed_cluster_runs_networks_where_the_resource_is_and_the_rest_elsewhere(folder):
    with (
        cluster(folder, ["--resources", "network=1"], [], SLEEP_S="0"),
        open_executor(over_tls(folder, workers=2, wait="2 min"), RunSettings()) as executor,
    ):
        # While a network runs; without one, its worker helps the others.
        todo = [Where(f"{lane}{i}", lane, s) for i in range(4) for lane, s in (("network", 1.0), ("cpu", 0.05))]
        places = {"network": set(), "cpu": set()}
        waiting = 0
        while todo or waiting:
            while todo and executor.has_room(todo[0].lane):
                executor.submit(todo.pop(0))
                waiting += 1
            outcome = executor.next_outcome()
            assert outcome.error is None
            places[outcome.task.lane].add(outcome.value[0])
            waiting -= 1
        assert executor.workers == 1
    assert len(places["network"]) == len(places["cpu"]) == 1
    assert not places["network"] & places["cpu"]


@pytest.mark.alone
@pytest.mark.slow
def test_two_workers_do_more_than_one(folder, color_model):
    """Through --scheduler, TLS from Dask's configuration; the network sleeps, so that cores do not matter."""
    scenes, output, log = folder / "in", folder / "out", folder / "log.jsonl"
    scenes.mkdir()
    sleeps, sleep_s = 6, 2.5  # a scene is one tile
    for i in range(sleeps):
        write_raster(scenes / f"{i}.tif", np.full((3, 64, 64), 90 + i, np.uint8))
    with cluster(folder, *[["--resources", "network=1"]] * 2, SLEEP_S=str(sleep_s)) as scheduler_file:
        with open_executor(over_tls(folder, workers=2, wait="2 min"), RunSettings()):
            pass  # until all workers are there
        command = [sys.executable, "-m", "geoseg.cli", "map", scenes, "-o", output, "--model", color_model]
        done = subprocess.run(
            [*command, "--scheduler", scheduler_file, "--log-json", log],
            env={**os.environ, **tls_environment(folder)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifest = (output / "run.json").read_text()
    assert len(json.loads(manifest)["scenes"]) == sleeps
    assert "PRIVATE KEY" not in manifest
    assert "key.pem" not in manifest
    events = [json.loads(line) for line in log.read_text().splitlines()]
    over = [datetime.fromisoformat(e["time"]) for e in events if e["event"] == "scene_over"]
    # One worker sleeps between two scenes; what is not sleep shares cores, which may be busy.
    assert (over[-1] - over[0]).total_seconds() <= (sleeps - 1) * sleep_s / 1.4


@pytest.mark.slow
def test_a_scheduler_that_is_killed_ends_the_run_in_one_line_and_the_next_goes_on(folder, color_model):
    pixels = np.random.default_rng(0).integers(1, 255, (3, 1024, 128), dtype=np.uint8)
    scene, output = write_raster(folder / "in.tif", pixels), folder / "out"
    command = [sys.executable, "-m", "geoseg.cli", "map", scene, "-o", output, "--model", color_model]
    command += ["--tile-size", "128", "--overlap", "32", "--strip-rows", "1"]
    strips = output / ".geoseg" / "in" / "strips"
    with cluster(folder, ["--resources", "network=1"], SLEEP_S="0.5") as scheduler_file:
        run = subprocess.Popen(
            [*command, "--scheduler", scheduler_file],
            env={**os.environ, **tls_environment(folder)},
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 90
        while len(list(strips.glob("*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        scheduler = [p for p in psutil.process_iter(["cmdline"]) if str(scheduler_file) in (p.info["cmdline"] or [])]
        [p.kill() for p in scheduler if "scheduler" in p.info["cmdline"]]
        _, err = run.communicate(timeout=60)
    assert run.returncode == 1, err
    assert "geoseg: The scheduler went away" in err, err
    assert "Traceback" not in err
    kept = {p.name: p.stat().st_mtime_ns for p in strips.glob("*.json")}
    assert len(kept) >= 2
    log = folder / "again.jsonl"
    assert main([str(c) for c in (*command[3:], "--workers", "0", "--quiet", "--log-json", log)]) == 0
    begun = next(e for line in log.read_text().splitlines() if (e := json.loads(line))["event"] == "scene")
    assert begun["committed"] == len(kept)


@pytest.mark.slow
def test_a_stranger_without_certificates_is_told_so(folder):
    with cluster(folder, SLEEP_S="0") as scheduler_file:
        address = json.loads(scheduler_file.read_text())["address"]
        assert address.startswith("tls://127.0.0.1")
        for place in (address, address.replace("tls", "tcp")):
            stranger = AddressCluster(kind="address", address=place)
            with (
                pytest.raises(ConfigError, match="no Dask scheduler answers there"),
                open_executor(stranger, RunSettings()),
            ):
                pass


def test_a_scheduler_on_the_network_needs_tls(town_scene, tmp_path, capsys):
    arguments = ["map", str(town_scene), "-o", str(tmp_path / "out"), "--scheduler", "tcp://192.0.2.1:8786"]
    assert main(arguments) == 2
    assert "reached over the network without TLS" in capsys.readouterr().err


def test_a_file_that_is_no_scheduler_file_is_named(tmp_path):
    (tmp_path / "s.json").write_text("[1]")
    place = AddressCluster(kind="address", scheduler_file=tmp_path / "s.json")
    with pytest.raises(ConfigError, match="is no file that dask scheduler"), open_executor(place, RunSettings()):
        pass
