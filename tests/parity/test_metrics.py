"""BLEU, ROUGE, WER, gloss clean-up and punctuation mapping against the reference's scores."""

from dataclasses import asdict

import pytest
from parity_data import case_names

from slt_pipeline.errors import SltError
from slt_pipeline.metrics.bleu import corpus_bleu
from slt_pipeline.metrics.protocols import ScoringProtocol
from slt_pipeline.metrics.rouge import corpus_rouge, sentence_rouge
from slt_pipeline.metrics.wer import RecognitionScores, align, error_counts, word_error_rate
from slt_pipeline.text.gloss_cleanup import clean_phoenix14, clean_phoenix14t
from slt_pipeline.text.normalise import to_half_width

DATA_SETS = case_names("metrics", "data")
PROTOCOLS = {
    "phoenix": ScoringProtocol("phoenix", level="word", upper_case_gloss=False, gloss_cleanup="phoenix14t"),
    "csl": ScoringProtocol("csl", level="char", upper_case_gloss=False),
}


@pytest.fixture
def metrics(parity_json):
    return parity_json("metrics.json")


@pytest.fixture
def close(metrics):
    tolerance = metrics["tolerance"]
    return lambda want: pytest.approx(want, abs=tolerance["atol"], rel=tolerance["rtol"])


@pytest.fixture
def pairs(metrics, parity_json):
    """`pairs("csl", "text")`: hypotheses and references of a data set."""

    def columns(name, kind):
        rows = parity_json(metrics["data"][name]["file"])
        assert len(rows) == metrics["data"][name]["pairs"]
        return [row[f"{kind}_hyp"] for row in rows], [row[f"{kind}_ref"] for row in rows]

    return columns


def _as_reference(scores: RecognitionScores) -> dict[str, float]:
    return {
        "wer": scores.wer,
        "del": scores.num_del,
        "ins": scores.num_ins,
        "sub": scores.num_sub,
        "del_rate": scores.del_rate,
        "ins_rate": scores.ins_rate,
        "sub_rate": scores.sub_rate,
        "error": scores.num_del + scores.num_ins + scores.num_sub,
        "ref_len": scores.num_ref,
    }


def _assert_translation(hypotheses, references, level, want, close):
    scores = asdict(ScoringProtocol("own", level=level).score_translation(hypotheses, references))
    del scores["chrf"]  # not published
    assert scores == close({**want["bleu"], "rouge": want["rouge"]})


@pytest.mark.parametrize("name", DATA_SETS)
def test_translation_scores(metrics, pairs, close, name):
    want = metrics["data"][name]
    hypotheses, references = pairs(name, "text")
    _assert_translation(hypotheses, references, want["level"], want, close)
    _assert_translation(hypotheses, references, want["other_level"]["level"], want["other_level"], close)
    assert sentence_rouge(hypotheses, references, want["level"]) == close(want["rouge_each"])


@pytest.mark.parametrize("name", DATA_SETS)
def test_recognition_scores(metrics, pairs, close, name):
    want = metrics["data"][name]
    hypotheses, references = pairs(name, "gloss")
    assert _as_reference(word_error_rate(hypotheses, references)) == close(want["wer_raw"])
    scores = PROTOCOLS[name].score_recognition(hypotheses, references)
    assert _as_reference(scores) == close(want["wer_evaluation"])
    if PROTOCOLS[name].gloss_cleanup:
        hypotheses, references = ([clean_phoenix14t(gloss) for gloss in side] for side in (hypotheses, references))
    assert error_counts(hypotheses, references).tolist() == want["wer_each_del_ins_sub_cor_ref"]


@pytest.mark.parametrize("name", DATA_SETS)
def test_word_error_rate_of_texts(metrics, pairs, close, name):
    want = metrics["data"][name]["text_wer_word_level"]
    if want is None:
        pytest.skip(f"{name} has no word-level texts")
    hypotheses, references = pairs(name, "text")
    # The stored numbers count hypotheses that overflow the reference's 8-bit table (over 85 tokens) as empty.
    hypotheses = [hypothesis if len(hypothesis.split()) <= 85 else "" for hypothesis in hypotheses]
    assert _as_reference(word_error_rate(hypotheses, references)) == close(want)


@pytest.mark.parametrize("name", DATA_SETS)
def test_scores_of_slices(metrics, pairs, close, name):
    text, gloss = pairs(name, "text"), pairs(name, "gloss")
    for want in metrics["data"][name]["slices"]:
        part = slice(want["from"], want["to"])
        _assert_translation(text[0][part], text[1][part], metrics["data"][name]["level"], want, close)
        scores = PROTOCOLS[name].score_recognition(gloss[0][part], gloss[1][part])
        assert _as_reference(scores) == close(want["wer_evaluation"])


@pytest.mark.parametrize("index", case_names("metrics", "edge_cases"))
def test_edge_case(metrics, close, index):
    case = metrics["edge_cases"][index]
    hypotheses, references = case["hypotheses"], case["references"]
    for level in ("word", "char"):
        bleu = {f"bleu{n}": score for n, score in enumerate(corpus_bleu(hypotheses, references, level), start=1)}
        assert bleu == close(case[f"bleu_{level}"]), case["name"]
        assert corpus_rouge(hypotheses, references, level) == close(case[f"rouge_{level}"]), case["name"]
    assert _as_reference(word_error_rate(hypotheses, references)) == close(case["wer"]), case["name"]
    assert [list(word) for word in align(hypotheses, references)] == case["alignment"], case["name"]


def test_wer_of_sentences_too_long_for_eight_bits(metrics, close):
    cases = metrics["wer_8bit_overflow"]["cases"]
    assert cases
    for case in cases:
        scores = word_error_rate([case["hypothesis"]], [case["reference"]])
        assert _as_reference(scores) == close(case["wer_wide_table"]), case["hypothesis_tokens"]


def test_gloss_cleanup(parity_json):
    rows = parity_json("gloss_cleanup.jsonl")
    assert rows
    for row in rows:
        assert clean_phoenix14t(row["raw"]) == row["phoenix2014t"], row
        if row["phoenix2014"] is None:
            with pytest.raises(SltError, match="is left after"):
                clean_phoenix14(row["raw"])
        else:
            assert clean_phoenix14(row["raw"]) == row["phoenix2014"], row


def test_punctuation_mapping_of_csl_daily(parity_json):
    rows = parity_json("csl_text_mapping.jsonl")
    assert rows
    for row in rows:
        assert to_half_width(row["raw"]) == row["mapped"], row
