"""Buildings squared with their block are those that the scene would have squared."""

from dataclasses import replace

import numpy as np
import pytest
from rasters import make_job, town
from test_vectorize import layers, same, terrace

from geoseg.legend import DEFAULT_LEGEND, Legend
from geoseg.vector.parts import NO_SQUARES, load_borders, load_pieces, load_squares, load_table, save
from geoseg.vector.settings import VectorSettings
from geoseg.vector.vectorize import block_rows, vectorize_block_row


def without_squares(job, parts):
    """The same parts as if no building had been squared yet."""
    for path in parts:
        save(path, load_table(path), load_borders(path), load_pieces(path), NO_SQUARES)
    return layers(job, parts)


@pytest.mark.parametrize("block", [170, 700])
def test_it_does_not_matter_who_squares_a_building(tmp_path, block):
    classes, confidence = town(700, seed=4)
    classes[300:340, 200:260] = 255
    job = make_job(tmp_path, classes, confidence, how=VectorSettings(block_rows=block))
    parts = [vectorize_block_row(job, i) for i in range(block_rows(job))]
    squares = [load_squares(path) for path in parts]
    found = layers(job, parts)
    assert sum(len(s.region) for s in squares) > 0.4 * len(found["buildings"])
    assert sum(np.count_nonzero(s.there) for s in squares) > 15
    assert same(found, without_squares(job, parts))


def test_holes_with_features_in_them_are_kept_by_both(tmp_path):
    """A courtyard with a shed, one with a speck and one of nodata, in a block of many."""
    classes = np.zeros((400, 200), np.uint8)
    classes[120:280, 30:170] = 1
    classes[140:180, 60:100] = 0
    classes[155:165, 75:85] = 1
    classes[200:206, 60:66] = 0
    classes[202, 62] = 3
    classes[240:246, 100:106] = 255
    job = make_job(tmp_path, classes, how=VectorSettings(block_rows=300))
    parts = [vectorize_block_row(job, i) for i in range(block_rows(job))]
    assert len(load_squares(parts[0]).region) == 2
    assert same(layers(job, parts), without_squares(job, parts))


def test_rows_of_houses_and_houses_at_seams_are_left_to_the_scene(tmp_path):
    classes, _ = terrace(0)
    classes[10:40, 40:90] = 1
    classes[50:90, 200:240] = 1
    brick, timber = (replace(c, rule="building", layer="buildings") for c in list(DEFAULT_LEGEND)[:2])
    job = make_job(tmp_path, classes, how=VectorSettings(block_rows=70), legend=Legend((brick, timber)))
    parts = [vectorize_block_row(job, i) for i in range(block_rows(job))]
    assert [len(load_squares(path).region) for path in parts] == [1, 0, 0, 0]
    assert same(layers(job, parts), without_squares(job, parts))
