"""The loop: it learns, resumes, starts from a model, and leaves what it promises."""

import csv
import errno
import json
import pickle
import signal
from typing import ClassVar

import lightning.pytorch as pl
import pytest
import rasterio
import torch
from safetensors.torch import save_file

from geoseg.contract import DEFAULT_MODEL, load_contract
from geoseg.errors import ConfigError, DiskFull, ModelError, TrainingError
from geoseg.nn.architectures import build
from geoseg.nn.data import Window
from geoseg.nn.data_sources import IGNORE
from geoseg.nn.device import choose_device, choose_precision
from geoseg.nn.modeldir import load_model
from geoseg.nn.resume import _digest_of_settings
from geoseg.nn.task import SegmentationTask, _rate, initial_model, limit_kernels, load_encoder
from geoseg.nn.train import lightning_precision, train
from geoseg.train_config import Optimization, load_train_config
from tests.nn.training_sets import MAKERS, settings, source

SLOWLY = {"learning_rate": 2e-3, "warmup_steps": 10}
"""So that what is learnt does not hang on how a CPU rounds."""

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = {"encoder": "tu-mobilenetv3_small_050", "settings": {"decoder_channels": [32, 16, 16, 8, 8]}}


def config(folder, form="rasters", **changes):
    root = folder / "set"
    if not root.exists():
        MAKERS[form](root)
    return load_train_config(settings(folder, source(form, root), **changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    settings_ = config(
        folder, steps=160, steps_per_epoch=80, batch=4, optimization=SLOWLY, limits="It knows squares only."
    )
    return settings_, train(settings_)


def test_it_learns_squares(trained):
    _, model_dir = trained
    metrics = load_contract(model_dir).metrics["rasters"]
    assert metrics["mean_iou"] > 0.5
    assert metrics["loss"] < 0.6


def test_what_a_run_leaves(trained):
    settings_, model_dir = trained
    contract = load_contract(model_dir)
    assert contract.sources[0].pixels == 2 * 96 * 96
    assert contract.metrics == json.loads((settings_.run_dir / "metrics.json").read_text())
    assert "It knows squares only." in (model_dir / "README.md").read_text()
    for name in ("examples.png", "curves.png"):
        assert (settings_.run_dir / name).stat().st_size > 1000
    with (settings_.run_dir / "curves" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["rasters/building"] != "" for r in rows].count(True) == 2
    assert load_model(model_dir)(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 64, 64)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    whole = train(config(one, optimization={"schedule": "constant", "warmup_steps": 0}))
    train(config(two, optimization={"schedule": "constant", "warmup_steps": 0}, steps=4))
    resumed = train(config(two, optimization={"schedule": "constant", "warmup_steps": 0}))
    assert _steps(two) == _steps(one) == 8
    assert {p.name for p in (two / "run/curves").glob("*.csv")} == {"before-001.csv", "metrics.csv"}
    a, b = torch.load(one / "run/last.ckpt"), torch.load(two / "run/last.ckpt")
    for name, tensor in a["state_dict"].items():
        torch.testing.assert_close(tensor, b["state_dict"][name], rtol=1e-4, atol=1e-5)
    assert load_contract(whole).legend == load_contract(resumed).legend
    # Nothing is left to do: its curves stay what they are.
    curves = {p.name: p.read_bytes() for p in (two / "run/curves").glob("*.csv")}
    train(config(two, optimization={"schedule": "constant", "warmup_steps": 0}))
    assert {p.name: p.read_bytes() for p in (two / "run/curves").glob("*.csv")} == curves


def relabelled(folder):
    """All labels of the set above turned round."""
    for path in (folder / "set" / "labels").glob("*.tif"):
        with rasterio.open(path, "r+") as dst:
            dst.write(3 - dst.read())


def weights(model_dir):
    return load_contract(model_dir).weights_sha256


def test_a_training_that_is_over_is_repeated_when_its_labels_have_changed(tmp_path, capsys):
    first = weights(train(config(tmp_path)))
    assert weights(train(config(tmp_path, workers=0, threads=1))) == first
    assert "its 8 steps are done" in capsys.readouterr().err
    relabelled(tmp_path)
    assert weights(train(config(tmp_path))) != first
    assert _steps(tmp_path) == 8
    assert "are done" not in capsys.readouterr().err


def test_what_a_training_starts_from_belongs_to_its_settings(trained, tmp_path):
    encoder = tmp_path / "encoder.safetensors"
    config_ = config(tmp_path)
    found = {_digest_of_settings(config_)}
    for weights_ in (b"one", b"two"):
        encoder.write_bytes(weights_)
        found.add(
            _digest_of_settings(
                config_.model_copy(update={"model": config_.model.model_copy(update={"encoder_weights": encoder})})
            )
        )
    found.add(
        _digest_of_settings(
            config_.model_copy(update={"model": config_.model.model_copy(update={"start_from": trained[1]})})
        )
    )
    assert len(found) == 4


def test_an_interrupted_training_does_not_go_on_with_other_data(tmp_path):
    train(config(tmp_path, steps=4))
    record = tmp_path / "run" / "training.json"
    record.write_text(record.read_text().replace("true", "false"))  # as a kill leaves it
    relabelled(tmp_path)
    with pytest.raises(TrainingError, match=r"other data .* --fresh"):
        train(config(tmp_path))
    train(config(tmp_path), resume=False)
    assert _steps(tmp_path) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"optimization": {"optimizer": "sgd"}},
        {"optimization": {"learning_rate": 1e-4}},
        {"model": {"encoder": "resnet18"}},
    ],
)
def test_an_interrupted_training_does_not_go_on_with_another_network_or_optimizer(changes, tmp_path):
    train(config(tmp_path, steps=4))
    record = tmp_path / "run" / "training.json"
    record.write_text(record.read_text().replace("true", "false"))
    with pytest.raises(TrainingError, match=r"another `model`, `optimization`.* --fresh"):
        train(config(tmp_path, **changes))
    train(config(tmp_path, augment={"color": 0.1}))  # what else has changed does no harm
    assert _steps(tmp_path) == 8


