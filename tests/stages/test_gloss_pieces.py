"""Gloss2Text of the paper's form: glosses enter as the pieces of their names, through mBART's text embedding."""

import pytest
import torch
from stage_tools import CPU, change_json, refusal, trainable_of

from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.systems.translator import open_gloss2text

PIECES = {"translator__gloss_input": "pieces"}


@pytest.fixture
def paper(toy, tmp_path):
    """The toy system with a language model of that form, in runs of its own."""
    uses = f"{{encoder: {toy.root}/runs/toy}}"
    return toy.recipe(runs_dir=tmp_path / "runs", uses=uses, **PIECES)


def test_a_sentence_of_glosses_is_its_pieces_and_the_suffix(toy, paper, monkeypatch):
    model = trainable_of(monkeypatch, lambda: gloss2text_train(paper, device="cpu")).model.eval()
    opened = open_gloss2text(toy.recipe(), CPU)
    pieces, mbart = opened.vocabularies.gloss_reader("pieces"), model.mbart
    batch = pieces.encode([("REGEN", "NORD")])
    found = model.source(batch)
    steps = pieces.length(("REGEN", "NORD"))
    assert found.vectors.shape[1] == steps + 2 and steps > 2
    by_mbart = mbart.model.shared(batch["gloss_piece_ids"])  # scales by itself
    assert torch.allclose(found.vectors[:, :steps], by_mbart)
    language = model.gloss_table.weight[opened.vocabularies.glosses.id_of("de_DGS")]
    assert torch.allclose(found.vectors[0, -1], language * model.scale)


def test_a_translator_starts_from_it_and_all_tasks_open(paper, stages):
    stages["gloss2text_train"](paper, device="cpu")
    stages["translate_train"](paper, device="cpu")
    found = {row["task"] for row in stages["evaluate"](paper, device="cpu")["rows"]}
    assert found == {"sign2gloss", "gloss2text", "sign2gloss2text", "sign2text"}


def test_a_gloss_that_training_has_not_is_read_by_its_pieces(paper, stages):
    stages["gloss2text_train"](paper, device="cpu")
    opened = open_gloss2text(paper, CPU)
    ids = opened.reader.encode([("REGENWOLKE", "regenwolke")])["gloss_piece_ids"][0].tolist()
    assert opened.vocabularies.text.unk_id not in ids
    assert ids[: len(ids) // 2] == ids[len(ids) // 2 :]


def test_a_language_model_of_one_form_does_not_open_as_the_other(own):
    assert "gloss_input = 'vectors', but now it is 'pieces'" in refusal(gloss2text_train, own.recipe(**PIECES))
    message = "made with language_model.gloss_input = 'vectors', but now it is 'pieces'"
    with pytest.raises(Exception, match=message):
        open_gloss2text(own.recipe(**PIECES), CPU)


def test_a_run_of_before_there_was_a_choice_opens_as_the_published_form(own):
    inputs = own.recipe().run_folder("gloss2text_train") / "inputs.json"
    change_json(inputs, lambda data: data.pop("language_model.gloss_input"))
    assert open_gloss2text(own.recipe(), CPU).model.config.gloss_input == "vectors"
    assert gloss2text_train(own.recipe(), device="cpu") == own.results["gloss2text_train"]
    message = "made with language_model.gloss_input = 'vectors', but now it is 'pieces'"
    with pytest.raises(Exception, match=message):
        open_gloss2text(own.recipe(**PIECES), CPU)
