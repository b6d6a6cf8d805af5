from pathlib import Path

import pytest

from geoseg.config import RunSettings, load_settings
from geoseg.errors import ConfigError
from geoseg.legend import Legend
from geoseg.train_config import load_train_config
from geoseg.vectorize_config import VectorizeSettings, load_vectorize_settings
from geoseg.yaml_file import read_yaml

DEFAULT = Path(__file__).parents[1] / "configs" / "default.yaml"


def test_the_commented_default_is_the_default():
    assert load_settings(DEFAULT, {}) == RunSettings()


def test_the_commented_default_names_every_key():
    def keys(values):
        return {k: keys(v) if isinstance(v, dict) else None for k, v in values.items()}

    assert keys(read_yaml(DEFAULT)) == keys(RunSettings().model_dump())


def test_the_commented_keys_of_vectorize_are_its_keys_and_defaults():
    path = DEFAULT.with_name("vectorize.yaml")
    settings = load_vectorize_settings(path, {})
    assert set(read_yaml(path)) == set(VectorizeSettings.model_fields)
    assert settings == VectorizeSettings(classes=settings.classes, output=settings.output)


def test_options_take_the_place_of_keys(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("tile_size: 512\noverlap: 64\n")
    settings = load_settings(path, {"overlap": 96})
    assert (settings.tile_size, settings.overlap) == (512, 96)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tile_sise: 512", r"c\.yaml: unknown key 'tile_sise'; the nearest known key is 'tile_size'"),
        (
            "tile_sise: 512\nwokers: 2",
            r"'tile_sise'; the nearest known key is 'tile_size'; unknown key 'wokers'; .*'workers'\.$",
        ),
        ("vector: {bilding: {}}", r"unknown key 'vector\.bilding'; the nearest known key is 'building'"),
        ("overlap: 64\noverlap: 32", r"c\.yaml: line 2: duplicate key 'overlap'"),
        ("device: tpu", r"device: input should be 'auto', 'cpu' or 'cuda' \(got 'tpu'\)"),
        ("overlap: 100", "must be 0 or a positive multiple of 32"),
        ("a: &x [1]\nb: *x", "aliases are not allowed"),
        ("- 1", "'key: value' lines are needed"),
        ("output: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("quiet: true\nverbose: true", "exclude each other"),
        ("value_range: [5, 5]", "low < high"),
        ("tile_size: 1000", r"c\.yaml: tile_size is 1000, but must be a positive multiple of 32\.$"),
        ("tile_size: 0", "tile_size is 0"),
        ("overlap: -32", r"overlap is -32, but must be 0 or a positive multiple of 32\.$"),
        ("bands: 1,2,3", r"bands: must be a list, such as \[1, 2, 3\] \(got '1,2,3'\)"),
        ("vector: 5", r"vector: must be `key: value` lines \(got 5\)"),
        ("shard: 3/2", "shard is '3/2', but must be I/N with I from 1 to N"),
        ("shard: x", "shard is 'x', but must be I/N"),
        ("shard: ''", "shard is '', but must be I/N"),
        ("output: {{ out }}", r"c\.yaml: line 1: a key must be a word"),
        ("output: 2024-13-01", r"c\.yaml: holds a value that cannot be .*quote it"),
    ],
)
def test_a_wrong_key_is_named_with_file_and_remedy(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(path, {})


def test_a_wrong_key_of_a_source_is_named_with_the_nearest_of_its_form(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(DEFAULT.with_name("train").joinpath("voc.yaml").read_text().replace("root:", "rot:"))
    with pytest.raises(ConfigError, match=r"unknown key 'sources\.0\.voc\.rot'; the nearest known key is 'root'"):
        load_train_config(path)


def test_one_size_of_a_rule_is_set_alone(tmp_path):
    (tmp_path / "c.yaml").write_text("vector: {building: {min_area_m2: 12}, road: {min_hole_px: 5}}")
    vector, default = load_settings(tmp_path / "c.yaml", {}).vector, RunSettings().vector
    assert vector.building == default.building.model_copy(update={"min_area_m2": 12.0})
    assert vector.road == default.road.model_copy(update={"min_hole_px": 5})


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("wrkers: 2", {"output": "o.gpkg"}, r"c\.yaml: unknown key 'wrkers'"),
        ("workers: -1", {"classes": "c.tif", "output": "o.gpkg"}, r"c\.yaml: workers"),
        ("workers: 1", {"output": "o.gpkg"}, r"c\.yaml: 'classes' is needed"),
        ("workers: -1", {"classes": "c.tif", "output": "o.gpkg", "workers": -2}, r"command line: workers.*got -2"),
    ],
)
def test_an_error_names_the_file_or_the_command_line(tmp_path, text, given, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_vectorize_settings(path, given)


def test_what_contradicts_across_file_and_command_line_names_both(tmp_path):
    (tmp_path / "c.yaml").write_text("quiet: true")
    with pytest.raises(ConfigError, match=r"c\.yaml and the command line: quiet and verbose exclude"):
        load_settings(tmp_path / "c.yaml", {"verbose": True})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 111}, "name of class 1 is 111, but a word is needed"),
        ({"name": ""}, "name of class 1 is ''"),
        ({"color": None}, "class 1 has no color; quote it"),
        ({"layer": 3}, "layer of class 1 is 3"),
        ({"id": "1"}, "class id '1' of 'house' is not a whole number"),
        ({"id": True}, "class id True of 'house' is not a whole number"),
    ],
)
def test_a_class_is_of_a_number_and_words(change, message):
    one = {"id": 1, "name": "house", "color": "#d7301f", "layer": "houses", "rule": "building"}
    with pytest.raises(ConfigError, match=message):
        Legend.from_dict([one | change])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("output: ~/maps\ninputs: [~/imagery]\n")
    settings = load_settings(tmp_path / "c.yaml", {})
    assert (settings.output, settings.inputs) == (tmp_path / "maps", (str(tmp_path / "imagery"),))


def test_a_huge_file_is_no_configuration(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("#" * 2**21)
    with pytest.raises(ConfigError, match="at most"):
        load_settings(path, {})
