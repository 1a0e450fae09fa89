"""What a score hides: outputs that say nothing, long sentences that go wrong, sentences known from training."""

import jiwer
import pytest
import sacrebleu

from slt_pipeline.metrics.degenerate import degenerate, loops
from slt_pipeline.metrics.lengths import by_length, weak_bins
from slt_pipeline.metrics.protocols import PROTOCOLS, get_protocol
from slt_pipeline.systems.scores import look_at

TEXTS = ["es regnet heute im norden .", "morgen scheint die sonne .", "im süden weht der wind ."]


def _look(hypotheses, train=()):
    return look_at("plain-word", hypotheses, TEXTS, train, glosses=False)


@pytest.mark.parametrize(
    ("hypotheses", "told"),
    [
        (TEXTS, []),
        (["", *TEXTS[1:]], ["33.3 % of the outputs are empty"]),
        (["  ", "", ""], ["100.0 % of the outputs are empty"]),
        (["es regnet ."] * 3, ["100.0 % of the outputs are one and the same: 'es regnet .'"]),
        (["wind " * 9, *TEXTS[1:]], ["33.3 % of the outputs run in loops"]),
        (["und der wind " * 3, *TEXTS[1:]], ["33.3 % of the outputs run in loops"]),
    ],
)
def test_outputs_that_say_nothing_are_told(hypotheses, told):
    assert _look(hypotheses).flags.notable() == told


def test_what_training_said_most_often_is_told_with_the_share_of_references_that_are_it():
    found = _look(["es regnet .", "es regnet .", TEXTS[2]], ["es  regnet .", "es regnet .", "anderes"])
    assert found.flags.training == pytest.approx(200 / 3)
    assert "the most frequent training sentence, which 0.0 % of the references are: 'es regnet .'" in str(
        found.notable({"bleu4": 1.0})
    )
    assert _look(TEXTS, ["a", "b"]).flags.training is None  # no sentence comes twice


def test_a_corpus_that_is_itself_monotonous_is_no_flag():
    assert degenerate([["a"]] * 4, [["a"]] * 4).notable() == []


def test_no_more_of_a_long_output_is_quoted_than_a_line_holds():
    words = [str(number) for number in range(200)]
    (line,) = degenerate([words] * 4, [["a"], ["b"], ["c"], ["d"]]).notable()
    assert line.startswith("100.0 % of the outputs are one and the same: '0 1 2 3") and line.endswith("...'")
    assert len(line) < 160


def test_a_loop_that_is_in_the_reference_is_none():
    assert loops(list("100000"))
    assert degenerate([list("100000")], [list("100000")]).repeated == 0
    assert not loops(["sehr", "sehr", "sehr", "gut"])


def test_scores_without_the_sentences_that_training_knows():
    found = _look(["es regnet heute im norden .", "falsch", TEXTS[2]], [TEXTS[0], TEXTS[0], "anderes"])
    also = found.also_in_train
    assert also is not None
    assert (also["share"], also["others"]) == (pytest.approx(100 / 3), 2)
    rest = get_protocol("plain-word").score_translation(["falsch", TEXTS[2]], TEXTS[1:])
    assert also["without"] == {name: getattr(rest, name) for name in ("bleu4", "rouge", "chrf")}
    assert _look(TEXTS).also_in_train is None  # no training split
    assert _look(TEXTS, TEXTS).also_in_train == {"share": 100, "others": 0, "without": {}}


def test_every_sentence_is_in_one_bin_of_lengths():
    rows = by_length([0, 5, 6, 30, 31, 200], lambda part: {"n": float(len(part))})
    assert [(row["tokens"], row["sentences"], row["n"]) for row in rows] == [
        ("0-5", 2, 2.0),
        ("6-10", 1, 1.0),
        ("21-30", 1, 1.0),
        ("31-", 2, 2.0),
    ]


def test_a_bin_that_scores_less_than_half_is_told_if_it_is_large_enough():
    rows = [{"tokens": "0-5", "sentences": 90, "bleu4": 30.0}, {"tokens": "31-", "sentences": 10, "bleu4": 10.0}]
    assert weak_bins(rows, {"bleu4": 25.0}) == ["references of 31- tokens (10 sentences): bleu4 10.00, of all 25.00"]
    assert weak_bins([{**rows[1], "sentences": 9}], {"bleu4": 25.0}) == []
    worse = [{"tokens": "0-5", "sentences": 10, "wer": 90.0}]
    assert len(weak_bins(worse, {"wer": 40.0})) == 1


def test_glosses_whose_clean_up_leaves_nothing_have_no_score_of_their_own():
    found = look_at("phoenix14t", ["A", "B"], ["__ON__", "REGEN WIND SONNE NORD SUED WEST"], glosses=True)
    assert [row.get("wer") for row in found.lengths] == [None, pytest.approx(100)]


@pytest.mark.parametrize("tokenizer", ["13a", "zh", "char"])
def test_sacrebleu_protocols_give_the_number_and_signature_of_sacrebleu(tokenizer):
    hypotheses, references = ["Es regnet, heute!", "今天很热。", "x"], ["Es regnet heute.", "今天 热。", "y z"]
    rules = get_protocol(f"sacrebleu-{tokenizer}")
    metric = sacrebleu.metrics.BLEU(tokenize=tokenizer)
    wanted = metric.corpus_score(hypotheses, [references]).score
    scores = rules.score_translation(hypotheses, references)
    assert 0 < scores.bleu4 == pytest.approx(wanted)
    assert rules.signature["bleu"] == str(metric.get_signature())
    assert scores.chrf == pytest.approx(sacrebleu.corpus_chrf(hypotheses, [references]).score)


def test_own_data_has_the_standard_word_error_rate_and_published_data_the_published_one():
    hypotheses, references = (
        ["NORD WIND EIS HOCH TIEF"],
        ["TAG NEBEL SONNE NORD WIND"],
    )  # five substitutions, or two matches between six gaps
    standard, published = 100 * jiwer.wer(references, hypotheses), 120
    assert standard == 100
    for name, protocol in PROTOCOLS.items():
        own = name.startswith(("plain", "sacrebleu"))
        found = protocol.score_recognition(hypotheses, references).wer
        assert found == pytest.approx(standard if own else published), name
        assert ("costs:1/1/1|by:jiwer" in protocol.signature["wer"]) == own
        assert ("costs:3/3/4" in protocol.signature["wer"]) != own
