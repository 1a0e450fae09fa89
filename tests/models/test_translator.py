"""The translator: sources with their suffix, loss, beam search, starting from Gloss2Text; and the joint model."""

import math

import pytest
import torch
from safetensors.torch import load, save
from slt_pipeline.models.sign_translator import SignTranslator

from slt_pipeline.config.encoder import HeadConfig
from slt_pipeline.config.translator import MapperConfig, MBartConfig, TranslatorConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.ctc import ctc_loss
from slt_pipeline.models.label_smoothing import label_smoothed_loss, smoothed_kl
from slt_pipeline.models.translator import Translator, append_suffix
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.train_tokenizer import train_tokenizer

PLACES, WEATHER = ("norden", "süden", "westen"), ("regen", "schnee", "sonne", "wind")
PAIRS = [((w.upper(), p.upper()), f"im {p} gibt es {w} .") for p in PLACES for w in WEATHER]
TOKENIZER = train_tokenizer([text for _, text in PAIRS])
GLOSSES = GlossVocabulary.build([glosses for glosses, _ in PAIRS], "translation")
CLASSES = GlossVocabulary.build([glosses for glosses, _ in PAIRS])
SMALL = MBartConfig(
    d_model=32,
    num_layers=1,
    num_heads=2,
    ffn_dim=64,
    max_positions=40,
    dropout=0,
    attention_dropout=0,
    position_std=0.2,
)


def _translator(in_features=None, seed=0, vocabulary=GLOSSES, **changes) -> Translator:
    torch.manual_seed(seed)
    config = TranslatorConfig(**{"mbart": SMALL, **changes})
    return Translator(config, TOKENIZER, vocabulary, in_features=in_features, class_names=CLASSES.names).eval()


def _targets(texts) -> dict[str, torch.Tensor]:
    return TOKENIZER.encode_target(texts)._asdict()


def _gloss_input(glosses) -> dict[str, torch.Tensor]:
    ids, lengths = pad_ids([GLOSSES.encode(row) for row in glosses], GLOSSES.pad_id)
    return {"gloss_ids": ids, "gloss_lengths": lengths}


def test_the_suffix_stands_right_behind_each_rows_end():
    values = torch.tensor([[1, 2, 3], [4, 9, 9], [9, 9, 9]])
    out, mask = append_suffix(values, torch.tensor([3, 1, 0]), torch.tensor([7, 8]), torch.tensor(0))
    assert out.tolist() == [[1, 2, 3, 7, 8], [4, 7, 8, 0, 0], [7, 8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]


def test_features_are_mapped_closed_by_the_gloss_suffix_and_scaled_once():
    model = _translator(in_features=5)
    assert model.mapper is not None and model.gloss_table is not None
    features = torch.randn(2, 4, 5)
    source = model.source(features, torch.tensor([4, 2]))
    suffix = model.gloss_table.weight[[GLOSSES.id_of("</s>"), GLOSSES.id_of("de_DGS")]]
    mapped = model.mapper(features)
    expected = torch.cat([mapped[1, :2], suffix, torch.zeros(2, 32)]) * math.sqrt(32)
    torch.testing.assert_close(source.vectors[1], expected)
    assert source.mask.tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]


def test_the_text_suffix_is_taken_from_the_text_embedding_and_needs_no_gloss_table():
    model = _translator(in_features=5, suffix="txt", vocabulary=None)
    source = model.source(torch.randn(1, 2, 5), torch.tensor([2]))
    embedding = model.mbart.get_input_embeddings().weight
    torch.testing.assert_close(source.vectors[0, 2:], embedding[[2, TOKENIZER.language_id]] * math.sqrt(32))
    with pytest.raises(SltError, match="suffix `gls` is taken from the gloss table"):
        _translator(in_features=5, vocabulary=None)


def test_padding_and_batch_mates_change_nothing():
    model = _translator(in_features=5)
    features, lengths = torch.randn(2, 6, 5), torch.tensor([6, 3])
    texts = [PAIRS[0][1], "regen ."]
    together = model(features, lengths, **_targets(texts)).logits
    noisy = features.clone()
    noisy[1, 3:] = 1e4
    torch.testing.assert_close(model(noisy, lengths, **_targets(texts)).logits, together)
    alone = model(features[1:, :3], lengths[1:], **_targets(texts[1:]))
    torch.testing.assert_close(alone.logits[0], together[1, : alone.logits.shape[1]], atol=1e-5, rtol=1e-4)


def test_stored_half_precision_features_are_accepted():
    model = _translator(in_features=5)
    features = torch.randn(1, 3, 5).half()
    lengths = torch.tensor([3])
    assert torch.equal(model.source(features, lengths).vectors, model.source(features.float(), lengths).vectors)