def test_ctrl_c_ends_a_training_as_it_ends_everything_else(tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "on_train_epoch_end", pressed)
        with pytest.raises(KeyboardInterrupt):
            train(config(tmp_path))
    assert signal.getsignal(signal.SIGINT) is before
    train(config(tmp_path))
    assert _steps(tmp_path) == 8


class Scripted(SegmentationTask):
    """Its mean IoU is what the test says, one number for each epoch."""

    scores: ClassVar[list[float]] = []

    def log(self, name, value, **more):
        super().log(name, self.scores[self.current_epoch] if name == "mean_iou" else value, **more)


def best_epoch(folder):
    return torch.load(folder / "run" / "best.ckpt")["epoch"]


def test_a_resumed_run_knows_the_best_of_before_and_keeps_its_patience(tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.nn.train.SegmentationTask", Scripted)
    monkeypatch.setattr(Scripted, "scores", [0.5, 0.6, 0.55, 0.54, 0.7, 0.8])
    train(config(tmp_path, steps=8, patience=9))
    train(config(tmp_path, steps=12, patience=9))
    assert best_epoch(tmp_path) == 1
    train(config(tmp_path, steps=24, patience=1))  # epoch 3 is the second in a row that is no better
    assert (_steps(tmp_path), best_epoch(tmp_path)) == (16, 1)
    train(config(tmp_path, steps=24, patience=5))
    assert (_steps(tmp_path), best_epoch(tmp_path)) == (24, 5)


@pytest.mark.parametrize("wrong", [{"encoder": "resnet43"}, TINY | {"encoder_weights": "none.safetensors"}])
def test_a_mistake_in_the_network_removes_no_checkpoint(tmp_path, wrong):
    train(config(tmp_path, steps=4))
    with pytest.raises(ModelError):
        train(config(tmp_path, steps=4, model=wrong))
    assert _steps(tmp_path) == 4


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    def torn(_, path):
        path.write_bytes(b"torn")
        raise OSError(errno.ENOSPC, "No space left on device")

    train(config(tmp_path, steps=4))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", torn)
        with pytest.raises(DiskFull):
            train(config(tmp_path, steps=8))
    assert _steps(tmp_path) == 4
    assert not [p for p in (tmp_path / "run").iterdir() if ".tmp" in p.name]


def test_averaged_weights_are_those_that_are_saved(tmp_path):
    settings_ = config(tmp_path, optimization={"ema_decay": 0.999, "learning_rate": 1e-2, "warmup_steps": 0})
    start = SegmentationTask(settings_).model.state_dict()["segmentation_head.0.weight"]
    torch.manual_seed(0)
    model_dir = train(settings_)
    checkpoint = torch.load(settings_.run_dir / "best.ckpt")
    average = checkpoint["state_dict"]["model.segmentation_head.0.weight"]
    latest = checkpoint["current_model_state"]["model.segmentation_head.0.weight"]
    assert start.shape == average.shape
    assert not torch.equal(average, latest)
    saved = load_model(model_dir).state_dict()["segmentation_head.0.weight"]
    torch.testing.assert_close(saved, average, rtol=1e-3, atol=1e-4)


def test_training_goes_on_from_a_model_directory(trained, tmp_path):
    _, model_dir = trained
    optimization = {"learning_rate": 1e-5, "warmup_steps": 0}
    again = train(config(tmp_path, model={"start_from": str(model_dir)}, steps=4, optimization=optimization))
    before, after = (dict(load_model(folder).named_parameters()) for folder in (model_dir, again))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", ["voc", "cityscapes", "vectors"])
def test_other_forms_train_and_report_their_test_loss(form, tmp_path):
    model_dir = train(config(tmp_path, form, steps=2, steps_per_epoch=2))
    assert load_contract(model_dir).metrics[form]["loss"] > 0


@pytest.mark.parametrize("loss", ["focal", "dice", "lovasz"])
def test_every_loss_has_a_finite_gradient(loss, tmp_path):
    settings_ = config(tmp_path, loss={loss: 1.0})
    task = SegmentationTask(settings_)
    known = torch.tensor([[True] * 4, [True, True, False, False]])
    value = task.loss(
        task(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.ones(2, 64, 64, dtype=torch.bool)),
        torch.randint(0, 2, (2, 64, 64)),
        known,
    )
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in task.model.parameters() if p.grad is not None)


