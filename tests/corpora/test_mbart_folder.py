"""Tables of a published mBART folder become JSON; a pickle that is more is refused, and nothing is written."""

import collections
import json
import os
import pickle

import pytest

from slt_pipeline.corpora.mbart_folder import import_mbart
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary

IDS = {0: 0, 1: 1, 2: 2, 3: 3, 250003: 4, 71: 5, 9: 6}
GLOSSES = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "regen": 5, "wind": 4}


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.fixture
def folder(tmp_path):
    """`folder(name=content)` pickles each content as name.pkl."""

    def write(**contents):
        for name, content in contents.items():
            (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize("name", ["map_ids", "old2new_vocab"])
def test_the_tables_are_written_beside_the_pickles(folder, name):
    path = folder(**{name: IDS, "gloss2ids": GLOSSES})
    report = import_mbart(path)
    assert json.loads((path / "map_ids.json").read_text()) == {str(old): new for old, new in IDS.items()}
    assert GlossVocabulary.load(path / "gloss2ids.json").encode(["REGEN", "WIND", "SCHNEE"]) == [5, 4, 3]
    assert report.lines() == [f"{path / 'map_ids.json'}: 7 ids", f"{path / 'gloss2ids.json'}: 6 ids"]


def test_a_table_that_says_something_else_is_replaced_only_with_overwrite(folder):
    path = folder(map_ids=IDS, gloss2ids=GLOSSES)
    (path / "gloss2ids.json").write_text(json.dumps({"other": 0}))
    with pytest.raises(SltError, match=r"gloss2ids\.json is there and says something else .* add --overwrite"):
        import_mbart(path)
    assert not (path / "map_ids.json").exists()
    import_mbart(path, overwrite=True)
    assert json.loads((path / "gloss2ids.json").read_text()) == GLOSSES
    (path / "gloss2ids.json").write_text(json.dumps(GLOSSES, indent=2))
    assert import_mbart(path).lines() == [f"{path / 'map_ids.json'}: 7 ids", f"{path / 'gloss2ids.json'}: 6 ids"]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"map_ids": Malicious()}, r"map_ids\.pkl: refused: it asks for posix\.mkdir; only plain data"),
        ({"map_ids": IDS, "gloss2ids": {"a": Malicious()}}, r"gloss2ids\.pkl: refused: it asks for posix\.mkdir"),
        ({"map_ids": collections.Counter("ab")}, r"map_ids\.pkl: refused: it asks for collections\.Counter"),
        ({"map_ids": [1, 2]}, r"map_ids\.pkl: expected a table int -> id, found list"),
        ({"map_ids": {"0": 0}}, r"expected a table int -> id, found '0' -> 0"),
        ({"map_ids": {**IDS, 0: 1, 1: 0}}, r"map_ids\.pkl: special id 0 became 1"),
        ({"map_ids": {**IDS, 9: 60}}, r"map_ids\.pkl: the 7 new ids are not 0\.\.6, each once"),
        ({"map_ids": IDS, "gloss2ids": {"a": True}}, r"gloss2ids\.pkl: expected a table str -> id, found 'a' -> True"),
        ({"map_ids": IDS, "gloss2ids": {**GLOSSES, "wind": 5}}, "do not have the ids 0..5, each once"),
        ({}, r"neither map_ids\.pkl, old2new_vocab\.pkl nor gloss2ids\.pkl"),
    ],
    ids=range(10),
)
def test_what_is_no_table_is_refused_and_nothing_is_written(folder, contents, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path = folder(**contents)
    with pytest.raises(SltError, match=message):
        import_mbart(path)
    assert sorted(p.name for p in path.iterdir()) == sorted(f"{name}.pkl" for name in contents)
