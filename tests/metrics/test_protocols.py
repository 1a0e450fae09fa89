import os
import re
import unicodedata
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from slt_pipeline.config.names import LOWER_IS_BETTER, PROTOCOL_NAMES, ScoreName
from slt_pipeline.corpora.pickles import read_pickle
from slt_pipeline.errors import SltError
from slt_pipeline.metrics.protocols import (
    PROTOCOLS,
    ScoringProtocol,
    TranslationScores,
    get_protocol,
)

PROJECT = Path(__file__).parents[2]


def _annotations(name: str) -> list[dict]:
    folder = Path(os.environ.get("SLT_TEST_DATA", PROJECT / "../shared/data"))
    path = folder / name
    if not path.is_file():
        pytest.skip(f"no annotations: {name} is not in $SLT_TEST_DATA (default ../shared/data)")
    return read_pickle(path)


def test_protocols_are_those_that_a_recipe_can_name():
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())


def test_the_readme_describes_every_protocol_and_no_other():
    text = (PROJECT / "slt_pipeline/metrics/README.md").read_text(encoding="utf-8")
    table = text[text.index("| protocol |") :].split("\n\n")[0]
    assert [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])] == list(
        PROTOCOL_NAMES
    )


def test_scores_are_those_that_a_recipe_can_name():
    assert [*(field.name for field in fields(TranslationScores)), "wer"] == list(get_args(ScoreName))
    better = get_protocol("plain-word").score_recognition(["A B"], ["A B"]).wer
    assert better < get_protocol("plain-word").score_recognition(["A"], ["A B"]).wer
    assert set(get_args(ScoreName)) & LOWER_IS_BETTER == {"wer"}


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_decomposed_text_and_glosses_score_as_composed(name):
    protocol = get_protocol(name)
    texts, glosses = ["es wird schön heute ."], ["FÜNF GRAD"]
    for form, other in (("NFD", "NFC"), ("NFC", "NFD")):
        typed = [unicodedata.normalize(form, line) for line in (*texts, *glosses)]
        meant = [unicodedata.normalize(other, line) for line in (*texts, *glosses)]
        assert protocol.score_translation(typed[:1], meant[:1]).bleu4 == pytest.approx(100)
        assert protocol.score_recognition(typed[1:], meant[1:]).wer == 0


def test_phoenix_is_scored_on_words_after_the_clean_up():
    protocol = get_protocol("phoenix14t")
    assert protocol.score_translation(["regen ."], ["regen ."]).bleu2 == pytest.approx(100)
    assert protocol.score_recognition(["regen regen wind"], ["REGEN WIND WIND"]).wer == 0


def test_upper_casing_comes_before_the_clean_up():
    # so that its rules for lower-case prefixes cannot fire, as published
    assert get_protocol("phoenix14t").prepare_gloss(["loc-nord regen"]) == ["LOC-NORD REGEN"]


def test_csl_daily_counts_repeats():
    assert get_protocol("csl-daily").score_recognition(["我 去"], ["我 我 去"]).num_del == 1


def test_half_width_protocol_forgives_full_width_punctuation():
    hypotheses, references = ["你好,吗?"], ["你好，吗？"]
    assert get_protocol("csl-daily-halfwidth").score_translation(hypotheses, references).bleu4 == pytest.approx(100)
    assert get_protocol("csl-daily").score_translation(hypotheses, references).bleu1 == pytest.approx(60)


def test_plain_protocols_change_nothing_but_case_of_glosses():
    for name, level in (("plain-word", "word"), ("plain-char", "char")):
        protocol = get_protocol(name)
        assert protocol.level == level
        assert protocol.score_recognition(["a a+b __on__"], ["A A+B __ON__"]).wer == 0
        assert protocol.score_recognition(["a"], ["a a"]).num_del == 1


def test_a_protocol_of_ones_own_may_keep_case_and_clean_glosses_by_the_longer_rules():
    assert ScoringProtocol("own", level="word", upper_case_gloss=False).score_recognition(["a"], ["A"]).num_sub == 1
    longer = ScoringProtocol("own", level="word", gloss_cleanup="phoenix14")
    assert longer.score_recognition(["ZEIGEN"], ["ZEIGEN-BILDSCHIRM"]).wer == 0


def test_unknown_protocol_names_the_nearest():
    with pytest.raises(SltError, match="unknown scoring protocol 'phoenix14'; did you mean 'phoenix14t'"):
        get_protocol("phoenix14")
    with pytest.raises(SltError, match="use one of: phoenix14t, csl-daily"):
        get_protocol("zzz")


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_refuses_unequal_numbers(name):
    with pytest.raises(SltError, match="2 hypotheses but 1 references"):
        PROTOCOLS[name].score_translation(["a", "b"], ["a"])
    with pytest.raises(SltError, match="2 hypotheses but 1 references"):
        PROTOCOLS[name].score_recognition(["a", "b"], ["a"])


@pytest.mark.parametrize("variant", ["phoenix-2014t", "phoenix-2014t_cleaned"])
@pytest.mark.parametrize(("split", "num_tokens"), [("dev", 3747), ("test", 4259)])
def test_phoenix_references_have_the_published_number_of_tokens(variant, split, num_tokens):
    glosses = [record["gloss"] for record in _annotations(f"phoenix-2014t/{variant}.{split}")]
    scores = get_protocol("phoenix14t").score_recognition(glosses, glosses)
    assert (scores.num_ref, scores.wer) == (num_tokens, 0)


@pytest.mark.parametrize(("split", "floor"), [("dev", 1.54), ("test", 1.67)])
def test_merged_repeats_cost_the_published_floor_on_csl_daily(split, floor):
    references = [record["gloss"] for record in _annotations(f"csl-daily/csl-daily.{split}")]
    merged = []
    for reference in references:
        tokens = reference.split()
        merged.append(" ".join(b for a, b in zip([None, *tokens], tokens, strict=False) if a != b))
    scores = get_protocol("csl-daily").score_recognition(merged, references)
    assert scores.wer == scores.del_rate == pytest.approx(floor, abs=0.005)


@pytest.mark.parametrize(("split", "num_touched"), [("dev", 582), ("test", 670)])
def test_half_width_mapping_touches_the_published_number_of_texts(split, num_touched):
    texts = [record["text"] for record in _annotations(f"csl-daily/csl-daily.{split}")]
    mapped = get_protocol("csl-daily-halfwidth").prepare_text(texts)
    assert sum(a != b for a, b in zip(texts, mapped, strict=True)) == num_touched