def test_schedules():
    cosine = Optimization(schedule="cosine", warmup_steps=10)
    rates = [_rate(s, cosine, 110) for s in range(111)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0, abs=1e-12)
    assert _rate(55, Optimization(schedule="poly", warmup_steps=0), 110) == pytest.approx(0.5**0.9)
    assert _rate(100, Optimization(schedule="constant", warmup_steps=10), 110) == 1


def test_a_start_with_other_classes_is_refused(trained, tmp_path):
    classes = [{"id": 1, "name": "building", "color": "#000000", "layer": "b", "rule": "building"}]
    one = source("voc", MAKERS["voc"](tmp_path / "set")) | {"values": {"building": [1]}}
    path = settings(tmp_path, one, classes=classes, model={"start_from": str(trained[1])})
    with pytest.raises(ModelError, match="its classes are"):
        train(load_train_config(path))


def test_what_is_not_said_is_that_of_the_model_it_starts_from(tmp_path):
    path = settings(tmp_path, source("rasters", tmp_path), model={"start_from": "default"}, tile_size=512)
    values = json.loads(path.read_text())
    del values["pixel_size_m"]
    path.write_text(json.dumps(values))
    read, shipped = load_train_config(path), load_contract(DEFAULT_MODEL)
    assert (read.pixel_size_m, read.scaling, read.legend) == (shipped.pixel_size_m, shipped.scaling, shipped.legend)
    assert read.pixel_size_m.enlarged_to is not None
    assert (read.tile_size, shipped.tile_size) == (512, 1024)


def test_encoder_weights_are_taken_or_refused(tmp_path):
    settings_ = config(tmp_path)
    task = SegmentationTask(settings_)
    encoder = {
        k.removeprefix("model."): torch.full_like(v, 2).contiguous() for k, v in task.model.encoder.state_dict().items()
    }
    save_file(encoder | {"classifier.weight": torch.zeros(3)}, tmp_path / "a.safetensors")
    load_encoder(task.model, tmp_path / "a.safetensors")
    assert all((v == 2).all() for v in task.model.encoder.state_dict().values())
    del encoder["conv_stem.weight"]
    save_file(encoder, tmp_path / "b.safetensors")
    with pytest.raises(ModelError, match="1 are missing"):
        load_encoder(task.model, tmp_path / "b.safetensors")
    save_file(encoder | {"conv_stem.weight": torch.zeros(16, 4, 3, 3)}, tmp_path / "c.safetensors")
    with pytest.raises(ModelError, match=r"conv_stem\.weight is \(16, 4, 3, 3\), but \(16, 3, 3, 3\) is needed"):
        load_encoder(task.model, tmp_path / "c.safetensors")
    with pytest.raises(ModelError, match="FCN has no encoder to fill"):
        load_encoder(build("FCN", {"encoder_name": "resnet50"}), tmp_path / "a.safetensors")


