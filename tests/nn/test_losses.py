"""Losses: partial labels against a merged softmax by hand, and known values."""

import pytest
import torch
from torch.nn import functional

from geoseg.nn.data_sources import IGNORE
from geoseg.nn.losses import WeightedLoss, merge_unlabelled

ALL = torch.ones(2, 4, dtype=torch.bool)
BUILDINGS = torch.tensor([[True, True, False, False]] * 2)
NAMES = ["cross_entropy", "focal", "dice", "lovasz"]


@pytest.fixture
def logits():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()


def label(high=4):
    return torch.randint(0, high, (2, 8, 8), generator=torch.Generator().manual_seed(2))


def test_cross_entropy_with_all_classes_is_pytorchs(logits):
    expected = functional.cross_entropy(logits, label())
    torch.testing.assert_close(
        WeightedLoss({"cross_entropy": 1.0})(logits, label(), ALL).double(), expected, rtol=1e-5, atol=1e-6
    )


def test_unlabelled_classes_join_the_background(logits):
    p = logits.softmax(1)
    merged = merge_unlabelled(logits, BUILDINGS, label(2)).exp().double()
    torch.testing.assert_close(merged[:, 0], p[:, 0] + p[:, 2] + p[:, 3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(merged[:, 1], p[:, 1], rtol=1e-5, atol=1e-6)
    assert merged[:, 2:].max() < 1e-9


def test_each_sample_is_merged_by_its_own_source(logits):
    known = torch.stack([ALL[0], BUILDINGS[0]])
    merged = merge_unlabelled(logits, known, label(2)).double()
    torch.testing.assert_close(merged[0], functional.log_softmax(logits, 1)[0], rtol=1e-5, atol=1e-5)
    assert merged[1, 2:].exp().max() < 1e-9


def test_not_a_building_says_nothing_about_road_or_green(logits):
    nothing = torch.zeros(2, 8, 8, dtype=torch.int64)
    WeightedLoss({"cross_entropy": 1.0})(logits, nothing, BUILDINGS).backward()
    # Up for background, road and green in the proportion the model already sees; their ratio is not changed.
    p = logits.detach().softmax(1)
    share = logits.grad / p
    torch.testing.assert_close(share[:, 2], share[:, 0], rtol=1e-4, atol=1e-7)
    assert (logits.grad[:, 1] > 0).all()
    assert (logits.grad[:, [0, 2, 3]] < 0).all()


def test_what_is_drawn_of_a_class_that_is_not_labelled_throughout_counts(logits):
    drawn = label(2)
    drawn[:, 2:4] = 3
    drawn[:, 7] = IGNORE
    WeightedLoss({"cross_entropy": 1.0})(logits, drawn, BUILDINGS).backward()
    assert (logits.grad[:, 3, 2:4] < 0).all()
    assert (logits.grad[:, :3, 2:4] > 0).all()
    assert (logits.grad[:, 3][drawn == 0] < 0).all()
    assert (logits.grad[:, :, 7] == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("known", "classes"), [(ALL, 4), (BUILDINGS, 2)])
def test_every_loss_falls_to_nothing_with_certainty(name, known, classes):
    truth = label(classes)
    right = 20.0 * functional.one_hot(truth, 4).permute(0, 3, 1, 2).float()
    wrong = right.roll(1, dims=3)
    loss = WeightedLoss({name: 1.0})
    assert loss(right, truth, known) < 1e-3
    assert loss(wrong, truth, known) > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_change_nothing(name, logits):
    truth = label()
    truth[:, :4] = IGNORE
    loss = WeightedLoss({name: 1.0})
    changed = logits.detach().clone()
    changed[:, :, :4] = torch.randn(2, 4, 4, 8)
    torch.testing.assert_close(loss(logits, truth, ALL), loss(changed, truth, ALL))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_labels_costs_nothing(name, logits):
    loss = WeightedLoss({name: 1.0})(logits, torch.full((2, 8, 8), IGNORE), ALL)
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


def test_losses_add_up_by_their_weights(logits):
    parts = [WeightedLoss({n: 1.0})(logits, label(), ALL) for n in ("cross_entropy", "dice")]
    both = WeightedLoss({"cross_entropy": 2.0, "dice": 0.5})(logits, label(), ALL)
    torch.testing.assert_close(both, 2 * parts[0] + 0.5 * parts[1])


def test_class_weights_are_pytorchs(logits):
    weights = torch.tensor((0.1, 1.0, 2.0, 3.0))
    expected = functional.cross_entropy(logits, label(), weights.double(), ignore_index=IGNORE)
    got = WeightedLoss({"cross_entropy": 1.0})(logits, label(), ALL, weights.expand(len(logits), -1))
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


def test_samples_weigh_their_classes_each_by_its_own_weights(logits):
    weights = torch.tensor([[0.1, 1.0, 2.0, 3.0], [1.0, 0.5, 4.0, 0.2]])
    own = [
        functional.cross_entropy(logits[i : i + 1], label()[i : i + 1], w, ignore_index=IGNORE, reduction="sum")
        for i, w in enumerate(weights.double())
    ]
    drawn = [w[label()[i][label()[i] != IGNORE]].sum() for i, w in enumerate(weights.double())]
    got = WeightedLoss({"cross_entropy": 1.0})(logits, label(), ALL, weights)
    torch.testing.assert_close(got.double(), sum(own) / sum(drawn), rtol=1e-5, atol=1e-6)


def test_focal_is_cross_entropy_times_the_squared_doubt(logits):
    log_p = functional.log_softmax(logits, 1).gather(1, label()[:, None])
    expected = -((1 - log_p.exp()) ** 2 * log_p).mean()
    torch.testing.assert_close(
        WeightedLoss({"focal": 1.0})(logits, label(), ALL).double(), expected, rtol=1e-5, atol=1e-6
    )
