"""`geoseg status` and `geoseg verify`: what they say of real folders, finished, running, killed and damaged."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import closing

import numpy as np
import pytest
import rasterio

from geoseg.cli import main
from geoseg.config import RunSettings
from geoseg.run.journal import journals, open_journal, read_journal
from geoseg.run.lock import holder, locked
from geoseg.run.mapping import map_scenes
from geoseg.run.status import folder_status
from geoseg.run.verify import verify_folder
from tests.conftest import write_raster

SMALL = {"workers": 0, "tile_size": 256, "overlap": 64, "strip_rows": 1, "quiet": True}


def scene(path, rows=600, seed=0, **profile):
    blocks = np.random.default_rng(seed).integers(0, 255, (3, -(-rows // 20), 10), dtype=np.uint8)
    return write_raster(path, blocks.repeat(20, 1).repeat(20, 2)[:, :rows], **profile)


@pytest.fixture(scope="module")
def mapped(color_model, tmp_path_factory):
    """Two scenes, one of which is refused."""
    folder = tmp_path_factory.mktemp("status")
    (folder / "in").mkdir()
    scene(folder / "in" / "good.tif")
    (folder / "in" / "bad.tif").write_text("no raster")
    settings = RunSettings(inputs=(str(folder / "in"),), output=folder / "out", model=color_model, **SMALL)
    assert map_scenes(settings).exit_code == 1
    return folder / "out"


@pytest.fixture
def out(mapped, tmp_path):
    return shutil.copytree(mapped, tmp_path / "out")


def states(folder):
    return {s.path.rpartition("/")[2]: s.state for s in folder_status(folder).scenes}


def test_status_of_a_run_that_is_over(out, capsys):
    assert states(out) == {"good.tif": "done", "bad.tif": "refused"}
    assert main(["status", str(out)]) == 1
    told = capsys.readouterr().out
    assert "no run goes on" in told
    assert "1 done, 1 refused" in told
    assert "not a TIFF" in told
    assert main(["status", str(out), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["run"], told["counts"]) == (False, None, {"done": 1, "refused": 1})
    good = next(s for s in told["scenes"] if s["name"] == "good")
    assert good["strips"] == good["committed"] > 1


def test_status_names_an_output_that_is_gone(out):
    (out / "good.gpkg").unlink()
    good = next(s for s in folder_status(out).scenes if s.name == "good")
    assert (good.state, good.reason) == ("lost", "not there any more: good.gpkg")


def test_status_does_without_journals(out):
    """They may be pruned: what is finished has its record."""
    shutil.rmtree(out / ".geoseg" / "journal")
    assert states(out) == {"good.tif": "done"}
    assert folder_status(out).ok


def test_a_refused_scene_that_was_mended_is_refused_no_more(mapped, out, color_model):
    scene(mapped.parent / "in" / "bad.tif", rows=90)
    settings = RunSettings(inputs=(str(mapped.parent / "in"),), output=out, model=color_model, **SMALL)
    try:
        assert map_scenes(settings).exit_code == 0
    finally:
        (mapped.parent / "in" / "bad.tif").write_text("no raster")
    assert states(out) == {"good.tif": "done", "bad.tif": "done"}
    assert len(journals(out)) == 2


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_folders_that_are_no_output(tmp_path, verb, capsys):
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main([verb, str(folder)]) == 2
        assert f"geoseg: {folder}: " in capsys.readouterr().err


def test_status_of_a_run_that_goes_on_and_is_killed(color_model, tmp_path):
    path, out = scene(tmp_path / "in.tif", rows=12_000), tmp_path / "out"
    arguments = ["map", path, "-o", out, "--model", color_model, "--workers", 0, "--tile-size", 64, "--overlap", 32]
    arguments += ["--strip-rows", 4]
    run = subprocess.Popen([sys.executable, "-m", "geoseg.cli", *map(str, arguments)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob(".geoseg/in/strips/*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    status = folder_status(out)
    assert run.poll() is None, "the scene is too small for this test"
    (running,) = status.scenes
    assert status.ok
    assert (running.state, status.run["pid"]) == ("running", run.pid)
    assert 3 <= running.committed < running.strips
    run.kill()
    run.wait()
    status = folder_status(out)
    (killed,) = status.scenes
    assert (killed.state, status.run, status.ok) == ("interrupted", None, False)
    assert killed.committed >= running.committed


def test_looking_for_the_holder_does_not_keep_a_run_out(color_model, tmp_path):
    """Status holds the lock for an instant."""
    from geoseg.run.lock import locked

    with locked(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()
    assert holder(tmp_path) is None


def test_a_scene_that_was_finished_in_the_last_moment_of_a_killed_run_is_done(color_model, tmp_path):
    """After its record was written, and before the journal could tell."""
    path, out = scene(tmp_path / "in.tif"), tmp_path / "out"
    settings = RunSettings(inputs=(str(path),), output=out, model=color_model, workers=0, quiet=True)
    assert map_scenes(settings).exit_code == 0
    (journal,) = journals(out)
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"over"' not in line and '"scene_over"' not in line))
    assert [s.state for s in folder_status(out).scenes] == ["done"]
    assert map_scenes(settings).exit_code == 0
    assert folder_status(out).ok


def test_the_journal_outlives_a_torn_line(out):
    (journal,) = journals(out)
    before = list(read_journal(journal))
    with journal.open("ab") as file:
        file.write(b'{"time": "2026-01-01", "event": "sc')
    assert list(read_journal(journal)) == before
    assert before[0]["event"] == "run"
    assert before[-1]["event"] == "over"
    assert before[-1]["exit_code"] == 1


def test_who_may_only_read_sees_that_a_run_goes_on(tmp_path):
    with locked(tmp_path):
        lock = tmp_path / ".geoseg" / "lock"
        lock.chmod(0o444)
        code = (
            "import os, sys; from pathlib import Path; from geoseg.run.lock import holder; os.setuid(65534);"
            "print(holder(Path(sys.argv[1])))"
        )
        if os.geteuid() != 0:
            pytest.skip("only root can become somebody else")
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
        told = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
        assert f"'pid': {os.getpid()}" in told.stdout, told.stderr


def test_a_log_that_cannot_be_written_does_not_end_the_run(color_model, tmp_path, capsys):
    path = scene(tmp_path / "in.tif", rows=60)
    arguments = ["map", path, "-o", tmp_path / "out", "--model", color_model, "--workers", 0, "--log-json", "/dev/full"]
    assert main([str(a) for a in arguments]) == 0
    assert "/dev/full: No space left on device; the log ends here" in capsys.readouterr().err


def test_journals_of_many_shards_are_kept(tmp_path):
    for _ in range(130):
        with open_journal(tmp_path, shards=60):
            pass
    assert len(journals(tmp_path)) == 120
    with open_journal(tmp_path):
        pass
    assert len(journals(tmp_path)) == 100


def test_the_journal_tells_no_secret(tmp_path):
    from geoseg.run.journal import open_journal

    with open_journal(tmp_path) as journal:
        journal.event("error", {"scene": "x", "error": "https://me:pass@host/x.tif?token=abc123 cannot be opened"})
    text = journal.path.read_text()
    assert "pass" not in text
    assert "abc123" not in text
    assert "cannot be opened" in text


# Verify


def findings(folder):
    return {f.file: (f.state, f.detail) for f in verify_folder(folder) if f.state != "whole"}


def test_everything_is_whole(out, capsys):
    files = {p.name for p in out.iterdir() if p.name.startswith("good")}
    assert {f.file for f in verify_folder(out)} == files
    assert findings(out) == {}
    assert main(["verify", str(out)]) == 0
    assert capsys.readouterr().out.endswith("nothing is lost\n")


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_a_flipped_bit_is_found_wherever_it_is(out):
    """In every output, at a hundred places; a copy is the oracle."""
    random = np.random.default_rng(7)
    for path in [p for p in out.iterdir() if p.name.startswith("good")]:
        content = path.read_bytes()
        for at in random.integers(0, len(content), 25):
            flip(path, int(at))
            state, detail = findings(out)[path.name]
            # A bit of a text may leave it whole: then it is called changed, and not passed over.
            assert state == ("damaged" if path.suffix in (".tif", ".gpkg") else state), (path.name, at, detail)
            path.write_bytes(content)
        assert findings(out) == {}


def test_bit_rot_in_a_feature_exits_with_1(out, capsys):
    with closing(sqlite3.connect(out / "good.gpkg")) as db:
        geometry = db.execute("select geom from buildings limit 1").fetchone()[0]
    path = out / "good.gpkg"
    flip(path, path.read_bytes().index(geometry[40:]) + 3)
    assert main(["verify", str(out)]) == 1
    told = capsys.readouterr().out
    assert "damaged: good.gpkg: its bytes changed, but no program of SQLite wrote it (bit rot)" in told
    assert "1 of them" in told


def test_truncated_and_holed_rasters(out):
    path = out / "good_classes.tif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert findings(out)[path.name][1].startswith("truncated")
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=600,
        width=200,
        count=1,
        dtype="uint8",
        sparse_ok=True,
        transform=rasterio.Affine(0.5, 0, 0, 0, -0.5, 0),
    ) as dst:
        dst.update_tags(filler="x" * len(content))
    state, detail = findings(out)[path.name]
    assert (state, detail[:5]) == ("damaged", "holed")
    path.unlink()
    assert findings(out)[path.name] == ("missing", "run geoseg map again")


def test_a_geopackage_that_qgis_opened_is_not_damaged(out, capsys):
    """QGIS switches to a write-ahead log and back."""
    with closing(sqlite3.connect(out / "good.gpkg")) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("update gpkg_contents set description = 'seen'")
        db.commit()
        db.execute("pragma journal_mode = delete")
    assert findings(out) == {"good.gpkg": ("changed", "opened since; its features are those written")}
    assert main(["verify", str(out)]) == 0


def test_what_was_added_is_named(out):
    with closing(sqlite3.connect(out / "good.gpkg")) as db:
        db.execute("create table owners (name text)")
        db.execute("update layer_styles set styleQML = '' where f_table_name = 'green'")
        db.commit()
    assert findings(out) == {"good.gpkg": ("changed", "edited since: layer_styles, owners (added)")}


def test_a_corrected_map_is_called_edited(out):
    with closing(sqlite3.connect(out / "good.gpkg")) as db:
        for (trigger,) in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            db.execute(f'drop trigger "{trigger}"')  # they call functions that only GDAL has
        db.execute("delete from buildings where fid = 1")
        db.commit()
    assert findings(out) == {"good.gpkg": ("changed", "edited since: buildings")}


def test_a_project_with_a_broken_member(out):
    path = out / "good.qgz"
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    flip(path, info.header_offset + 30 + len(info.filename) + info.compress_size // 2)
    assert findings(out)["good.qgz"][0] == "damaged"


def test_a_record_that_rotted(out):
    (out / ".geoseg" / "good" / "scene.json").write_text("{")
    assert findings(out) == {"scene.json": ("damaged", findings(out)["scene.json"][1])}


def test_shards_do_not_forget_what_others_refused(tmp_path):
    from geoseg.run.journal import open_journal

    for shard, event in {
        "1/2": {"pending": {}, "refused": {"/in/bad.tif": "no TIFF"}},
        "2/2": {"pending": {"good": "/in/good.tif"}, "refused": {}},
    }.items():
        with open_journal(tmp_path) as journal:
            journal.event("run", {"shard": shard, **event})
    assert states(tmp_path) == {"bad.tif": "refused", "good.tif": "interrupted"}
    with open_journal(tmp_path) as journal:
        journal.event("run", {"shard": None, "pending": {"good": "/in/good.tif"}, "refused": {}})
    assert states(tmp_path) == {"good.tif": "interrupted"}
