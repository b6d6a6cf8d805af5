"""From what the user named to files, each once and each with a name of its own."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ConfigError
from geoseg.run.find import find_files, name_scenes


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def names_in(tmp_path, *inputs):
    found = find_files(tuple(str(tmp_path / i) for i in inputs))
    return [str(p.relative_to(tmp_path)) for p in found]


def test_folders_are_searched_for_geotiffs_of_any_case(tmp_path):
    touch(tmp_path, "in/a.tif", "in/B.TIFF", "in/deep/c.Tif", "in/d.png", "in/e.tif.ovr", "in/f.tif.aux.xml")
    assert names_in(tmp_path, "in") == ["in/B.TIFF", "in/a.tif", "in/deep/c.Tif"]


def test_hidden_files_are_not_searched_but_taken_when_named(tmp_path):
    touch(tmp_path, "in/a.tif", "in/._a.tif", "in/.trash/b.tif")
    assert names_in(tmp_path, "in") == ["in/a.tif"]
    assert names_in(tmp_path, "in/._a.tif", "in/.trash") == ["in/._a.tif", "in/.trash/b.tif"]


def test_what_cannot_be_opened_is_found_all_the_same(tmp_path):
    """It is refused by name later; left out here it would be a hole that nobody sees."""
    touch(tmp_path, "in/a.tif", "in/folder.tif/b.tif")
    os.mkfifo(tmp_path / "in/pipe.tif")
    (tmp_path / "in/broken.tif").symlink_to("nowhere")
    (tmp_path / "in/loop.tif").symlink_to("loop.tif")
    assert names_in(tmp_path, "in") == [
        "in/a.tif",
        "in/broken.tif",
        "in/folder.tif/b.tif",
        "in/loop.tif",
        "in/pipe.tif",
    ]
    assert names_in(tmp_path, "in/loop.tif", "in/broken.tif") == ["in/broken.tif", "in/loop.tif"]


def test_each_file_once(tmp_path, monkeypatch):
    touch(tmp_path, "in/a.tif", "in/b.tif")
    (tmp_path / "in/link.tif").symlink_to("a.tif")
    monkeypatch.chdir(tmp_path)
    assert len(find_files(("in", "in/a.tif", "in/*.tif", str(tmp_path / "in"), "./in/../in/b.tif"))) == 2


def test_globs(tmp_path):
    touch(tmp_path, "in/a1.tif", "in/a2.tif", "in/b.tif", "in/x/y/c.tif", "in/odd[1].tif")
    assert names_in(tmp_path, "in/a*.tif") == ["in/a1.tif", "in/a2.tif"]
    assert names_in(tmp_path, "in/**/c.tif") == ["in/x/y/c.tif"]
    assert names_in(tmp_path, "in/odd[1].tif") == ["in/odd[1].tif"]
    assert names_in(tmp_path, "i*") == names_in(tmp_path, "in")


@pytest.mark.parametrize("missing", ["nowhere", "nowhere.tif", "*.tif", "empty", "/vsicurl/https://x.org/a.tif"])
def test_an_input_that_names_nothing(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "in/a.tif")
    with pytest.raises(ConfigError, match=r"names no GeoTIFF .*give a file, a folder or a glob that exists"):
        names_in(tmp_path, "in", missing)
    with pytest.raises(ConfigError, match="no input: name files"):
        find_files(())


def test_a_folder_that_may_not_be_searched(tmp_path, monkeypatch):
    touch(tmp_path, "in/a.tif", "in/secret/b.tif")
    (tmp_path / "in/secret").chmod(0)
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    me = os.geteuid()
    if me == 0:  # root may read everything; nobody may not
        os.seteuid(65534)
    try:
        with pytest.raises(
            ConfigError, match=r"in/secret: the folder cannot be searched .Permission denied.*who may read it"
        ):
            find_files(("in",))
        with pytest.raises(ConfigError, match=r"b\.tif: cannot be reached .Permission denied.*who may read it"):
            find_files(("in/secret/b.tif",))
    finally:
        os.seteuid(me)
        (tmp_path / "in/secret").chmod(0o700)


def test_outputs_of_an_earlier_run_are_no_inputs(tmp_path):
    touch(
        tmp_path,
        "a.tif",
        "a_classes.tif",
        "a_confidence.tif",
        "b_classes.tif",
        ".geoseg/a/00000.tif",
        "in/a_classes.tif",
    )
    assert names_in(tmp_path, ".") == ["a.tif", "b_classes.tif", "in/a_classes.tif"]


def test_same_stem_in_different_folders(tmp_path):
    touch(tmp_path, "2019/x.tif", "2020/x.tif", "2020/y.tif", "2020/X.tiff")
    files = find_files((str(tmp_path),))
    names = name_scenes(files)
    lower = [n.lower() for n in names.values()]
    assert len(set(lower)) == 4
    assert names[tmp_path / "2020/y.tif"] == "y"
    assert names[tmp_path / "2019/x.tif"] == "2019_x"


def test_long_names_leave_room_for_suffixes(tmp_path):
    files = [tmp_path / f"{'画' * 83}{i}.tif" for i in range(2)]
    names = name_scenes(files)
    assert len(set(names.values())) == 2
    for name in names.values():
        (tmp_path / f".{name}_confidence.tif.aux.xml.some-long-host.example.org-12345.tmp.tif").touch()


def can_be_a_name(text):
    """Of the surrogates, file names have those alone that stand for bytes that are no UTF-8."""
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", codec=None), min_size=1, max_size=40).filter(can_be_a_name),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_any_name_becomes_a_visible_file_name_of_its_own(texts):
    files = [Path("/data", f"{i}", f"{text}.tif") for i, text in enumerate(texts)]
    names = name_scenes(files)
    assert len({n.lower() for n in names.values()}) == len(files)
    for name in names.values():
        assert name.isprintable()
        assert not name.startswith(".")
        assert not set(name) & set('\\/:*?"<>|')
        assert len(name.encode()) <= 160
