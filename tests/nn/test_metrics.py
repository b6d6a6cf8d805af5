"""Scores against a count pixel by pixel, and partial sources."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from geoseg.nn.data_sources import IGNORE
from geoseg.nn.metrics import merged, scores

NAMES = ["background", "building", "road", "green"]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 500)
    return torch.from_numpy(np.where(rng.random(500) < 0.7, truth, rng.integers(0, 4, 500))), torch.from_numpy(truth)


def test_scores_equal_torchmetrics(pair):
    got = scores(multiclass_confusion_matrix(*pair, 4), NAMES, [True] * 4)
    oracles = {
        "iou": multiclass_jaccard_index,
        "f1": multiclass_f1_score,
        "precision": multiclass_precision,
        "recall": multiclass_recall,
    }
    for metric, oracle in oracles.items():
        expected = oracle(*pair, num_classes=4, average=None).tolist()
        assert [got["classes"][n][metric] for n in NAMES] == pytest.approx(expected, abs=1e-4)
    assert got["accuracy"] == pytest.approx(float((pair[0] == pair[1]).double().mean()), abs=1e-4)
    assert got["pixels"] == 500


def test_a_partial_source_scores_its_classes_only():
    m = torch.tensor([[50, 5, 0, 0], [10, 35, 0, 0], [0] * 4, [0] * 4])
    got = scores(m, NAMES, [True, True, False, False])
    assert list(got["classes"]) == ["building"]
    assert got["classes"]["building"]["iou"] == pytest.approx(35 / 50)
    assert got["mean_iou"] == pytest.approx(0.7)


def test_a_class_neither_there_nor_predicted_has_no_score():
    got = scores(torch.tensor([[5, 0, 0, 0], [0, 5, 0, 0], [0] * 4, [0] * 4]), NAMES, [True] * 4)
    assert list(got["classes"]) == ["background", "building"]
    assert got["mean_iou"] == 1.0


def test_merged_turns_unlabelled_classes_into_background():
    predicted = torch.tensor([[[0, 1], [2, 3]]] * 2)
    known = torch.tensor([[True, True, False, False], [True] * 4])
    nothing = torch.zeros_like(predicted)
    assert merged(predicted, nothing, known).tolist() == [[[0, 1], [0, 0]], [[0, 1], [2, 3]]]


def test_merged_keeps_them_where_the_source_draws_them():
    predicted = torch.tensor([[[3, 1], [2, 3]]])
    label = torch.tensor([[[3, 3], [0, IGNORE]]])
    known = torch.tensor([[True, True, False, False]])
    assert merged(predicted, label, known).tolist() == [[[3, 1], [0, 0]]]
