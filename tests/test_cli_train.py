"""`geoseg train` as a user types it: the textbook's folders, and what is wrong said in one line."""

import re

import pytest

from geoseg.cli import main
from geoseg.contract import load_contract
from tests.nn.training_sets import MAKERS, settings, source

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("form", ["voc", "cityscapes"])
def test_the_textbook_run_reports_its_test_loss(form, tmp_path, capsys):
    """U-Net, cross-entropy and Adam, which are the defaults."""
    config = settings(tmp_path, source(form, MAKERS[form](tmp_path / "set")), steps=4)
    assert main(["train", "--config", str(config)]) == 0
    found = re.search(rf"{form}: test loss (\d+\.\d+), mean IoU", capsys.readouterr().out)
    assert found
    loss = load_contract(tmp_path / "model").metrics[form]["loss"]
    assert float(found.group(1)) == loss
    assert 0 < loss < 3


def test_a_wrong_key_is_named(tmp_path, capsys):
    config = settings(tmp_path, source("voc", tmp_path), stepz=3)
    assert main(["train", "--config", str(config)]) == 2
    assert "unknown key 'stepz'" in capsys.readouterr().err


def test_missing_labels_are_said_before_the_first_step(tmp_path, capsys):
    root = MAKERS["voc"](tmp_path / "set")
    (root / "SegmentationClass" / "2007_0.png").unlink()
    assert main(["train", "--config", str(settings(tmp_path, source("voc", root)))]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
