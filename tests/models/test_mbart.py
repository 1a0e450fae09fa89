"""mBART: from a configuration, from a Hugging Face folder, refusals."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from toy_translator import CLASSES, TOKENIZER, gloss_inputs, toy_translator
from transformers import MBartForConditionalGeneration

from slt_pipeline.config.translator import MapperConfig, MBartConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart import TIED_NAMES, build_mbart, require_mbart, text_embedding

SMALL = MBartConfig(d_model=16, num_layers=1, num_heads=2, ffn_dim=32, max_positions=20)
SETTINGS = {
    "model_type": "mbart",
    "vocab_size": 40,
    "d_model": 16,
    "max_position_embeddings": 20,
    "scale_embedding": True,
    "num_beams": 5,
    "max_length": 1024,
    "dropout": 0.9,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
}


def _folder(path: Path, form: str, **settings) -> tuple[Path, dict[str, torch.Tensor]]:
    state = {name: value.contiguous() for name, value in build_mbart(SMALL, 40).state_dict().items()}
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**SETTINGS, **settings}))
    if form == "safetensors":
        save_file({name: value for name, value in state.items() if name not in TIED_NAMES}, path / "model.safetensors")
    else:
        # the published pruned folders hold the text embedding under the names of both stacks only
        kept = {name: value for name, value in state.items() if name not in ("lm_head.weight", "model.shared.weight")}
        torch.save(kept, path / "pytorch_model.bin")
    return path, state


def test_a_new_model_has_the_configured_size_and_ties_its_embeddings():
    model = build_mbart(SMALL, 40)
    assert text_embedding(model).shape == (40, 16)
    assert model.get_output_embeddings().weight is text_embedding(model)
    assert model.get_encoder().embed_tokens.weight is text_embedding(model)
    assert model.get_encoder().embed_tokens.embed_scale == 4.0
    assert (model.config.dropout, model.config.attention_dropout) == (0.3, 0.1)


def test_position_std_spreads_the_first_positions():
    torch.manual_seed(0)
    model = build_mbart(SMALL.model_copy(update={"position_std": 2.0}), 40)
    for stack in (model.get_encoder(), model.get_decoder()):
        assert 1.7 < stack.embed_positions.weight.std() < 2.3


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_a_folder_gives_its_own_size_and_weights_but_not_its_dropout(tmp_path, form):
    folder, state = _folder(tmp_path, form)
    model = build_mbart(MBartConfig(folder=folder), 40)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert (model.config.dropout, model.config.attention_dropout) == (0.3, 0.1)
    assert model.generation_config.max_length != 1024


def test_the_text_embedding_can_be_frozen():
    model = build_mbart(SMALL.model_copy(update={"freeze_text_embedding": True}), 40)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["model.shared.weight"]


def test_a_vocabulary_that_is_not_the_tokenizers_is_refused(tmp_path):
    folder, _ = _folder(tmp_path, "bin")
    with pytest.raises(SltError, match="40 pieces, the tokenizer has 41"):
        build_mbart(MBartConfig(folder=folder), 41)


def test_weights_of_another_size_are_refused(tmp_path):
    folder, _ = _folder(tmp_path, "bin", decoder_ffn_dim=8)
    with pytest.raises(SltError, match=r"model\.decoder\.layers\.0\.fc1.* is \(32,.*the model has \(8,"):
        build_mbart(MBartConfig(folder=folder), 40)
    folder, _ = _folder(tmp_path, "bin", encoder_layers=2)
    with pytest.raises(SltError, match="16 missing, 0 unknown"):
        build_mbart(MBartConfig(folder=folder), 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_position_embeddings": 10**12},
            r"embed_positions.weight is \(22, 16\), the model has \(1000000000002, 16",
        ),
        ({"d_model": 10**12}, "their config.json makes no model"),
        ({"decoder_layers": 10**9}, "tensors, and config.json says decoder_layers = 1000000000"),
        ({"decoder_attention_heads": 3}, "config.json makes no model .*must be divisible by num_heads"),
        ({"activation_function": "no such"}, "config.json makes no model .*no such"),
        ({"encoder_ffn_dim": "32"}, 'config.json says encoder_ffn_dim = "32", which is not a whole number'),
        ({"encoder_layers": None}, "config.json says encoder_layers = null, which is not a whole number"),
        ({"encoder_layers": 0}, "config.json says encoder_layers = 0, which is no size"),
        ({"vocab_size": True}, "config.json says vocab_size = true, which is not a whole number"),
        ({"init_std": "small"}, "config.json says init_std = .small., which is not a number"),
        ({"scale_embedding": 1}, "config.json says scale_embedding = 1, which is not true or false"),
    ],
)
def test_settings_that_make_no_model_of_these_weights_are_refused_before_there_is_memory(tmp_path, settings, message):
    folder, _ = _folder(tmp_path, "safetensors", **settings)
    with pytest.raises(SltError, match=message) as refused:
        build_mbart(MBartConfig(folder=folder), 40)
    assert "\n" not in str(refused.value)


def test_looking_at_a_folder_draws_no_number(tmp_path):
    folder, state = _folder(tmp_path, "safetensors")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    require_mbart(folder, state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", TIED_NAMES)
def test_an_mbart_whose_embeddings_are_not_tied_is_refused_and_not_replaced(tmp_path, name):
    folder, state = _folder(tmp_path, "bin")
    untied = {**state, name: state[name] + 1}
    torch.save(untied, folder / "pytorch_model.bin")
    with pytest.raises(SltError, match=rf"{name} is not model\.shared\.weight; .*embeddings are tied"):
        build_mbart(MBartConfig(folder=folder), 40)
    torch.save(state, folder / "pytorch_model.bin")  # all four names, one content
    build_mbart(MBartConfig(folder=folder), 40)


SAID = [{"scale_embedding": True}, {"scale_embedding": False}, {}]


def _said(folder: Path, said: dict) -> MBartConfig:
    """A folder for the toy's tokenizer whose config.json says so of its scale."""
    folder.mkdir()
    settings = {key: value for key, value in SETTINGS.items() if key != "scale_embedding"}
    (folder / "config.json").write_text(json.dumps({**settings, "vocab_size": TOKENIZER.vocab_size, **said}))
    torch.manual_seed(0)
    mbart = build_mbart(SMALL, TOKENIZER.vocab_size)
    torch.nn.init.normal_(text_embedding(mbart))
    save_file({n: v for n, v in mbart.state_dict().items() if n not in TIED_NAMES}, folder / "model.safetensors")
    return MBartConfig(folder=folder)