def test_a_checkpoint_cannot_run_code(tmp_path):
    from tests.nn.test_modeldir import Payload

    settings_ = config(tmp_path)
    settings_.run_dir.mkdir()
    (settings_.run_dir / "last.ckpt").write_bytes(pickle.dumps(Payload(tmp_path / "owned")))
    with pytest.raises(Exception, match=r"(?i)weights.only|unpickl"):
        train(settings_)
    assert not (tmp_path / "owned").exists()


def test_steps_that_do_not_fill_epochs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="multiple of steps_per_epoch"):
        config(tmp_path, steps=5)


def _steps(folder):
    return torch.load(folder / "run/last.ckpt")["global_step"]


def test_kernels_are_kept_small_while_they_learn(tmp_path):
    model = {"encoder": "tu-tf_efficientnet_lite0", "settings": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}}
    start = train(config(tmp_path, model=model | {"kernel_limit": 3}, steps=2, steps_per_epoch=2))
    wide = [m.weight for m in load_model(start).modules() if getattr(m, "kernel_size", ()) == (5, 5) and m.groups > 1]
    assert wide
    for weight in wide:
        assert weight[:, :, 1:4, 1:4].all(dim=-1).any()
        assert not weight[:, :, [0, 4]].any()
        assert not weight[..., [0, 4]].any()


@pytest.mark.parametrize("key", ["output", "run_dir"])
def test_a_file_in_the_place_of_a_folder_is_told_before_the_first_step(tmp_path, key):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=rf"must be a folder, but .*/file is none\. Name another with {key}\."):
        train(config(tmp_path, **{key: str(tmp_path / "file" / "x")}))


def test_what_is_no_regular_expression_is_told(tmp_path):
    with pytest.raises(ConfigError, match="is no regular expression"):
        load_train_config(settings(tmp_path, source("rasters", tmp_path) | {"group": r"[\\.tif"}))


def test_kernels_are_kept_small_wherever_the_model_has_moved():
    conv = torch.nn.Conv2d(4, 4, 5, padding=2, groups=4)
    limit_kernels(conv, 3)
    moved = conv.double()  # to a GPU it would be the same
    moved(torch.ones(1, 4, 8, 8, dtype=torch.double)).sum().backward()
    assert moved.weight.grad.dtype == torch.double
    assert not moved.weight.grad[..., [0, 4]].any()
    assert moved.weight.grad[..., 1:4, 1:4].all()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_each_optimizer_learns(optimizer, tmp_path):
    how = {"optimizer": optimizer, "learning_rate": 1e-2, "weight_decay": 1e-3, "warmup_steps": 0, "schedule": "poly"}
    task = SegmentationTask(config(tmp_path, model=TINY, optimization=how))
    batch, losses = noise(), []
    chosen = task.configure_optimizers()["optimizer"]
    assert type(chosen).__name__.lower() == optimizer
    for _ in range(8):
        losses.append(task.loss(task(batch.image, batch.valid), batch.label, batch.known))
        chosen.zero_grad()
        losses[-1].backward()
        chosen.step()
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_is_as_long_as_the_clipped_gradient_allows(tmp_path):
    how = {"optimizer": "sgd", "learning_rate": 1.0, "warmup_steps": 0, "schedule": "constant", "clip_norm": 1e-6}
    one = config(tmp_path, optimization=how, steps=2, steps_per_epoch=2)
    pl.seed_everything(one.seed, workers=True, verbose=False)
    before, after = initial_model(one).state_dict(), load_model(train(one)).state_dict()
    learnt = [n for n in before if n.endswith("weight")]
    assert learnt
    moved = max(float((before[n] - after[n].float()).abs().max()) for n in learnt)
    assert moved < 2e-3  # of the half precision in which models are saved


def test_the_test_loss_is_a_mean_over_pixels(tmp_path):
    """One window with all its pixels and one with four count as what they have."""
    task = SegmentationTask(config(tmp_path, model=TINY)).eval()
    one = noise()
    few = one._replace(label=torch.full_like(one.label, IGNORE))
    few.label[:, :2, :2] = 3
    with torch.no_grad():
        for batch in (one, few):
            task.validation_step(batch._replace(source=torch.zeros(1, dtype=torch.long)), 0)
        parts = [task.loss(task._as_mapped(b), b.label, b.known) for b in (one, few)]
    counts = [256 * 256, 4]
    expected = sum(n * float(p) for n, p in zip(counts, parts, strict=True)) / sum(counts)
    assert float(task.losses[0].compute()) == pytest.approx(expected, rel=1e-5)