def test_a_source_longer_than_the_position_table_is_refused():
    with pytest.raises(SltError, match=r"39 steps \+ 2, mBART has 40 positions; raise mbart.max_positions"):
        _translator(in_features=5).source(torch.zeros(1, 39, 5), torch.tensor([39]))


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
    model = _translator()
    assert model.gloss_table is not None
    embedding = model.mbart.get_input_embeddings().weight
    for name in ("regen", "westen"):
        expected = embedding[TOKENIZER.encode(name)].mean(0)
        torch.testing.assert_close(model.gloss_table.weight[GLOSSES.id_of(name)], expected)
    assert torch.equal(model.gloss_table.weight[GLOSSES.id_of("de_DGS")], embedding[TOKENIZER.language_id])
    other = _translator(gloss_table="random").gloss_table
    assert other is not None and not torch.equal(other.weight, model.gloss_table.weight)


def test_what_is_frozen_does_not_train():
    mbart = SMALL.model_copy(update={"freeze_text_embedding": True})
    model = _translator(mbart=mbart, freeze_gloss_table=True)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"gloss_table.weight", "mbart.model.shared.weight"}


def test_weights_survive_safetensors_and_are_named_once():
    model = _translator(in_features=5)
    state = model.state_dict()
    assert not any("embed_tokens" in name or "lm_head" in name for name in state)
    other = _translator(in_features=5, seed=1)
    other.load_state_dict(load(save(state)))
    for name, value in other.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert other.mbart.get_output_embeddings().weight is other.mbart.get_input_embeddings().weight


def test_a_sign_translator_starts_from_a_gloss_translator_and_keeps_its_mapper():
    glosses, signs = _translator(seed=1), _translator(in_features=5)
    assert signs.mapper is not None
    mapper = {name: value.clone() for name, value in signs.mapper.state_dict().items()}
    signs.load_language_model(glosses.state_dict())
    for name, value in glosses.state_dict().items():
        assert torch.equal(signs.state_dict()[name], value), name
    for name, value in signs.mapper.state_dict().items():
        assert torch.equal(value, mapper[name]), name


def test_an_embedding_mapper_starts_from_the_gloss_table_of_the_checkpoint():
    config = MapperConfig(type="embedding", input="gloss_probs")
    signs = _translator(in_features=len(CLASSES), mapper=config)
    glosses = _translator(seed=1, gloss_table="random")
    assert glosses.gloss_table is not None and signs.mapper is not None
    column = CLASSES.id_of("regen")
    signs.load_language_model(glosses.state_dict())
    weight = signs.mapper.mapping.weight
    assert torch.equal(weight[:, column], glosses.gloss_table.weight[GLOSSES.id_of("regen")])
    assert not weight[:, CLASSES.id_of("<si>")].any()


def test_a_checkpoint_of_another_vocabulary_is_refused():
    other = GlossVocabulary.build([("REGEN",)], "translation")
    with pytest.raises(SltError, match=r"gloss table of shape \(10, 32\), here it is \(16, 32\)"):
        _translator().load_language_model(_translator(vocabulary=other).state_dict())
    smaller = _translator(mbart=SMALL.model_copy(update={"ffn_dim": 16}))
    with pytest.raises(SltError, match=r"of the checkpoint: .* is \(16"):
        _translator().load_language_model(smaller.state_dict())


@pytest.fixture(scope="module")
def learned() -> Translator:
    """A gloss translator that has learned all of PAIRS."""
    model = _translator().train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    inputs, targets = _gloss_input([glosses for glosses, _ in PAIRS]), _targets([text for _, text in PAIRS])
    for _ in range(140):
        loss = model(**inputs, **targets).loss
        assert loss is not None
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5
    return model.eval()


@pytest.mark.parametrize("num_beams", [1, 4])
def test_it_learns_to_translate(learned, num_beams):
    found = learned.generate(**_gloss_input([glosses for glosses, _ in PAIRS]), num_beams=num_beams, max_length=30)
    assert TOKENIZER.decode_batch(found.ids) == [text for _, text in PAIRS]


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("length_penalty", [0.5, 1.0, 2.0])
def test_a_score_is_the_log_probability_over_the_length(learned, num_beams, length_penalty):
    inputs = _gloss_input([glosses for glosses, _ in PAIRS[:3]])
    found = learned.generate(**inputs, num_beams=num_beams, max_length=30, length_penalty=length_penalty)
    logits = learned(**inputs, decoder_input_ids=found.ids[:, :-1]).logits
    real = found.ids[:, 1:] != TOKENIZER.pad_id
    log_probs = logits.log_softmax(-1).gather(-1, found.ids[:, 1:, None])[..., 0].masked_fill(~real, 0)
    torch.testing.assert_close(found.scores, log_probs.sum(1) / real.sum(1) ** length_penalty, atol=1e-4, rtol=1e-3)


