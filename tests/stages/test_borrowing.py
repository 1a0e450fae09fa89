"""What is borrowed from another recipe is looked at before it is used."""

import shutil
from dataclasses import replace

import pytest
from cache_tools import files
from stage_tools import refusal

from slt_pipeline.corpora.manifest import read_manifest, write_manifest


@pytest.fixture
def borrower(toy, own):
    """A recipe whose corpus has the names of another's, and takes that one's encoder and language model."""
    lender = toy.root / "runs" / "toy"
    return lambda **values: own.recipe(
        uses__encoder=lender, uses__language=lender, runs_dir=own.root / "mine", **values
    )


def test_features_of_other_media_under_the_same_names_are_refused(toy, own, stages, borrower):
    stages["translate_train"](borrower(), device="cpu")  # a copy of the corpus is the same corpus
    clips = [clip for clip in own.clips if clip.split == "train"]
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        shutil.copy(toy.video(other), own.video(clip))
    recipe = borrower(evaluate__tasks="[sign2text]", evaluate__splits="[train]")
    for stage in ("translate_train", "evaluate"):
        assert "6 clips have changed since they were put into" in refusal(stages[stage], recipe)


@pytest.mark.parametrize(("stage", "key"), [("visual_train", "encoder"), ("gloss2text_train", "language")])
def test_what_nothing_would_read_is_not_trained(own, stages, borrower, stage, key):
    message = refusal(stages[stage], borrower())
    assert f"uses.{key} = " in message and f"-o uses.{key}=null" in message
    assert not (own.root / "mine").exists()


def test_features_that_were_rounded_are_not_those_that_a_translator_was_trained_on(own, stages, slt):
    rounded = own.root / "rounded"
    options = ("--dtype", "float32", "--compression", "blosc", "--keep-bits", "4")
    assert slt("cache", "convert", own.recipe().store, rounded, *options).status == 0
    recipe = own.recipe(extract__store=rounded, evaluate__tasks="[sign2text]")
    assert "was made with store_keep_bits = None, but now it is 4; " in refusal(stages["evaluate"], recipe)


def test_a_run_that_was_stopped_is_opened_with_a_warning(own, stages, caplog):
    (own.recipe().run_folder("translate_train") / "result.json").unlink()
    before = files(own.recipe().run_folder("translate_train"))
    stages["evaluate"](own.recipe(evaluate__tasks="[sign2text]"), device="cpu")
    assert "translate_train is not finished: its weights are the best so far" in caplog.text
    assert files(own.recipe().run_folder("translate_train")) == before


def test_glosses_that_are_no_classes_are_counted_before_training(own, stages, caplog):
    manifest = own.root / "corpus" / "manifest.jsonl"
    clips = read_manifest(manifest)
    odd = [clip for clip in clips if clip.split == "train"][:2]
    write_manifest(manifest, [replace(clip, gloss=("NEVER-SEEN",)) if clip in odd else clip for clip in clips])
    borrowed = {f"uses__{what}": own.root / "runs" / "toy" for what in ("encoder", "language")}
    recipe = own.recipe(translator__head="trained", runs_dir=own.root / "new", **borrowed)
    stages["translate_train"](recipe, device="cpu")
    assert "2 glosses of training clips are no classes and become <unk>: NEVER-SEEN" in caplog.text


def test_where_only_glosses_are_learned_the_best_is_by_their_errors(own, stages):
    values = {"translator__head": "trained", "translate_train__objective": "{translation: 0, recognition: 1}"}
    result = stages["translate_train"](own.recipe(**values), device="cpu", overwrite=True)
    assert result["score"] == "wer"
    assert 0 <= result["best_score"] <= 300
