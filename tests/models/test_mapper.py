"""The V-L mapper: what it reads, its layers, its first values."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slt_pipeline.config.translator import MapperConfig, MMTLBConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.mapper import Mapper


def _layers(mapper: Mapper) -> list[tuple[int, int]]:
    return [(m.in_features, m.out_features) for m in mapper.modules() if isinstance(m, nn.Linear)]


def test_projection_has_the_published_size():
    mapper = Mapper(MapperConfig(), 512, 1024)
    assert _layers(mapper) == [(512, 1024), (1024, 1024)]
    assert sum(p.numel() for p in mapper.parameters()) == 1_574_912


@pytest.mark.parametrize(
    ("num_hidden", "layers"), [(0, [(8, 6)]), (1, [(8, 5), (5, 6)]), (2, [(8, 5), (5, 5), (5, 6)])]
)
def test_projection_takes_any_number_of_hidden_layers(num_hidden, layers):
    assert _layers(Mapper(MapperConfig(hidden=5, num_hidden=num_hidden), 8, 6)) == layers


def test_embedding_has_the_published_size_and_averages_gloss_vectors():
    mapper = Mapper(MapperConfig(type="embedding", input="gloss_probs"), 2004, 1024)
    assert sum(p.numel() for p in mapper.parameters()) == 2_052_096

    mapper = Mapper(MapperConfig(type="embedding", input="gloss_probs"), 3, 2)
    mapper.start_columns(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 4.0]]))
    probabilities = torch.tensor([[[0.25, 0.25, 0.5]]])
    torch.testing.assert_close(mapper(probabilities), torch.tensor([[[1.25, 2.25]]]))


def test_some_columns_can_be_started_alone():
    mapper = Mapper(MapperConfig(type="embedding", input="gloss_probs"), 3, 2)
    before = mapper.mapping.weight.detach().clone()
    mapper.start_columns(torch.tensor([[7.0, 8.0]]), [1])
    assert mapper.mapping.weight[:, 1].tolist() == [7.0, 8.0]
    assert torch.equal(mapper.mapping.weight[:, [0, 2]], before[:, [0, 2]])


def test_vectors_of_another_mbart_are_refused():
    mapper = Mapper(MapperConfig(type="embedding", input="gloss_probs"), 3, 2)
    with pytest.raises(SltError, match=r"vectors of shape \(4, 2\), it needs \(3, 2\)"):
        mapper.start_columns(torch.zeros(4, 2))


def test_a_frozen_embedding_does_not_train():
    mapper = Mapper(MapperConfig(type="embedding", input="gloss_probs", freeze=True), 3, 2)
    assert not any(p.requires_grad for p in mapper.parameters())


@pytest.mark.parametrize(
    ("name", "stored_reads"),
    [("gloss_rep", "gloss_rep"), ("gloss_logits", "gloss_logits"), ("gloss_probs", "gloss_logits"), ("s3d", "s3d")],
)
def test_a_trained_head_reads_s3d_and_a_stored_one_the_stream_of_the_input(name, stored_reads):
    mapper = MapperConfig(input=name)
    assert MMTLBConfig(mapper=mapper, head="stored").stream == stored_reads
    assert MMTLBConfig(mapper=mapper, head="trained").stream == "s3d"


def test_an_embedding_of_anything_but_probabilities_is_refused():
    with pytest.raises(ValidationError, match="`embedding` needs input `gloss_probs`, not `gloss_rep`"):
        MapperConfig(type="embedding")