@pytest.fixture(params=SAID, ids=str)
def scaled(request, tmp_path):
    """The configuration of such a folder, and transformers' own model of it: what it makes of ids is right."""
    config = _said(tmp_path / "mbart", request.param)
    return config, MBartForConditionalGeneration.from_pretrained(tmp_path / "mbart").eval()


def _pieces(*words: str) -> torch.Tensor:
    """Ids (1, N) of words that are a piece each, and what closes a source."""
    pieces = [TOKENIZER.gloss_pieces(word) for word in words]
    assert all(len(ids) == 1 for ids in pieces)
    return torch.tensor([[*(ids[0] for ids in pieces), TOKENIZER.eos_id, TOKENIZER.language_id]])


def test_glosses_enter_as_transformers_embeds_their_pieces(scaled):
    config, theirs = scaled
    model, ids = toy_translator(mbart=config), _pieces("regen", "norden")
    source = model.source(gloss_inputs([("REGEN", "NORDEN")]))
    expected = theirs.get_encoder()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(model.encode(source), expected)
    start = torch.tensor([[TOKENIZER.language_id, 40]])
    found = model.decode(model.encode(source), source.mask, start)
    torch.testing.assert_close(found, theirs(input_ids=ids, decoder_input_ids=start).logits)


def test_a_certain_gloss_of_an_embedding_mapper_enters_as_transformers_embeds_it(scaled):
    config, theirs = scaled
    mapper = MapperConfig(type="embedding", input="gloss_probs")
    model = toy_translator(len(CLASSES), mbart=config, mapper=mapper)
    certain = torch.nn.functional.one_hot(torch.tensor([CLASSES.encode(["REGEN", "NORDEN"])]), len(CLASSES))
    source = model.source({"features": certain.float(), "lengths": torch.tensor([2])})
    expected = theirs.get_encoder()(input_ids=_pieces("regen", "norden")).last_hidden_state
    torch.testing.assert_close(model.encode(source), expected)


@pytest.mark.parametrize("system", ["mmtlb", "cvslt"])
@pytest.mark.parametrize("suffix", ["txt", "gls"])
def test_the_suffix_enters_as_transformers_embeds_it(scaled, suffix, system):
    config, theirs = scaled
    model = toy_translator(5, mbart=config, suffix=suffix, system=system)
    source = model.source({"features": torch.zeros(1, 2, 5), "lengths": torch.tensor([2])})
    torch.testing.assert_close(source.vectors[:, 2:], theirs.get_encoder().embed_tokens(_pieces()))


def test_texts_enter_the_posterior_of_cvslt_as_transformers_embeds_them(scaled):
    config, theirs = scaled
    model = toy_translator(5, mbart=config, suffix="txt", system="cvslt")
    labels = TOKENIZER.encode_target(["im norden gibt es regen ."]).labels
    expected = theirs.get_encoder()(input_ids=labels, attention_mask=(labels != 1).long()).last_hidden_state
    found = model.encode(model.text_source(labels))
    torch.testing.assert_close(found, expected)


def test_weights_in_shards_are_read(tmp_path):
    folder, state = _folder(tmp_path, "safetensors")
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {f"model-0000{part}-of-00002.safetensors": sorted(whole)[part - 1 :: 2] for part in (1, 2)}
    for file, names in parts.items():
        save_file({name: whole[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in parts.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = build_mbart(MBartConfig(folder=folder), 40)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    index["weight_map"]["model.encoder.more"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SltError, match=r"1 tensors are in no shard, such as model\.encoder\.more"):
        build_mbart(MBartConfig(folder=folder), 40)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(SltError, match=r"config\.json cannot be read"):
        build_mbart(MBartConfig(folder=tmp_path), 40)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(SltError, match="model_type is 'bert', not 'mbart'"):
        build_mbart(MBartConfig(folder=tmp_path), 40)
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    with pytest.raises(SltError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        build_mbart(MBartConfig(folder=tmp_path), 40)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_folder_whose_weights_run_code_is_refused(tmp_path, is_zip):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    _folder(tmp_path, "bin")
    weights = {"model.shared.weight": Hostile()}
    torch.save(weights, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(SltError, match=r"pytorch_model\.bin: refused: it asks for .*; only tensors") as refused:
        build_mbart(MBartConfig(folder=tmp_path), 40)
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK", b"\x80\x02."])
def test_weights_that_are_damaged_are_one_line(tmp_path, content):
    _folder(tmp_path, "bin")
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(SltError, match=r"pytorch_model\.bin: .*fetch it anew") as refused:
        build_mbart(MBartConfig(folder=tmp_path), 40)
    assert "\n" not in str(refused.value)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match="d_model 100 is not a multiple of num_heads 16"):
        MBartConfig(d_model=100)
