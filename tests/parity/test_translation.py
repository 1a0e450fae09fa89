"""Tokenizers, translation network, beam search, label smoothing and V-L mapper against the published code."""

import numpy as np
import pytest
import torch
from parity_data import case_names, check_checksum

from slt_pipeline.config.translator import MapperConfig, MBartConfig, MMTLBConfig
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.label_smoothing import smoothed_kl
from slt_pipeline.models.language import append_suffix
from slt_pipeline.models.mapper import Mapper
from slt_pipeline.models.taps import Taps
from slt_pipeline.models.translator import Translator
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import Tokenizer

FOLDER_FILES = (
    *("config.json", "pytorch_model.bin", "sentencepiece.bpe.model"),
    *("map_ids.json", "gloss2ids.json", "gloss_embeddings.bin"),
)
INPUTS = ("feature", "gloss")


@pytest.fixture
def part(load_part):
    return load_part("translation")


@pytest.fixture
def folder(part):
    for name in FOLDER_FILES:
        part.file(f"tiny_mbart/{name}")
    return part.file("tiny_mbart/config.json").parent


@pytest.fixture
def glosses(folder) -> GlossVocabulary:
    return GlossVocabulary.load(folder / "gloss2ids.json")


@pytest.fixture
def translator(part, folder, glosses) -> Translator:
    """The network as it is built from the folder; then the two random gloss vectors that the folder lacks are set."""
    network = part.json["network_cfg"]
    config = MMTLBConfig(
        mbart=MBartConfig(folder=folder, dropout=0, attention_dropout=0),
        suffix=network["gls_eos"],
        label_smoothing=network["label_smoothing"],
    )
    tokenizer = Tokenizer.load(folder, network["tgt_lang"])
    model = build_translator(config, tokenizer, glosses, gloss_language=network["src_lang"])
    built = model.state_dict()
    want = {
        _our_name(name): torch.from_numpy(part.tensors[name]) for name in part.tensors if name.startswith("weights/")
    }
    assert built.keys() == want.keys()
    stored = torch.load(folder / "gloss_embeddings.bin", weights_only=True)
    known = [index for index, name in enumerate(glosses.names) if name in stored]
    for name in built:
        rows = known if name == "gloss_table.weight" else slice(None)
        assert torch.equal(built[name][rows], want[name][rows]), f"{name} was not built as published"
    model.load_state_dict(want)
    assert model.scale == network["input_embed_scale"]
    return model.eval()


@pytest.mark.parametrize("case", ["tokenizer_de", "tokenizer_zh", "tokenizer_single"])
def test_text_becomes_the_published_ids(part, folder, case):
    described = part.json["cases"][case]
    tokenizer = Tokenizer.load(folder, described["tgt_lang"])
    whole = Tokenizer(tokenizer.model, described["tgt_lang"])
    assert [whole.encode(text) for text in described["texts"]] == described["raw_ids_before_pruning"]
    targets = tokenizer.encode_target(described["texts"])
    part.check(f"{case}/labels", targets.labels)
    part.check(f"{case}/decoder_input_ids", targets.decoder_input_ids)
    part.check_all_were_checked(f"{case}/")


def test_glosses_become_the_published_ids(part, glosses):
    described = part.json["cases"]["tokenizer_gloss"]
    ids, lengths = pad_ids([glosses.encode(row.split()) for row in described["glosses"]], glosses.pad_id)
    suffix = torch.tensor([glosses.eos_id, glosses.id_of(described["src_lang"])])
    source, mask = append_suffix(ids, lengths, suffix, torch.tensor(glosses.pad_id))
    part.check("tokenizer_gloss/input_ids", source)
    part.check("tokenizer_gloss/attention_mask", mask)
    part.check_all_were_checked("tokenizer_gloss/")


@pytest.mark.parametrize(("key", "language"), [("de", "de_DE"), ("zh", "zh_CN")])
def test_ids_become_the_published_text(part, folder, key, language):
    ids = torch.from_numpy(part.tensors["batch_decode/ids"])
    assert Tokenizer.load(folder, language).decode_batch(ids) == part.json["cases"]["batch_decode"][key]


@pytest.mark.parametrize("kind", INPUTS)
def test_network(part, translator, glosses, kind):
    inputs = _inputs(part, glosses, kind)
    source = translator.source(inputs)
    part.check(f"{kind}/inputs_embeds", source.vectors)
    part.check(f"{kind}/attention_mask", source.mask)
    # what the encoder says of masked steps is unspecified: those are taken from the reference
    reference = torch.from_numpy(part.tensors[f"{kind}/encoder_last_hidden_state"])
    states = torch.where(source.mask[..., None] == 1, translator.states(source), reference)
    part.check(f"{kind}/encoder_last_hidden_state", states)

    targets = _targets(part)
    logits = translator.decode(translator.states(source), source.mask, targets["decoder_input_ids"])
    part.check(f"{kind}/logits", logits)
    loss = translator({**inputs, **targets}, {"translation"})["translation"]
    part.check(f"{kind}/translation_loss", loss)
    loss.backward()
    got = {_their_name(name): float(p.grad.norm()) for name, p in translator.named_parameters()}
    want, tolerance = part.json["grad_l2"][kind], part.json["grad_l2_tolerance"]
    assert got.keys() == want.keys()
    for name in want:
        assert got[name] == pytest.approx(want[name], rel=tolerance["rtol"], abs=tolerance["atol"]), name


