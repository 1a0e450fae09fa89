"""Wrong pairings that were once answered with a number, and work that was once lost."""

import pytest
from stage_tools import CPU, change_json, refusal

from slt_pipeline.stages.translate import Translate
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.text.train_tokenizer import train_tokenizer


def test_a_rate_that_is_added_to_a_finished_run_is_refused(toy, stages):
    recipe = toy.recipe(translate_train__training__optimiser__lr="{default: 0.01, mapper: 0.5}")
    assert "training.optimiser.lr.mapper = None, but now it is 0.5" in refusal(stages["translate_train"], recipe)


def test_an_mbart_folder_for_a_run_that_started_at_random_is_refused(own, stages):
    open_gloss2text(own.recipe(), CPU).model.mbart.save_pretrained(own.root / "mbart")
    recipe = own.recipe(translator__mbart__folder=own.root / "mbart")
    assert "mbart_files.config_json = None" in refusal(stages["gloss2text_train"], recipe)


def _swap_last_two(names: list[str]) -> None:
    names[-1], names[-2] = names[-2], names[-1]


@pytest.mark.parametrize(
    ("stage", "file", "key", "task"),
    [
        ("visual_train", "glosses.json", "classes", "sign2gloss"),
        ("gloss2text_train", "gloss_inputs.json", "gloss_inputs", "gloss2text"),
        ("translate_train", "glosses.json", "classes", "sign2text"),
    ],
)
def test_glosses_that_were_changed_beside_their_weights_are_refused(own, stages, stage, file, key, task):
    change_json(own.recipe().run_folder(stage) / file, _swap_last_two)
    message = refusal(stages["evaluate"], own.recipe(), tasks=[task])
    assert str(own.recipe().run_folder(stage)) in message
    assert f"was made with {key} = " in message


def test_a_video_is_not_read_by_changed_classes(own):
    change_json(own.recipe().run_folder("visual_train") / "glosses.json", _swap_last_two)
    assert "was made with classes = " in refusal(Translate, own.recipe())


def test_another_tokenizer_of_the_same_size_is_refused(own, stages):
    folder = own.recipe().run_folder("translate_train")
    texts = [clip.text or "" for clip in own.of("train")]
    train_tokenizer([*texts[:5], "xyz qq"], vocab_size=80, language="de_DE", detokenise="none").save(folder / "tokenizer")
    assert "was made with pieces = " in refusal(stages["evaluate"], own.recipe(), tasks=["sign2text"])
