"""What a text or its absence would cost is found before training."""

import logging

import pytest
import torch
from stage_tools import batch_of, change_clips, trainable_of

from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training.trainable import Trainable

ORDINARY = ["Heute reden wir.", "Weißt du, was ich meine?", "Wir zeigen, wie es geht."]


@pytest.fixture
def warned(caplog, monkeypatch):
    """Warnings of the pipeline, whose logger a command may have cut off from the root."""
    monkeypatch.setattr(logging.getLogger("slt_pipeline"), "propagate", True)
    caplog.set_level(logging.INFO, logger="slt_pipeline")
    return lambda: [record.getMessage() for record in caplog.records]


def of_stage(own, monkeypatch, stage, tmp_path, **values) -> Trainable:
    """What a stage would train, as far as the moment before its first step."""
    recipe = own.recipe(runs_dir=tmp_path / "runs", **values)
    return trainable_of(monkeypatch, lambda: stage(recipe, device="cpu"))


def respell(own) -> None:
    """Give every clip a text in ordinary spelling."""
    texts = {clip.id: {"text": ORDINARY[number % 3]} for number, clip in enumerate(own.clips)}
    change_clips(own.root / "corpus" / "manifest.jsonl", texts)


@pytest.fixture
def uses(own) -> dict[str, object]:
    folder = own.root / "runs" / "toy"
    return {"uses__encoder": folder, "translate_train__init_language": "null"}


@pytest.mark.parametrize("stage", [gloss2text_train, translate_train])
def test_a_spelling_that_cannot_equal_the_references_is_told_before_training(
    own, monkeypatch, tmp_path, warned, uses, stage
):
    respell(own)
    of_stage(own, monkeypatch, stage, tmp_path, text__detokenise="published", **uses)
    (said,) = [line for line in warned() if "a perfect system" in line]
    assert "would score BLEU-4 " in said
    assert float(said.partition("BLEU-4 ")[2].partition(",")[0]) < 90
    assert "text.detokenise is published" in said


@pytest.mark.parametrize("stage", [gloss2text_train, translate_train])
def test_text_that_comes_back_as_it_is_needs_no_warning(own, monkeypatch, tmp_path, warned, uses, stage):
    respell(own)
    of_stage(own, monkeypatch, stage, tmp_path, **uses)
    assert not [line for line in warned() if "a perfect system" in line]


def test_characters_that_the_tokenizer_lacks_are_told_too(own, monkeypatch, tmp_path, warned):
    manifest = own.root / "corpus" / "manifest.jsonl"
    change_clips(manifest, {clip.id: {"text": "Ξένος ώρα ήλιος Ωμέγα"} for clip in own.of("dev")})
    of_stage(own, monkeypatch, gloss2text_train, tmp_path)
    (said,) = [line for line in warned() if "a perfect system" in line]
    assert "BLEU-4 0.00" in said


@pytest.mark.parametrize(("gloss_input", "share"), [("vectors", "100.00"), ("pieces", "50.00")])
def test_glosses_that_are_not_those_of_training_are_told(own, monkeypatch, tmp_path, warned, gloss_input, share):
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: {"gloss": ["ДОЖДЬ"]} for clip in own.of("dev")})
    of_stage(own, monkeypatch, gloss2text_train, tmp_path, translator__gloss_input=gloss_input)
    (said,) = [line for line in warned() if "Gloss2Text reads" in line]
    assert said.startswith(f"gloss2text_train: dev: {share} % of what Gloss2Text reads is <unk>: other glosses than")


def test_glosses_that_a_trained_run_does_not_know_are_told_where_it_is_scored(own, slt):
    known = own.of("train")[0].gloss
    glosses = {clip.id: {"gloss": ["XX"] if clip.split == "dev" else known} for clip in own.clips}
    change_clips(own.root / "corpus" / "manifest.jsonl", glosses)
    ended = slt("evaluate", "-r", own.file, "--task", "gloss2text")
    assert ended.status == 0
    assert "gloss2text dev: 100.00 % of what Gloss2Text reads is <unk>" in ended.err
    assert ended.err.count("Gloss2Text reads") == 1


