"""A search by beams that works out once what they know of their source finds what transformers' own finds."""

from typing import Any

import pytest
import torch
from toy_translator import PAIRS, gloss_inputs, toy_translator
from transformers import DynamicCache, EncoderDecoderCache

from slt_pipeline.models import beam_search
from slt_pipeline.models.ensemble import SearchCache


@pytest.fixture
def source():
    model = toy_translator(seed=5)
    return model, model.source(gloss_inputs([glosses for glosses, _ in PAIRS[:5]] + [PAIRS[6][0][:1]]))


@pytest.mark.parametrize("num_beams", [1, 4])
def test_the_texts_are_those_of_transformers_own_cache(source, num_beams, monkeypatch):
    model, glosses = source
    ours = model.generate(glosses, num_beams=num_beams, max_length=14, num_return=num_beams, with_scores=True)
    monkeypatch.setattr(beam_search, "SearchCache", lambda *_: EncoderDecoderCache(DynamicCache(), DynamicCache()))
    theirs = model.generate(glosses, num_beams=num_beams, max_length=14, num_return=num_beams, with_scores=True)
    assert torch.equal(ours.ids, theirs.ids)
    torch.testing.assert_close(ours.scores, theirs.scores)


def test_what_beams_know_of_their_source_is_not_copied_at_every_step(source):
    model, glosses = source
    cache: Any = SearchCache(model.member(glosses), 3)
    before = [layer.keys for layer in cache.cross_attention_cache.layers]
    assert [len(keys) for keys in before] == [18] * len(before)
    cache.reorder_cache(torch.arange(17, -1, -1))
    assert all(layer.keys is keys for layer, keys in zip(cache.cross_attention_cache.layers, before, strict=True))
