"""Training sets on disk: the same scenes and windows as in memory, few open files, nothing left behind."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.nn import data as training_data
from geoseg.nn.data import RandomWindows, read_data
from geoseg.nn.spill import Spill
from geoseg.train_config import load_train_config
from tests.nn.training_sets import MAKERS, settings, source


def is_mapped(array):
    while array.base is not None and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_arrays_come_back_as_they_were(dtype, tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, rng.integers(1, 60, 3)).astype(dtype) for _ in range(200)]
    arrays.append(rng.integers(0, 255, (90, 90, 3)).astype(dtype)[::-1, ::2])
    spill = Spill(tmp_path, held=100_000, file_bytes=2**18)
    kept = [spill.keep(a) for a in arrays]
    assert all((a == k).all() and a.dtype == k.dtype and a.shape == k.shape for a, k in zip(arrays, kept, strict=True))
    in_memory = [k for a, k in zip(arrays, kept, strict=True) if a is k]
    assert sum(k.nbytes for k in in_memory) <= 100_000
    assert all(is_mapped(k) and not k.flags.writeable for a, k in zip(arrays, kept, strict=True) if a is not k)
    assert not [*tmp_path.iterdir()]


def test_many_scenes_hold_few_files_open(tmp_path):
    def handles():
        return len([*Path("/proc/self/fd").iterdir()])

    before = handles()
    spill = Spill(tmp_path, held=0)
    kept = [spill.keep(np.full((40, 40), i % 256, np.uint8)) for i in range(3000)]
    assert handles() - before <= 4
    assert all((k == i % 256).all() for i, k in enumerate(kept))
    del kept, spill
    assert handles() == before


@pytest.mark.parametrize("form", ["rasters", "vectors", "colors", "voc", "cityscapes"])
def test_windows_are_those_of_a_set_in_memory(form, tmp_path, monkeypatch):
    one = source(form, MAKERS[form](tmp_path / "set"))
    if form == "rasters":
        one |= {"mosaic": True, "ignore_larger_m2": {"building": 1e6}}
    config = load_train_config(settings(tmp_path, one))
    held = read_data(config)
    monkeypatch.setattr(training_data, "Spill", lambda folder: Spill(folder, held=0))
    mapped = read_data(config)
    scenes = [*mapped.training, *mapped.validation]
    assert all(is_mapped(s.image) and is_mapped(s.label) for s in scenes)
    of_both = [RandomWindows(d.training, config, 0, 12) for d in (held, mapped)]
    for a, b in zip(*of_both, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_memory_does_not_grow_with_the_training_set(tmp_path):
    """400 MB of scenes: what is neither of a file nor shared stays small, and nothing is left on the disk."""
    program = f"""
import re
from pathlib import Path
import numpy as np
from geoseg.nn.spill import Spill
def anonymous_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) / 1024
spill = Spill(Path({str(tmp_path)!r}), held=0)
before = anonymous_mb()
kept = [spill.keep(np.full((2000, 2000, 5), i, np.uint8)) for i in range(20)]
assert sum(int(k[7, 7, 0]) for k in kept) == 190
print(anonymous_mb() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60
    assert not [*Path(tmp_path).iterdir()]