def test_n_best_lists_are_sorted_and_hold_no_double(learned):
    found = learned.generate(**_gloss_input([glosses for glosses, _ in PAIRS[:2]]), num_beams=4, num_return=3)
    assert len(found.ids) == len(found.scores) == 6
    for row, (_, text) in zip(range(0, 6, 3), PAIRS, strict=False):
        texts, scores = TOKENIZER.decode_batch(found.ids[row : row + 3]), found.scores[row : row + 3].tolist()
        assert texts[0] == text and len(set(map(tuple, found.ids[row : row + 3].tolist()))) == 3
        assert scores == sorted(scores, reverse=True)


def test_more_hypotheses_than_beams_are_refused(learned):
    with pytest.raises(SltError, match="5 hypotheses asked for with 4 beams"):
        learned.generate(**_gloss_input([("REGEN",)]), num_beams=4, num_return=5)


def test_an_output_ends_at_max_length(learned):
    found = learned.generate(**_gloss_input([("REGEN", "NORDEN")]), num_beams=4, max_length=4)
    assert found.ids.shape == (1, 4)
    assert (found.ids[0, 0], found.ids[0, -1]) == (TOKENIZER.language_id, TOKENIZER.eos_id)


def _sign_translator(head: bool, tap: str = "gloss_rep", **weights) -> SignTranslator:
    widths = {"s3d": 12, "gloss_rep": 8, "gloss_logits": len(CLASSES), "gloss_probs": len(CLASSES)}
    translator = _translator(in_features=widths[tap], mapper=MapperConfig(input=tap), **weights)
    config = HeadConfig(hidden=8, feedforward=16, dropout=0)
    return SignTranslator(VisualHead(config, 12, len(CLASSES)) if head else None, translator).eval()


@pytest.mark.parametrize("tap", ["s3d", "gloss_rep", "gloss_logits", "gloss_probs"])
def test_the_joint_model_runs_the_head_and_maps_the_chosen_tap(tap):
    model = _sign_translator(True, tap, recognition_weight=0.5, translation_weight=2.0)
    assert model.head is not None
    features, lengths = torch.rand(2, 9, 12).half(), torch.tensor([9, 7])
    gloss_ids, gloss_lengths = pad_ids([CLASSES.encode(g) for g, _ in PAIRS[:2]], CLASSES.pad_id)
    targets = _targets([text for _, text in PAIRS[:2]])
    out = model(features, lengths, **targets, gloss_ids=gloss_ids, gloss_lengths=gloss_lengths)

    gloss_rep, gloss_logits = model.head(features.float(), lengths)
    stored = {"s3d": features, "gloss_rep": gloss_rep}.get(tap, gloss_logits)
    translation = model.translator(stored, lengths, **targets).loss
    recognition = ctc_loss(gloss_logits, lengths, gloss_ids, gloss_lengths)
    torch.testing.assert_close(out.translation_loss, translation)
    torch.testing.assert_close(out.recognition_loss, recognition)
    torch.testing.assert_close(out.loss, 0.5 * recognition + 2 * translation)
    torch.testing.assert_close(model.recognise(features, lengths), gloss_logits)
    found = model.generate(features, lengths, num_beams=2, max_length=8)
    assert torch.equal(found.ids, model.translator.generate(stored, lengths, num_beams=2, max_length=8).ids)


def test_both_losses_reach_the_head():
    features, lengths = torch.rand(1, 9, 12), torch.tensor([9])
    targets, ids = _targets([PAIRS[0][1]]), torch.tensor([CLASSES.encode(PAIRS[0][0])])
    for weights in ({"recognition_weight": 0.0}, {"translation_weight": 0.0}):
        model = _sign_translator(True, **weights)
        out = model(features, lengths, **targets, gloss_ids=ids, gloss_lengths=torch.tensor([2]))
        assert (out.recognition_loss is None) == (weights == {"recognition_weight": 0.0})
        out.loss.backward()
        assert model.head is not None and model.head.fc1.weight.grad.abs().sum() > 0


def test_without_a_head_the_stored_stream_is_mapped_and_nothing_recognised():
    model = _sign_translator(False)
    features, lengths = torch.rand(1, 9, 8), torch.tensor([9])
    out = model(features, lengths, **_targets([PAIRS[0][1]]))
    assert out.gloss_logits is None and out.recognition_loss is None and model.recognise(features, lengths) is None
    torch.testing.assert_close(out.loss, model.translator(features, lengths, **_targets([PAIRS[0][1]])).loss)


def test_parts_hold_every_parameter_once():
    model = _sign_translator(True)
    parts = model.parts()
    assert set(parts) == {"recognition", "mapper", "translation"}
    ids = [id(p) for part in parts.values() for p in part]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