@pytest.mark.parametrize("setting", case_names("translation", "generate_settings"))
@pytest.mark.parametrize("kind", INPUTS)
def test_beam_search(part, folder, translator, glosses, kind, setting):
    settings = part.json["generate_settings"][setting]
    found = translator.generate(translator.source(_inputs(part, glosses, kind)), **settings, with_scores=True)
    name = f"{kind}/generate_{setting}"
    part.check(name, found.ids)
    if f"{name}_scores" in part.tensors:
        part.check(f"{name}_scores", found.scores)
    described = part.json["cases"][kind]["generated"][setting]
    assert described["settings"] == settings
    tokenizer = Tokenizer.load(folder, part.json["network_cfg"]["tgt_lang"])
    assert tokenizer.decode_batch(found.ids) == described["decoded"]


def test_every_output_of_the_network_has_a_test(part):
    settings = range(len(part.json["generate_settings"]))
    searched = [f"{kind}/generate_{index}{end}" for kind in INPUTS for index in settings for end in ("", "_scores")]
    names = ("inputs_embeds", "attention_mask", "encoder_last_hidden_state", "logits", "translation_loss")
    compared = {*searched, *(f"{kind}/{name}" for kind in INPUTS for name in names)}
    rest = [name for name in part.outputs() if name not in compared and not name.startswith(("tokenizer_", "xent/"))]
    assert rest == []
    handled = {*INPUTS, "batch_decode", "tokenizer_de", "tokenizer_zh", "tokenizer_single", "tokenizer_gloss"}
    assert set(part.json["cases"]) <= handled


def test_label_smoothed_loss(part):
    labels = torch.from_numpy(part.tensors["xent/targets"])
    for name in part.outputs("xent/loss_"):
        smoothing = name.removeprefix("xent/loss_")
        log_probs = torch.from_numpy(part.tensors["xent/log_probs"]).requires_grad_()
        loss = smoothed_kl(log_probs, labels, float(smoothing), pad_id=part.json["ids"]["pad"])
        part.check(name, loss)
        loss.backward()
        if f"xent/grad_{smoothing}" in part.tensors:
            part.check(f"xent/grad_{smoothing}", log_probs.grad)
    part.check_all_were_checked("xent/")


def test_projection_mapper(load_part):
    part = load_part("head")
    described = part.json["vl_mapper_projection_weights"]
    shapes = described["shapes"]
    assert "param(seed + 1, key, shape, style='linear')" in described["rule"]
    drawn = part.rules.params(part.seed + 1, shapes, "linear")
    for key, sums in described["checksum"].items():
        check_checksum(drawn[key], sums, part.rules, key)
    hidden, in_features = shapes["mapping.0.weight"]
    mapper = Mapper(MapperConfig(hidden=hidden), in_features, shapes["mapping.2.weight"][0])
    mapper.load_state_dict({key: torch.from_numpy(value) for key, value in drawn.items()})
    steps = part.tensors["vl_mapper/projection"].shape[1]
    gloss_rep = torch.from_numpy(part.tensors["eval/gloss_feature"])
    part.check("vl_mapper/projection", mapper(gloss_rep)[:, :steps])


def test_embedding_mapper(load_part):
    part = load_part("head")
    described = part.json["vl_mapper_embedding_weights"]
    d_model, num_classes = described["shape"]
    assert "2*u(seed, 'gls2embed/'+gloss, (64,))-1" in described["rule"] and "i % 7 == 5" in described["rule"]
    vectors = np.zeros((num_classes, d_model), np.float32)
    for index, gloss in enumerate(part.json["gloss_vocabulary"]):
        if index % 7 != 5:
            vectors[index] = 2 * part.rules.u(part.seed, "gls2embed/" + gloss, (d_model,)) - 1
    check_checksum(vectors.T, described["checksum"], part.rules, "vl_mapper_embedding_weights")
    config = MapperConfig(type="embedding", input="gloss_probs")
    mapper = Mapper(config, num_classes, d_model)
    mapper.start_columns(torch.from_numpy(vectors))
    gloss_logits, lengths = (torch.from_numpy(part.tensors[name]) for name in ("eval/gloss_logits", "lengths"))
    part.check("vl_mapper/embedding", mapper(Taps(None, None, gloss_logits, lengths)[config.input]))


def _inputs(part, glosses, kind):
    if kind == "feature":
        features, lengths = (torch.from_numpy(part.tensors[f"feature/input_{name}"]) for name in ("feature", "lengths"))
        return {"features": features, "lengths": lengths}
    rows = [glosses.encode(row.split()) for row in part.json["cases"]["tokenizer_gloss"]["glosses"]]
    ids, lengths = pad_ids(rows, glosses.pad_id)
    return {"gloss_input_ids": ids, "gloss_input_lengths": lengths}


def _targets(part):
    names = ("labels", "decoder_input_ids")
    return {name: torch.from_numpy(part.tensors[f"tokenizer_de/{name}"]) for name in names}


def _our_name(name: str) -> str:
    name = name.removeprefix("weights/")
    return "gloss_table.weight" if name == "gloss_embedding.weight" else name.replace("model.", "mbart.", 1)


def _their_name(name: str) -> str:
    return "gloss_embedding.weight" if name == "gloss_table.weight" else name.replace("mbart.", "model.", 1)
