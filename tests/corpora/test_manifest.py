"""Text and glosses of a manifest are in NFC, whoever wrote it; names of files are not touched."""

import json
import unicodedata

import pytest

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import read_manifest, write_manifest
from slt_pipeline.corpora.stats import corpus_stats


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize("escaped", [False, True])
def test_text_and_glosses_are_read_in_nfc(tmp_path, escaped):
    row = {"id": decomposed("ä"), "video": decomposed("ü.mp4"), "num_frames": 8, "fps": 25.0, "signer": "x"}
    row |= {"gloss": [decomposed("FÜNF")], "text": decomposed("es wird schön ."), "split": "train"}
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=escaped) + "\n", encoding="utf-8")
    (clip,) = read_manifest(path)
    assert (clip.gloss, clip.text) == (("FÜNF",), "es wird schön .")
    assert (clip.id, clip.video) == (row["id"], row["video"])


def test_text_and_glosses_are_written_in_nfc(tmp_path):
    path = tmp_path / "sub" / "m.jsonl"
    clip = Clip("a", decomposed("ü.mp4"), 8, 25.0, "x", (decomposed("FÜNF"), "GRAD"), decomposed("schön"), "train")
    write_manifest(path, [clip, Clip("b", "b.mp4", 8, 25.0, "x", None, None, "train")])
    first, second = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (first["gloss"], first["text"], first["video"]) == (["FÜNF", "GRAD"], "schön", decomposed("ü.mp4"))
    assert (second["gloss"], second["text"]) == (None, None)


def test_glosses_that_read_alike_are_counted_once(tmp_path):
    glosses = (("FÜNF",), (decomposed("FÜNF"),))
    clips = [Clip(str(n), "v", 8, 25.0, "x", gloss, None, "train") for n, gloss in enumerate(glosses)]
    write_manifest(tmp_path / "m.jsonl", clips)
    assert corpus_stats(read_manifest(tmp_path / "m.jsonl"))["train"].gloss_types == 1
