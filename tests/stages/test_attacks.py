"""Wrong pairings that were once answered with a number, and work that was once lost."""

import pytest
from stage_tools import refusal


def test_a_rate_that_is_added_to_a_finished_run_is_refused(toy, stages):
    recipe = toy.recipe(translate_train__training__optimiser__lr="{default: 0.01, mapper: 0.5}")
    assert "training.optimiser.lr.mapper = None, but now it is 0.5" in refusal(stages["translate_train"], recipe)


def test_an_mbart_folder_for_a_run_that_started_at_random_is_refused(own, stages):
    from slt_pipeline.systems.translator import open_gloss2text
    from stage_tools import CPU

    open_gloss2text(own.recipe(), CPU).model.mbart.save_pretrained(own.root / "mbart")
    recipe = own.recipe(translator__mbart__folder=own.root / "mbart")
    assert "mbart_files.config_json = None" in refusal(stages["gloss2text_train"], recipe)
