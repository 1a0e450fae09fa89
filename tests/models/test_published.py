"""A published checkpoint is data: read without running it, and laid beside a model name by name."""

import collections
import gzip
import math
import os
import pickle

import numpy as np
import pytest
import torch
from published_weights import BRIDGE, Calls, as_published
from torch import nn

from slt_pipeline.config.translator import CVSLTConfig, MBartConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.foreign import read_foreign
from slt_pipeline.models.published import match_published, our_name
from slt_pipeline.models.variational import Attention

TINY = MBartConfig(d_model=8, num_layers=1, num_heads=2, ffn_dim=8, max_positions=16)


class Pieces:
    """Twelve pieces of text."""

    vocab_size, language_id = 12, 4

    def gloss_pieces(self, name):
        return [3]


@pytest.fixture
def model() -> nn.Module:
    return nn.ModuleDict({"translator": build_translator(CVSLTConfig(mbart=TINY, latent=4), Pieces(), in_features=6)})


@pytest.fixture
def state(model) -> dict[str, torch.Tensor]:
    return as_published(model.state_dict())


def saved(path, content, packed=False):
    torch.save(content, path)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def refused(path) -> str:
    with pytest.raises(SltError) as error:
        read_foreign(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("packed", [False, True])
def test_weights_step_and_score_are_read(tmp_path, packed):
    content = {"model_state": {"a": torch.ones(2)}, "global_step": 7, "best_score": 29.5, "optimizer_state": {"lr": 1}}
    found = read_foreign(saved(tmp_path / "a.ckpt", content, packed))
    assert (found.step, found.best_score, found.state["a"].tolist()) == (7, 29.5, [1.0, 1.0])
    content = {"model_state": {"a": torch.ones(2)}, "global_step": None}
    bare = read_foreign(saved(tmp_path / "b.ckpt", content, packed))
    assert (bare.step, bare.best_score) == (0, None)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("where", ["model_state", "optimizer_state", "scheduler_state"])
def test_a_call_in_a_checkpoint_is_refused_by_name_and_not_made(tmp_path, packed, where):
    mark = tmp_path / "mark"
    content = {"model_state": {"a": torch.ones(2)}, where: {"a": Calls(os.system, f"touch {mark}")}}
    path = saved(tmp_path / "a.ckpt", content, packed)
    assert f"refused: it asks for {os.system.__module__}.system" in refused(path)
    assert not mark.exists()


@pytest.mark.parametrize("hostile", [Calls(eval, "1"), Calls(getattr, "a", "upper"), Calls(pickle.loads, b"N."), TINY])
def test_whatever_is_no_plain_data_is_refused(tmp_path, hostile):
    assert "only tensors and plain data" in refused(saved(tmp_path / "a.ckpt", {"model_state": {"a": hostile}}))


def test_a_pickle_without_an_archive_is_refused_too(tmp_path):
    mark = tmp_path / "mark"
    path = tmp_path / "a.ckpt"
    path.write_bytes(pickle.dumps({"model_state": Calls(os.system, f"touch {mark}")}, protocol=2))
    refused(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": {"a": torch.ones(1)}}, "found net"),
        ({"model_state": {}}, "expected tensors by name"),
        ({"model_state": [torch.ones(1)]}, "expected tensors by name"),
        ({"model_state": {"a": "text"}}, "expected tensors by name"),
        ({"model_state": {3: torch.ones(1)}}, "3 is no dense tensor of finite real numbers"),
        ({"model_state": {"a": torch.ones(1).expand(10**13)}}, "a is no dense tensor"),
        ({"model_state": {"a": torch.full([2], math.inf)}}, "a is no dense tensor"),
        ({"model_state": {"a": torch.ones(1, dtype=torch.complex64)}}, "a is no dense tensor"),
        ([1, 2], "found list"),
        (collections.OrderedDict(), "no checkpoint of a network"),
    ],
)
def test_another_file_of_tensors_is_named(tmp_path, content, message):
    assert message in refused(saved(tmp_path / "a.ckpt", content))


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named(tmp_path, packed):
    path = saved(tmp_path / "a.ckpt", {"model_state": {"a": torch.ones(999)}}, packed)
    path.write_bytes(path.read_bytes()[:300])
    refused(path)
    path.write_bytes(b"\x1f\x8b" if packed else b"")
    refused(path)
    path.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 40)  # what zlib takes for no stream of its own
    refused(path)


def test_a_score_that_was_saved_as_numpys_number_is_known(tmp_path):
    content = {"model_state": {"a": torch.ones(1)}, "global_step": np.int64(7), "best_score": np.float32(12.5)}
    found = read_foreign(saved(tmp_path / "a.ckpt", content))
    assert (found.step, found.best_score) == (7, 12.5)
    odd = {"model_state": {"a": torch.ones(1)}, "best_score": np.str_("many")}
    assert read_foreign(saved(tmp_path / "b.ckpt", odd)).best_score is None


@pytest.mark.parametrize("step", [-5, 10**30])
def test_a_step_or_score_that_is_none_is_not_known(tmp_path, step):
    content = {"model_state": {"a": torch.ones(1)}, "global_step": step, "best_score": math.nan}
    found = read_foreign(saved(tmp_path / "a.ckpt", content))
    assert (found.step, found.best_score) == (0, None)


def test_every_name_finds_its_own_and_copies_are_no_more(model, state):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    match = match_published(state, model)
    match.require_whole("it", "")
    for value in model.parameters():
        value.data.zero_()
    model.load_state_dict(match.found)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_not_fit_is_named_by_kind(model, state):
    recover, latent = f"{BRIDGE}recover_layer.bias", f"{BRIDGE}recover_layer.weight"
    copy = "translation_network.encoder.layer_norm.weight"
    del state[recover]
    state[latent] = torch.zeros(8, 5)
    state[copy] = state[copy] + 1
    state["translation_network.gloss_embedding.weight"] = torch.zeros(3, 8)
    with pytest.raises(SltError) as error:
        match_published(state, model).require_whole("the checkpoint a.ckpt", "set sizes")
    told = str(error.value)
    assert "the checkpoint a.ckpt does not fit" in told
    assert "1 missing (translator.gaussian.recover.bias)" in told
    assert "1 unexpected (translation_network.gloss_embedding.weight)" in told
    assert f"1 of another shape ({latent} (8, 5), here (8, 4))" in told
    assert f"1 no copy of what it should repeat ({copy})" in told
    assert "\n" not in told


def test_two_attentions_are_no_shared_one(state, model):
    own = f"{BRIDGE}posterior_variator.attn.q_proj.weight"
    state[own] = state[own] + 1
    assert match_published(state, model).unequal == [own]
    model["translator"].gaussian.posterior_attention = Attention(8, 2, 0.0, 0.0)
    match = match_published(state, model)
    match.require_whole("it", "")
    assert torch.equal(match.found["translator.gaussian.posterior_attention.q_proj.weight"], state[own])


@pytest.mark.parametrize("name", ["recognition_network.visual_backbone.base.0.weight", f"{BRIDGE}other.weight", "a"])
def test_a_name_that_nothing_stands_for(name):
    assert our_name(name) is None
