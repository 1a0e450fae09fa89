"""Labellers: clips to the tensors that models look for in a batch."""

import pickle
from dataclasses import replace

import pytest
import torch

from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.labels import GlossInputs, GlossLabels, Labels, TextLabels, no_labels
from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.train_tokenizer import train_tokenizer

CLIPS = [
    Clip("a", "a.mp4", 8, 25.0, "anna", ("REGEN", "NORD"), "im norden regen .", "train"),
    Clip("b", "b.mp4", 8, 25.0, "anna", ("WIND",), "wind .", "train"),
    Clip("c", "c.mp4", 8, 25.0, "anna", (), "", "train"),
]
BARE = replace(CLIPS[1], id="d", gloss=None, text=None)
TOKENIZER = train_tokenizer([clip.text or "" for clip in CLIPS])
CLASSES = GlossVocabulary.build([clip.gloss for clip in CLIPS])
GLOSSES = GlossVocabulary.build([clip.gloss for clip in CLIPS], "translation")
ALL = Labels(TextLabels(TOKENIZER), GlossLabels(CLASSES), GlossInputs(GLOSSES))


def test_texts_become_what_the_decoder_learns():
    found, want = TextLabels(TOKENIZER)(CLIPS), TOKENIZER.encode_target([clip.text for clip in CLIPS])
    assert found.keys() == {"labels", "decoder_input_ids"}
    assert torch.equal(found["labels"], want.labels)
    assert torch.equal(found["decoder_input_ids"], want.decoder_input_ids)


def test_neither_absent_nor_empty_glosses_are_labels():
    found = GlossLabels(CLASSES)([*CLIPS, BARE])
    assert found["gloss_label_lengths"].tolist() == [2, 1, -1, -1]
    assert found["gloss_labels"][0].tolist() == CLASSES.encode(("REGEN", "NORD"))
    nothing = GlossLabels(CLASSES)([BARE])
    assert (nothing["gloss_labels"].shape, nothing["gloss_label_lengths"].tolist()) == ((1, 0), [-1])


def test_gloss_inputs_are_rows_of_the_gloss_table_for_clips_and_for_decoded_glosses():
    found = GlossInputs(GLOSSES)(CLIPS)
    assert found["gloss_input_lengths"].tolist() == [2, 1, 0]
    assert found["gloss_input_ids"].tolist()[1] == [GLOSSES.id_of("wind"), GLOSSES.pad_id]
    again = GlossInputs(GLOSSES).encode([clip.gloss or () for clip in CLIPS])
    assert all(torch.equal(again[name], found[name]) for name in found)


@pytest.mark.parametrize(("labeller", "name"), [(TextLabels(TOKENIZER), "text"), (GlossInputs(GLOSSES), "gloss")])
def test_a_clip_without_what_is_read_is_refused_by_name(labeller, name):
    with pytest.raises(SltError, match=rf"clip d has no {name}"):
        labeller([*CLIPS, BARE])


def test_several_labellers_are_one_and_none_is_one_too():
    found = ALL(CLIPS)
    for labeller in ALL.labellers:
        for key, tensor in labeller(CLIPS).items():
            assert torch.equal(found.pop(key), tensor)
    assert found == {}
    assert Labels()(CLIPS) == no_labels(CLIPS) == {}


def test_loader_processes_can_have_them():
    copy = pickle.loads(pickle.dumps(ALL))  # noqa: S301
    assert all(torch.equal(copy(CLIPS)[name], tensor) for name, tensor in ALL(CLIPS).items())
