"""The conditional variational bridge of CV-SLT: a Gaussian over latents of signs alone, and one of signs and text."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from slt_pipeline.config.translator import CVSLTConfig


class Gaussian(NamedTuple):
    """Diagonal Gaussians, one for each source step: `mean` and `log_variance` (B, S, Z), float32; Z latent width."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor | None) -> Tensor:
        """Return latents (B, S, Z) for standard normal `noise (B, S, Z)`; without noise the means."""
        return self.mean if noise is None else self.mean + noise * (0.5 * self.log_variance).exp()


class GaussianNetwork(nn.Module):
    """Encoder states to a prior and a posterior, and a latent back into what the decoder reads (FACTS 9.2).

    The attention has no residual, feed-forward, norm or positions around it. Weights start as PyTorch's, not mBART's.
    """

    def __init__(self, config: CVSLTConfig, width: int, num_heads: int):
        """Build it for encoder states of `width` M."""
        super().__init__()
        self.config = config
        dropouts = (config.mbart.attention_dropout, config.mbart.dropout)
        self.attention = Attention(width, num_heads, *dropouts)
        self.posterior_attention = Attention(width, num_heads, *dropouts) if config.attention == "separate" else None
        self.prior_head = nn.Linear(width, 2 * config.latent)
        self.posterior_head = nn.Linear(width, 2 * config.latent)
        self.recover = nn.Linear(config.latent, width)
        self.norm = None if config.combine == "none" else nn.LayerNorm(width)

    def prior(self, states: Tensor, mask: Tensor) -> Gaussian:
        """Return the prior of encoder states (B, S, M) of signs alone with their mask (B, S)."""
        return _gaussian(self.prior_head(self.attention(states, states, mask)))

    def posterior(self, prior: Gaussian | None, signs: Tensor, text: Tensor, text_mask: Tensor) -> Gaussian:
        """Return the posterior: encoder states of signs look at those of the text, both encoded together.

        Args:
            prior: of the same steps; a residual posterior is a change of it.
            signs: (B, S, M).
            text: (B, N, M).
            text_mask: (B, N), 1 on pieces.
        """
        change = _gaussian(self.posterior_head((self.posterior_attention or self.attention)(signs, text, text_mask)))
        if self.config.posterior == "absolute" or prior is None:
            return change
        return Gaussian(prior.mean + change.mean, prior.log_variance + change.log_variance)

    def memory(self, states: Tensor, latent: Tensor) -> Tensor:
        """Return what the decoder attends to, (B, S, M): encoder states (B, S, M) with a latent (B, S, Z) in them."""
        recovered = self.recover(latent)
        if self.norm is None:
            return states + recovered
        return self.norm(states + recovered) if self.config.combine == "postfix" else states + self.norm(recovered)

    def trained_by(self, parts: Collection[str]) -> list[nn.Parameter]:
        """Return the parameters that those parts of the loss send a gradient to."""
        modules: list[nn.Module | None] = []
        if not {"prior", "posterior", "output_kl"}.isdisjoint(parts):
            modules += [self.recover, self.norm]
        has_posterior = self.teaches_posterior(parts)
        has_prior = not {"prior", "gaussian_kl", "output_kl"}.isdisjoint(parts)
        has_prior |= has_posterior and self.config.posterior == "residual"
        if has_prior:
            modules += [self.prior_head]
        if has_posterior:
            modules += [self.posterior_head, self.posterior_attention]
        if has_prior or (has_posterior and self.posterior_attention is None):
            modules += [self.attention]
        return [parameter for module in modules if module is not None for parameter in module.parameters()]

    def teaches_posterior(self, parts: Collection[str]) -> bool:
        """Return whether one of those parts of the loss sends a gradient to the posterior path."""
        if "output_kl" in parts and self.config.distillation != "to_prior_detached":
            return True
        return not {"posterior", "gaussian_kl"}.isdisjoint(parts)


class Attention(nn.Module):
    """BART's multi-head attention: four projections with bias, dropout on its probabilities and on its output."""

    def __init__(self, width: int, num_heads: int, attention_dropout: float, dropout: float):
        """Build it for queries and keys of `width` M, a multiple of `num_heads`."""
        super().__init__()
        self.num_heads, self.attention_dropout, self.dropout = num_heads, attention_dropout, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Return (B, S, M) for queries (B, S, M) and keys (B, N, M), of which `mask (B, N)` is 1 where one may look."""
        q, k, v = (self._heads(p(x)) for p, x in ((self.q_proj, queries), (self.k_proj, keys), (self.v_proj, keys)))
        attended = F.scaled_dot_product_attention(
            q, k, v, mask[:, None, None, :].bool(), dropout_p=self.attention_dropout if self.training else 0.0
        )
        return F.dropout(self.out_proj(attended.transpose(1, 2).flatten(2)), self.dropout, self.training)

    def _heads(self, x: Tensor) -> Tensor:
        """Map (B, S, M) to (B, heads, S, M / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def gaussian_kl(posterior: Gaussian, prior: Gaussian, mask: Tensor | None = None) -> Tensor:
    """Return KL(posterior || prior) in closed form, summed over all, or the steps of `mask (B, S)`, / B (FACTS 9.3)."""
    spread = posterior.log_variance - prior.log_variance
    distance = (prior.mean - posterior.mean).square() * (-prior.log_variance).exp()
    return _summed(-0.5 * (1 + spread - distance - spread.exp()), mask)


def output_kl(
    prior: Tensor,
    posterior: Tensor,
    direction: Literal["symmetric", "to_prior", "to_prior_detached"],
    mask: Tensor | None = None,
) -> Tensor:
    """Return the divergence of the two paths' outputs, summed over V, N and rows, / B: self-distillation (FACTS 9.3).

    Args:
        prior: log-probabilities (B, N, V), float32.
        posterior: the same of the other path.
        direction: `symmetric`: the mean of both; `to_prior`: KL(posterior || prior); `to_prior_detached`: the same
            without a gradient to the posterior.
        mask: (B, N), true on the positions that count; None: all.
    """
    if direction == "symmetric":
        return _summed(0.5 * (posterior.exp() - prior.exp()) * (posterior - prior), mask)
    if direction == "to_prior_detached":
        posterior = posterior.detach()
    return _summed(posterior.exp() * (posterior - prior), mask)


def _gaussian(both: Tensor) -> Gaussian:
    mean, log_variance = both.float().chunk(2, dim=-1)
    return Gaussian(mean, log_variance)


def _summed(values: Tensor, mask: Tensor | None) -> Tensor:
    """Sum (B, N, ...) over everything, or over the positions of `mask (B, N)`, and divide by B."""
    each = values.sum(dim=-1)
    return (each if mask is None else each * mask).sum() / len(values)
