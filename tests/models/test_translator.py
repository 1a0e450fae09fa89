"""The translator: sources with their suffix, loss, beam search, starting from Gloss2Text."""

import math

import pytest
import torch
from safetensors.torch import load, save
from torch.nn.functional import kl_div
from toy_translator import CLASSES, GLOSSES, PAIRS, SMALL, TOKENIZER, gloss_inputs, targets, toy_translator

from slt_pipeline.config.translator import MapperConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.label_smoothing import label_smoothed_loss, smoothed_kl
from slt_pipeline.models.language import append_suffix
from slt_pipeline.models.translator import Translator
from slt_pipeline.text.gloss_vocab import GlossVocabulary


def _stored(features, lengths) -> dict[str, torch.Tensor]:
    return {"features": features, "lengths": torch.tensor(lengths)}


def _logits(model: Translator, batch: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    source = model.source(batch)
    return model.decode(model.states(source), source.mask, ids)


def test_the_suffix_stands_right_behind_each_rows_end():
    values = torch.tensor([[1, 2, 3], [4, 9, 9], [9, 9, 9]])
    out, mask = append_suffix(values, torch.tensor([3, 1, 0]), torch.tensor([7, 8]), torch.tensor(0))
    assert out.tolist() == [[1, 2, 3, 7, 8], [4, 7, 8, 0, 0], [7, 8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]


def test_features_are_mapped_closed_by_the_gloss_suffix_and_scaled_once():
    model = toy_translator(in_features=5)
    assert model.mapper is not None and model.gloss_table is not None
    features = torch.randn(2, 4, 5)
    source = model.source(_stored(features, [4, 2]))
    suffix = model.gloss_table.weight[[GLOSSES.id_of("</s>"), GLOSSES.id_of("de_DGS")]]
    mapped = model.mapper(features)
    expected = torch.cat([mapped[1, :2], suffix, torch.zeros(2, 32)]) * math.sqrt(32)
    torch.testing.assert_close(source.vectors[1], expected)
    assert source.mask.tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]


def test_the_text_suffix_is_taken_from_the_text_embedding_and_needs_no_gloss_table():
    model = toy_translator(in_features=5, suffix="txt", vocabulary=None)
    source = model.source(_stored(torch.randn(1, 2, 5), [2]))
    embedding = model.mbart.get_input_embeddings().weight
    torch.testing.assert_close(source.vectors[0, 2:], embedding[[2, TOKENIZER.language_id]] * math.sqrt(32))
    with pytest.raises(SltError, match="suffix `gls` is taken from the gloss table"):
        toy_translator(in_features=5, vocabulary=None)


def test_padding_and_batch_mates_change_nothing():
    model = toy_translator(in_features=5)
    features = torch.randn(2, 6, 5)
    ids = targets([PAIRS[0][1], "regen ."])["decoder_input_ids"]
    together = _logits(model, _stored(features, [6, 3]), ids)
    noisy = features.clone()
    noisy[1, 3:] = 1e4
    torch.testing.assert_close(_logits(model, _stored(noisy, [6, 3]), ids), together)
    alone = _logits(model, _stored(features[1:, :3], [3]), targets(["regen ."])["decoder_input_ids"])
    torch.testing.assert_close(alone[0], together[1, : alone.shape[1]], atol=1e-5, rtol=1e-4)


def test_stored_half_precision_features_are_accepted():
    model = toy_translator(in_features=5)
    features = torch.randn(1, 3, 5).half()
    half, single = (model.source(_stored(values, [3])).vectors for values in (features, features.float()))
    assert torch.equal(half, single)


def test_a_source_longer_than_the_position_table_is_refused():
    with pytest.raises(SltError, match=r"39 steps \+ 2, mBART has 40 positions; raise mbart.max_positions"):
        toy_translator(in_features=5).source(_stored(torch.zeros(1, 39, 5), [39]))


def test_the_loss_is_the_label_smoothed_one_and_only_made_if_asked_for():
    model = toy_translator(in_features=5)
    batch = {**_stored(torch.randn(2, 6, 5), [6, 3]), **targets([text for _, text in PAIRS[:2]])}
    logits = _logits(model, batch, batch["decoder_input_ids"])
    made = model(batch, {"translation", "recognition"})
    assert made.keys() == {"translation"}
    assert torch.equal(made["translation"], label_smoothed_loss(logits, batch["labels"], 0.2, TOKENIZER.pad_id))
    assert model(batch, {"recognition"}) == {}


def test_golden_label_smoothed_loss():
    logits = torch.tensor(
        [
            [[0.0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [1, 1, 1, 1, 1, 1]],
            [[0, 0, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]],
        ]
    )
    labels = torch.tensor([[3, 2, 1], [2, 1, 1]])
    assert smoothed_kl(logits.log_softmax(-1), labels, 0.2, pad_id=1).item() == pytest.approx(3.6516943, abs=1e-6)
    assert smoothed_kl(logits.log_softmax(-1), labels, 0.0, pad_id=1).item() == pytest.approx(5.1346784, abs=1e-6)
    assert label_smoothed_loss(logits, labels, 0.2, pad_id=1).item() == pytest.approx(3.6516943 / 2, abs=1e-6)


def test_a_perfect_prediction_costs_nothing():
    smoothed = torch.full((1, 1, 6), 0.05)
    smoothed[0, 0, 3], smoothed[0, 0, 1] = 0.8, 1e-30
    assert smoothed_kl(smoothed.log(), torch.tensor([[3]]), 0.2, pad_id=1).item() == pytest.approx(0, abs=1e-6)


def test_gloss_vectors_start_as_the_mean_of_their_pieces():
    model = toy_translator()
    assert model.gloss_table is not None
    embedding = model.mbart.get_input_embeddings().weight
    for name in ("regen", "westen"):
        expected = embedding[TOKENIZER.encode(name)].mean(0)
        torch.testing.assert_close(model.gloss_table.weight[GLOSSES.id_of(name)], expected)
    assert torch.equal(model.gloss_table.weight[GLOSSES.id_of("de_DGS")], embedding[TOKENIZER.language_id])
    other = toy_translator(gloss_table="random").gloss_table
    assert other is not None and not torch.equal(other.weight, model.gloss_table.weight)


def test_what_is_frozen_does_not_train():
    mbart = SMALL.model_copy(update={"freeze_text_embedding": True})
    model = toy_translator(mbart=mbart, freeze_gloss_table=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"gloss_table.weight", "mbart.model.shared.weight"}


def test_weights_survive_safetensors_and_are_named_once():
    model = toy_translator(in_features=5)
    state = model.state_dict()
    assert not any("embed_tokens" in name or "lm_head" in name for name in state)
    other = toy_translator(in_features=5, seed=1)
    other.load_state_dict(load(save(state)))
    for name, value in other.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert other.mbart.get_output_embeddings().weight is other.mbart.get_input_embeddings().weight


def test_a_sign_translator_starts_from_a_gloss_translator_and_keeps_its_mapper():
    glosses, signs = toy_translator(seed=1), toy_translator(in_features=5)
    assert signs.mapper is not None
    mapper = {name: value.clone() for name, value in signs.mapper.state_dict().items()}
    signs.load_language_model(glosses.state_dict())
    for name, value in glosses.state_dict().items():
        assert torch.equal(signs.state_dict()[name], value), name
    for name, value in signs.mapper.state_dict().items():
        assert torch.equal(value, mapper[name]), name


@pytest.mark.parametrize("suffix", ["gls", "txt"])
def test_an_embedding_mapper_starts_from_the_gloss_table_of_the_checkpoint(suffix):
    config = MapperConfig(type="embedding", input="gloss_probs")
    signs = toy_translator(in_features=len(CLASSES), mapper=config, suffix=suffix)
    glosses = toy_translator(seed=1, gloss_table="random")
    assert glosses.gloss_table is not None and signs.mapper is not None
    column = CLASSES.id_of("regen")
    signs.load_language_model(glosses.state_dict())
    weight = signs.mapper.mapping.weight
    assert torch.equal(weight[:, column], glosses.gloss_table.weight[GLOSSES.id_of("regen")])
    assert not weight[:, CLASSES.id_of("<si>")].any()


def test_a_checkpoint_of_another_vocabulary_is_refused():
    other = GlossVocabulary.build([("REGEN",)], "translation")
    with pytest.raises(SltError, match=r"gloss table of shape \(10, 32\), here it is \(16, 32\)"):
        toy_translator().load_language_model(toy_translator(vocabulary=other).state_dict())
    smaller = toy_translator(mbart=SMALL.model_copy(update={"ffn_dim": 16}))
    with pytest.raises(SltError, match=r"of the checkpoint: .* is \(16"):
        toy_translator().load_language_model(smaller.state_dict())


@pytest.fixture(scope="module")
def learned() -> Translator:
    """A gloss translator that has learned all of PAIRS."""
    model = toy_translator().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    batch = {**gloss_inputs([glosses for glosses, _ in PAIRS]), **targets([text for _, text in PAIRS])}
    for _ in range(140):
        loss = model(batch, {"translation"})["translation"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5
    return model.eval()


def _generate(model: Translator, glosses, **settings):
    return model.generate(model.source(gloss_inputs(glosses)), **settings)


@pytest.mark.parametrize("num_beams", [1, 4])
def test_it_learns_to_translate(learned, num_beams):
    found = _generate(learned, [glosses for glosses, _ in PAIRS], num_beams=num_beams, max_length=30)
    assert TOKENIZER.decode_batch(found.ids) == [text for _, text in PAIRS]


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 2.0])
def test_a_score_is_the_log_probability_over_the_length(learned, num_beams, length_penalty):
    glosses = [glosses for glosses, _ in PAIRS[:3]]
    settings = {"num_beams": num_beams, "max_length": 30, "length_penalty": length_penalty}
    found = _generate(learned, glosses, **settings, with_scores=True)
    logits = _logits(learned, gloss_inputs(glosses), found.ids[:, :-1])
    real = found.ids[:, 1:] != TOKENIZER.pad_id
    log_probs = logits.log_softmax(-1).gather(-1, found.ids[:, 1:, None])[..., 0].masked_fill(~real, 0)
    torch.testing.assert_close(found.scores, log_probs.sum(1) / real.sum(1) ** length_penalty, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("max_length", [4, 9, 30])
@pytest.mark.parametrize(("num_beams", "num_return"), [(1, 1), (4, 1), (4, 3)])
@pytest.mark.parametrize("length_penalty", [0.0, 0.5, 2.0])
def test_scores_are_those_of_the_search_itself(learned, monkeypatch, num_beams, num_return, length_penalty, max_length):
    glosses = [glosses for glosses, _ in PAIRS[:4]]
    settings = {"num_beams": num_beams, "num_return": num_return, "length_penalty": length_penalty}
    found = _generate(learned, glosses, **settings, max_length=max_length, with_scores=True)

    theirs = []
    search = learned.mbart.generate

    def watched(**arguments):
        out = search(**arguments, return_dict_in_generate=True, output_scores=True)
        steps = learned.mbart.compute_transition_scores(
            out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=num_beams == 1
        )
        lengths = (out.sequences[:, 1:] != TOKENIZER.pad_id).sum(1)
        theirs.append(
            out.sequences_scores if num_beams > 1 else steps.nan_to_num(neginf=0).sum(1) / lengths**length_penalty
        )
        return out.sequences

    monkeypatch.setattr(learned.mbart, "generate", watched)
    again = _generate(learned, glosses, **settings, max_length=max_length)
    assert torch.equal(again.ids, found.ids)
    torch.testing.assert_close(found.scores, theirs[0], atol=1e-5, rtol=1e-5)


def test_scores_are_not_kept_unless_they_are_asked_for(learned, monkeypatch):
    asked = []
    search = learned.mbart.generate
    monkeypatch.setattr(learned.mbart, "generate", lambda **arguments: asked.append(arguments) or search(**arguments))
    for with_scores in (False, True):
        found = _generate(learned, [PAIRS[0][0]], with_scores=with_scores)
        assert (found.scores is not None) == with_scores
    assert not any(arguments.get("output_scores") for arguments in asked)


def test_n_best_lists_are_sorted_and_hold_no_double(learned):
    found = _generate(learned, [glosses for glosses, _ in PAIRS[:2]], num_beams=4, num_return=3, with_scores=True)
    assert len(found.ids) == len(found.scores) == 6
    for row, (_, text) in zip(range(0, 6, 3), PAIRS, strict=False):
        texts, scores = TOKENIZER.decode_batch(found.ids[row : row + 3]), found.scores[row : row + 3].tolist()
        assert texts[0] == text and len(set(map(tuple, found.ids[row : row + 3].tolist()))) == 3
        assert scores == sorted(scores, reverse=True)


def test_more_hypotheses_than_beams_are_refused(learned):
    with pytest.raises(SltError, match="5 hypotheses asked for with 4 beams"):
        _generate(learned, [("REGEN",)], num_beams=4, num_return=5)


def test_an_output_ends_at_max_length(learned):
    found = _generate(learned, [("REGEN", "NORDEN")], num_beams=4, max_length=4)
    assert found.ids.shape == (1, 4)
    assert (found.ids[0, 0], found.ids[0, -1]) == (TOKENIZER.language_id, TOKENIZER.eos_id)


def test_two_passes_agree_without_dropout_and_by_the_mean_of_both_directions_with_it():
    model = toy_translator(mbart=SMALL.model_copy(update={"dropout": 0.3}))
    batch = gloss_inputs([glosses for glosses, _ in PAIRS[:3]]) | targets([text for _, text in PAIRS[:3]])
    alone = model(batch, {"translation"})["translation"]
    both = model.eval()(batch, {"translation", "agreement"})
    torch.testing.assert_close(both["translation"], alone)
    assert both["agreement"].abs() < 1e-5
    torch.manual_seed(4)
    agreement = model.train()(batch, {"agreement"})["agreement"]
    torch.manual_seed(4)
    twice = {name: torch.cat([each, each]) for name, each in batch.items()}
    first, second = _logits(model, twice, twice["decoder_input_ids"]).log_softmax(dim=-1).chunk(2)
    each = [kl_div(a, b, reduction="none", log_target=True).sum(-1) for a, b in ((first, second), (second, first))]
    by_hand = (sum(each) / 2 * (batch["labels"] != TOKENIZER.pad_id)).sum() / 3
    assert by_hand > 0.01
    torch.testing.assert_close(agreement, by_hand)


@pytest.mark.parametrize("agreement", [False, True])
def test_distillation_is_the_divergence_from_what_teachers_expect_of_the_pieces_that_count(agreement):
    model = toy_translator().eval()
    batch = gloss_inputs([glosses for glosses, _ in PAIRS[:3]]) | targets([text for _, text in PAIRS[:3]])
    found = _logits(model, batch, batch["decoder_input_ids"]).log_softmax(dim=-1)
    taught = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).log_softmax(dim=-1)
    parts = {"distillation", "agreement"} if agreement else {"distillation"}
    each = kl_div(found, taught, reduction="none", log_target=True).sum(-1)
    by_hand = (each * (batch["labels"] != TOKENIZER.pad_id)).sum() / 3
    torch.testing.assert_close(model({**batch, "teacher_log_probs": taught}, parts)["distillation"], by_hand)
    own = model({**batch, "teacher_log_probs": found}, parts)["distillation"]
    assert own.abs() < 1e-4 < by_hand