def test_references_beyond_the_longest_output_are_counted(own, monkeypatch, tmp_path, warned):
    of_stage(own, monkeypatch, gloss2text_train, tmp_path, gloss2text_train__generation__max_length=4)
    (said,) = [line for line in warned() if "out of reach" in line]
    assert said.startswith("8 of 8 references have more pieces than generation.max_length 4")


def test_what_a_tokenizer_makes_of_the_texts_is_told_before_training(own, monkeypatch, tmp_path, warned):
    of_stage(own, monkeypatch, gloss2text_train, tmp_path)
    (said,) = [line for line in warned() if line.startswith("texts: ")]
    assert said.startswith(
        "texts: decode(encode(reference)) has BLEU-4 100.00; <unk> are 0.00 % of train, 0.00 % of dev"
    )


def test_a_sign_language_of_no_published_system_starts_from_the_spoken_one_beside_it(own, monkeypatch, tmp_path):
    languages = {"text__language": "pl_PL", "text__gloss_language": "pl_PJM", "translator__gloss_table": "pieces"}
    model = of_stage(own, monkeypatch, gloss2text_train, tmp_path, **languages).model
    vectors = model.mbart.get_input_embeddings().weight
    assert torch.equal(model.gloss_table.weight[model._suffix_rows[1]], vectors[model.language_id])
    assert model.language_id == len(vectors) - 1
    run = tmp_path / "runs" / "toy" / "gloss2text_train"
    assert Vocabularies.load(run).text.language_id == model.language_id


# --- clips without gloss


@pytest.fixture
def bare(own, monkeypatch, tmp_path, uses) -> Trainable:
    """What trains a head where half of the training clips and one of dev have a text and no gloss."""
    without = [*own.of("train")[::2], own.of("dev")[0]]
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: {"gloss": None} for clip in without})
    return of_stage(own, monkeypatch, translate_train, tmp_path, translator__head="trained", **uses)


def test_clips_without_gloss_take_no_part_in_ctc(own, bare):
    model = bare.model.eval()  # so that a clip's logits do not depend on the batch

    def losses(*numbers: int) -> dict[str, float]:
        return {name: float(loss.detach()) for name, loss in bare.losses(model, batch_of(bare, *numbers)).items()}

    assert (batch_of(bare, *range(6))["gloss_label_lengths"] < 0).tolist() == [True, False] * 3
    alone = losses(1, 3, 5)["recognition"]
    assert alone > 1
    assert losses(0, 1, 2, 3, 4, 5)["recognition"] == pytest.approx(alone, rel=1e-5)
    assert losses(0, 2, 4)["recognition"] == 0
    assert losses(0, 2, 4)["translation"] > 1  # in which they do


def test_clips_without_gloss_are_counted_and_validation_leaves_them_out_of_the_wer(own, bare, warned, monkeypatch):
    from slt_pipeline.stages import translate_train as stage

    scored = []
    score = stage.score_recognised
    monkeypatch.setattr(
        stage, "score_recognised", lambda protocol, found, clips: scored.append(clips) or score(protocol, found, clips)
    )
    with torch.no_grad():
        scores = bare.validate(bare.model.eval())
    assert [[clip.id for clip in clips] for clips in scored] == [[own.of("dev")[1].id]]
    assert {"wer", "bleu4"} <= scores.keys()


def test_clips_without_gloss_are_counted_in_the_log(own, monkeypatch, tmp_path, uses, warned):
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip.id: {"gloss": None} for clip in own.of("train")[:4]})
    of_stage(own, monkeypatch, translate_train, tmp_path, translator__head="trained", **uses)
    assert "4 of 6 training clips have no gloss and take no part in CTC" in warned()


def test_an_empty_list_of_glosses_takes_no_part_in_ctc_either(own, monkeypatch, tmp_path, uses, warned):
    """Nobody has annotated the clip: it does not teach that nothing was signed."""
    clip = own.of("train")[0].id
    change_clips(own.root / "corpus" / "manifest.jsonl", {clip: {"gloss": ()}})
    found = of_stage(own, monkeypatch, translate_train, tmp_path, translator__head="trained", **uses)
    batch = batch_of(found, 0)
    assert batch["gloss_label_lengths"].tolist() == [-1]
    assert float(found.losses(found.model.eval(), batch)["recognition"].detach()) == 0
    assert "1 of 6 training clips have no gloss and take no part in CTC" in warned()