def test_batches_that_a_network_cannot_take_are_said_before_anything(tmp_path):
    deep = {"architecture": "DeepLabV3Plus", "encoder": "tu-mobilenetv3_small_050"}
    with pytest.raises(ModelError, match=r"takes no batch of 1 windows of 64 px .* a batch of 2 or more"):
        train(config(tmp_path, model=deep, batch=1))
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_dropout_of_a_step_depends_on_its_number_alone(tmp_path):
    task = SegmentationTask(config(tmp_path, model={"architecture": "FPN", "encoder": "tu-mobilenetv3_small_050"}))
    batch = Window(*(torch.cat([part] * 2) for part in noise()))
    torch.manual_seed(5)
    first = task.training_step(batch, 0)
    again = task.training_step(batch, 0)
    assert float(first) == pytest.approx(float(again), rel=1e-5)


def test_frozen_statistics_stay_while_weights_move(tmp_path):
    start = train(config(tmp_path, steps=2, steps_per_epoch=2))
    (tmp_path / "out").mkdir()
    frozen = {"start_from": str(start), "freeze_norm": True}
    again = config(tmp_path / "out", model=frozen, steps=2, steps_per_epoch=2)
    before, after = load_model(start).state_dict(), load_model(train(again)).state_dict()
    still = [n for n in before if n.endswith(("running_mean", "running_var"))]
    assert still
    assert all(torch.equal(before[n], after[n]) for n in still)
    assert not all(torch.equal(before[n], after[n]) for n in before)


def noise():
    """A batch of one window of noise."""
    pixels = torch.randint(0, 255, (1, 3, 256, 256), generator=torch.manual_seed(1), dtype=torch.uint8)
    valid = torch.ones(1, 256, 256, dtype=torch.bool)
    return Window(pixels, valid.long(), valid[:, 0, :4], torch.zeros(1), valid, torch.ones(1))


def test_the_middle_of_a_window_learns_to_agree_with_it(tmp_path):
    task = SegmentationTask(config(tmp_path, model=TINY | {"freeze_norm": True}))
    batch = noise()
    optimizer = torch.optim.Adam(task.parameters(), 1e-3)
    apart = []
    for _ in range(12):
        apart.append(task._disagreement(batch, task(batch.image, batch.valid)))
        optimizer.zero_grad()
        apart[-1].backward()
        optimizer.step()
    assert 0 < apart[-1] < 0.5 * apart[0], apart


def test_a_network_without_context_has_nothing_to_agree_on(tmp_path):
    task = SegmentationTask(config(tmp_path, model=TINY))
    task.model = torch.nn.Conv2d(3, 4, 1)
    batch = noise()
    assert float(task._disagreement(batch, task(batch.image, batch.valid))) == pytest.approx(0, abs=1e-9)


def test_each_window_is_validated_as_large_as_its_scene_is_mapped(tmp_path):
    task = SegmentationTask(config(tmp_path, model=TINY)).eval()
    one = noise()
    batch = Window(*(torch.cat([part] * 3) for part in one))._replace(enlargement=torch.tensor([1.25, 1, 1.25]))
    with torch.no_grad():
        logits = task._as_mapped(batch)
        for found, factor in zip(logits, (1.25, 1.0, 1.25), strict=True):
            torch.testing.assert_close(found[None], task(one.image, one.valid, factor))
    assert not torch.allclose(logits[0], logits[1])


def test_agreement_needs_room(tmp_path):
    with pytest.raises(ConfigError, match="256"):
        config(tmp_path, agreement=1.0, window_px=128)


def test_without_a_terminal_each_epoch_is_a_line(tmp_path, capsys):
    train(config(tmp_path, steps=4, steps_per_epoch=2))
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("training: step 0 of 4 on ")
    assert [line.split(":")[0] for line in told[1:]] == ["step 2 of 4", "step 4 of 4"]
    assert all("mean IoU" in line and "min left" in line for line in told[1:])
    assert not any("litlogger" in line or "LeafSpec" in line for line in told)


def test_precision_is_what_the_processor_computes_in(tmp_path):
    wanted = {"bfloat16": "bf16-mixed", "float32": "32-true"}
    assert (
        lightning_precision(config(tmp_path, precision="auto"))
        == wanted[choose_precision("auto", choose_device("auto"))]
    )
    assert lightning_precision(config(tmp_path, precision="32")) == "32-true"
    assert lightning_precision(config(tmp_path, precision="bf16")) == "bf16-mixed"
