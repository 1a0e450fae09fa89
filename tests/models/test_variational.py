"""The bridge of CV-SLT by itself: its two divergences by hand, what it draws, how a latent joins the states."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Categorical, Normal, kl_divergence
from toy_translator import SMALL

from slt_pipeline.config.translator import CVSLTConfig
from slt_pipeline.models.variational import Attention, Gaussian, GaussianNetwork, gaussian_kl, output_kl

B, S, N, V, Z, M = 3, 5, 4, 7, 6, 32
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(3)


def gaussian() -> Gaussian:
    return Gaussian(torch.randn(B, S, Z), torch.randn(B, S, Z))


def log_probs() -> torch.Tensor:
    return torch.randn(B, N, V).log_softmax(dim=-1)


def bridge(**changes) -> GaussianNetwork:
    return GaussianNetwork(CVSLTConfig.model_validate({"mbart": SMALL, "latent": Z, **changes}), M, 2)


# --- divergences


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_latent_divergence_is_that_of_normal_distributions_summed_over_all_by_clips(mask):
    posterior, prior = gaussian(), gaussian()
    q, p = (Normal(g.mean, (0.5 * g.log_variance).exp()) for g in (posterior, prior))
    each = kl_divergence(q, p).sum(dim=-1)
    expected = (each if mask is None else each[mask.bool()]).sum() / B
    torch.testing.assert_close(gaussian_kl(posterior, prior, mask), expected)


def test_the_latent_divergence_by_hand():
    """N(1, 4) from N(0, 1): (1 + 4 - 1 - log 4) / 2; N(0, 1) from N(0, e): (1 / e - 1 + 1) / 2; two clips."""
    posterior = Gaussian(torch.tensor([[[1.0]], [[0.0]]]), torch.tensor([[[math.log(4)]], [[0.0]]]))
    prior = Gaussian(torch.zeros(2, 1, 1), torch.tensor([[[0.0]], [[1.0]]]))
    expected = ((4 - math.log(4)) / 2 + math.exp(-1) / 2) / 2
    assert float(gaussian_kl(posterior, prior)) == pytest.approx(expected)
    assert float(gaussian_kl(prior, prior)) == 0


def test_the_latent_divergence_is_the_published_sum_of_a_residual_change():
    """FACTS 9.3: half the sum of (mean change squared / variance + variance change - its logarithm - 1)."""
    prior, change = gaussian(), gaussian()
    posterior = Gaussian(prior.mean + change.mean, prior.log_variance + change.log_variance)
    squared = change.mean**2 / prior.log_variance.exp()
    expected = 0.5 * (squared + change.log_variance.exp() - change.log_variance - 1).sum() / B
    torch.testing.assert_close(gaussian_kl(posterior, prior), expected)


@pytest.mark.parametrize("mask", [None, MASK[:, :N]])
def test_the_output_divergence_is_that_of_categorical_distributions_in_each_direction(mask):
    p, q = log_probs(), log_probs()
    prior, posterior = Categorical(logits=p), Categorical(logits=q)

    def total(each: torch.Tensor) -> torch.Tensor:
        return (each if mask is None else each[mask.bool()]).sum() / B

    to_prior, to_posterior = total(kl_divergence(posterior, prior)), total(kl_divergence(prior, posterior))
    torch.testing.assert_close(output_kl(p, q, "to_prior", mask), to_prior)
    torch.testing.assert_close(output_kl(p, q, "to_prior_detached", mask), to_prior)
    torch.testing.assert_close(output_kl(p, q, "symmetric", mask), 0.5 * (to_prior + to_posterior))
    torch.testing.assert_close(to_prior, total((q.exp() * (q - p)).sum(dim=-1)))  # posterior first
    assert not torch.isclose(to_prior, to_posterior)


def test_the_output_divergence_by_hand():
    p, q = torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.25, 0.75]]]).log()
    to_prior = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    to_posterior = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(output_kl(p, q, "to_prior")) == pytest.approx(to_prior)
    assert float(output_kl(p, q, "symmetric")) == pytest.approx((to_prior + to_posterior) / 2)


@pytest.mark.parametrize("direction", ["symmetric", "to_prior", "to_prior_detached"])
def test_only_a_detached_posterior_gets_no_gradient(direction):
    p, q = (torch.randn(B, N, V, requires_grad=True) for _ in range(2))
    output_kl(p.log_softmax(-1), q.log_softmax(-1), direction).backward()
    assert p.grad is not None
    assert p.grad.abs().sum() > 0
    assert (q.grad is None) == (direction == "to_prior_detached")


# --- the bridge


@pytest.mark.parametrize("combine", ["prefix", "postfix", "none"])
def test_a_latent_joins_the_states_as_its_name_says(combine):
    network, states, latent = bridge(combine=combine), torch.randn(B, S, M), torch.randn(B, S, Z)
    recovered = latent @ network.recover.weight.T + network.recover.bias
    expected = {
        "prefix": states + F.layer_norm(recovered, (M,)),
        "postfix": F.layer_norm(states + recovered, (M,)),
        "none": states + recovered,
    }[combine]
    torch.testing.assert_close(network.memory(states, latent), expected)


def test_a_residual_posterior_is_a_change_of_the_prior_and_an_absolute_one_is_not():
    signs, text, mask = torch.randn(B, S, M), torch.randn(B, N, M), MASK[:, :N]
    network, prior = bridge(posterior="residual").eval(), gaussian()
    alone = bridge(posterior="absolute").eval()
    alone.load_state_dict(network.state_dict())
    change, absolute = (n.posterior(prior, signs, text, mask) for n in (network, alone))
    torch.testing.assert_close(change.mean, prior.mean + absolute.mean)
    torch.testing.assert_close(change.log_variance, prior.log_variance + absolute.log_variance)
    both = alone.posterior_head(alone.attention(signs, text, mask))
    assert torch.equal(absolute.mean, both[..., :Z])  # the mean stands first
    assert torch.equal(absolute.log_variance, both[..., Z:])


@pytest.mark.parametrize("attention", ["shared", "separate"])
def test_the_posterior_has_an_attention_of_its_own_only_where_they_are_separate(attention):
    network, states = bridge(attention=attention, posterior="absolute").eval(), torch.randn(B, S, M)
    before = network.posterior(None, states, states, MASK).mean
    torch.nn.init.normal_(network.attention.v_proj.weight)
    after = network.posterior(None, states, states, MASK).mean
    assert torch.equal(before, after) == (attention == "separate")


def test_the_attention_is_torchs_multi_head_attention_and_sees_what_is_not_masked():
    ours, theirs = Attention(M, 4, 0.0, 0.0), torch.nn.MultiheadAttention(M, 4, batch_first=True)
    projections = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.data = torch.cat([p.weight.data for p in projections])
    theirs.in_proj_bias.data = torch.cat([p.bias.data for p in projections])
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    queries, keys = torch.randn(B, 2, M), torch.randn(B, S, M)
    expected, _ = theirs(queries, keys, keys, key_padding_mask=~MASK.bool())
    torch.testing.assert_close(ours(queries, keys, MASK), expected)
    hidden = torch.where(MASK.bool()[..., None], keys, 1e4)
    torch.testing.assert_close(ours(queries, hidden, MASK), expected)


def test_a_sample_is_the_mean_and_noise_times_the_standard_deviation():
    found, noise = Gaussian(torch.tensor([[[2.0]]]), torch.tensor([[[math.log(9)]]])), torch.tensor([[[-1.5]]])
    assert float(found.sample(noise)) == pytest.approx(2 - 1.5 * 3)
    assert float(found.sample(None)) == 2


def test_dropout_is_that_of_mbart_on_probabilities_and_on_the_output():
    config = SMALL.model_copy(update={"dropout": 0.4, "attention_dropout": 0.2})
    attention = bridge(mbart=config).attention
    assert (attention.dropout, attention.attention_dropout) == (0.4, 0.2)
    ones = Attention(M, 4, 0.0, 0.4)
    torch.nn.init.zeros_(ones.out_proj.weight)
    torch.nn.init.ones_(ones.out_proj.bias)
    found = ones(torch.randn(50, S, M), torch.randn(50, S, M), torch.ones(50, S)).unique()
    torch.testing.assert_close(found, torch.tensor([0, 1 / 0.6]))
    assert torch.equal(ones.eval()(torch.randn(1, S, M), torch.randn(1, S, M), torch.ones(1, S)), torch.ones(1, S, M))
