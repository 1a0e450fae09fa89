"""CV-SLT's translator: signs alone, and signs with their text, meet in a latent and teach each other (FACTS 9)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from slt_pipeline.config.translator import CVSLTConfig
from slt_pipeline.models.label_smoothing import smoothed_kl
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.translator import Translator
from slt_pipeline.models.variational import Gaussian, GaussianNetwork, gaussian_kl, output_kl

DISTILLED = frozenset({"output_kl"})
"""Parts that compare what both paths decode."""
FROM_TEXT = frozenset(CVSLTConfig.posterior_parts)
"""Parts that need the posterior."""


@dataclass(frozen=True)
class Path:
    """One way through the bridge."""

    states: Tensor
    """(B, S, M) encoder states of the signs."""
    gaussian: Gaussian
    """The prior or the posterior, (B, S, Z) each."""
    latent: Tensor
    """(B, S, Z) its sample, or its mean."""
    memory: Tensor
    """(B, S, M) what the decoder attends to."""
    text_states: Tensor | None = None
    """(B, N, M) of the posterior: encoder states of the text."""


class CVSLT(Translator):
    """Losses `prior` and `posterior` (the text, decoded from either path), `gaussian_kl` and `output_kl` (FACTS 9.1).

    Decoding knows signs alone: the prior's mean. In training mode latents are sampled, else they are means.
    """

    config: CVSLTConfig
    parts = frozenset({"prior", "posterior", "gaussian_kl", "output_kl"})
    reads_text = True

    def __init__(self, config: CVSLTConfig, *arguments: Any, **settings: Any):
        """Build mapper, mBART and bridge; arguments as of `Translator`."""
        super().__init__(config, *arguments, **settings)
        self.gaussian = GaussianNetwork(config, self.mbart.config.d_model, self.mbart.config.encoder_attention_heads)
        if config.suffix == "txt":
            self.gloss_table = None  # it has started an embedding mapper, and nothing reads it any more (FACTS 9.5)

    def losses(self, source: EncoderInput, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return those of the four losses that are among `parts`.

        Args:
            source: what `source` made of the batch.
            batch: `labels (B, N)`, `<pad>` where nothing is asked, and `decoder_input_ids (B, N)`.
            parts: names of the losses asked for.
        """
        asked, labels = self.parts.intersection(parts), batch["labels"]
        if not asked:
            return {}
        prior, posterior = self.paths(source, None if asked.isdisjoint(FROM_TEXT) else labels)
        decoded = {"prior": prior} if asked & {"prior", *DISTILLED} else {}
        if posterior is not None and asked & {"posterior", *DISTILLED}:
            taught = self.gaussian.teaches_posterior(asked)
            decoded["posterior"] = posterior if taught else replace(posterior, memory=posterior.memory.detach())
        log_probs = self._log_probs(decoded, source.mask, batch["decoder_input_ids"])
        smoothing, clips = self.config.label_smoothing, len(labels)
        losses = {
            name: smoothed_kl(log_probs[name], labels, smoothing, PAD_ID) / clips for name in decoded if name in asked
        }
        valid = self.config.kl_mask == "valid"
        if "gaussian_kl" in asked and posterior is not None:
            losses["gaussian_kl"] = gaussian_kl(posterior.gaussian, prior.gaussian, source.mask if valid else None)
        if "output_kl" in asked:
            mask = labels != PAD_ID if valid else None
            losses["output_kl"] = output_kl(log_probs["prior"], log_probs["posterior"], self.config.distillation, mask)
        return losses

    def states(self, source: EncoderInput) -> Tensor:
        """Return what decoding reads, (B, S, M): the prior path with its mean for a latent."""
        states = self.encode(source)
        return self.gaussian.memory(states, self.gaussian.prior(states, source.mask).mean)

    def oracle_states(self, source: EncoderInput, labels: Tensor) -> Tensor:
        """Return what decoding would read if it knew the right text (labels (B, N)): the posterior path's mean."""
        _, posterior = self.paths(source, labels, noise=(None, None))
        assert posterior is not None
        return posterior.memory

    def paths(
        self, source: EncoderInput, labels: Tensor | None, noise: tuple[Tensor | None, Tensor | None] | None = None
    ) -> tuple[Path, Path | None]:
        """Return the prior path, and with `labels (B, N)` the posterior path.

        Args:
            source: signs.
            labels: the right text, `<pad>` behind it.
            noise: (B, S, Z) of prior and posterior, None for means; by default drawn in training mode, means otherwise.
        """
        alone, beside, text_states = self._encode(source, labels)
        prior = self.gaussian.prior(alone, source.mask)
        of_prior, of_posterior = noise or self._noise(prior.mean)
        path = self._path(alone, prior, of_prior)
        if labels is None or beside is None or text_states is None:
            return path, None
        posterior = self.gaussian.posterior(prior, beside, text_states, labels != PAD_ID)
        return path, self._path(beside, posterior, of_posterior, text_states)

    def parameter_groups(self, parts: Collection[str]) -> dict[str, list[torch.nn.Parameter]]:
        """Return those of `Translator`, and `variational`, the bridge's; its rate is translation's unless given."""
        groups = super().parameter_groups(parts)
        if groups:
            groups["variational"] = self.gaussian.trained_by(parts)
        return groups

    def _path(self, states: Tensor, gaussian: Gaussian, noise: Tensor | None, text: Tensor | None = None) -> Path:
        latent = gaussian.sample(noise)
        return Path(states, gaussian, latent, self.gaussian.memory(states, latent), text)

    def _noise(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if not self.training:
            return None, None
        noise = torch.randn_like(like)
        return noise, noise if self.config.noise == "shared" else torch.randn_like(like)

    def _encode(self, source: EncoderInput, labels: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return encoder states of signs alone (B, S, M); and of signs (B, S, M) and text (B, N, M) read together."""
        if labels is None:
            return self.encode(source), None, None
        steps = source.mask.shape[1]
        joined = self._with_text(source, labels)
        order = None
        if self.config.text_positions == "after_valid":
            order = (1 - joined.mask).argsort(dim=1, stable=True)  # what counts comes first, as it stood
            joined = EncoderInput(_taken(joined.vectors, order), joined.mask.gather(1, order))
        if self.config.passes == "together":
            room = joined.mask.shape[1] - steps
            alone = EncoderInput(*(_padded(values, room) for values in source))
            both = EncoderInput(*(torch.cat(pair) for pair in zip(alone, joined, strict=True)))
            first, second = self.encode(both).chunk(2)
            first = first[:, :steps]
        else:
            first, second = self.encode(source), self.encode(joined)
        if order is not None:
            second = _taken(second, order.argsort(dim=1))
        return first, second[:, :steps], second[:, steps:]

    def _with_text(self, source: EncoderInput, labels: Tensor) -> EncoderInput:
        """Put the scaled vectors of the text behind the signs, their suffix and their padding (FACTS 9.1)."""
        text = self.text_source(labels)
        steps, pieces = source.mask.shape[1], labels.shape[1]
        self.require_positions(steps + pieces, f"signs of {steps} steps and a text of {pieces} pieces")
        vectors = torch.cat([source.vectors, text.vectors.to(source.vectors.dtype)], dim=1)
        return EncoderInput(vectors, torch.cat([source.mask, text.mask], dim=1))

    def _log_probs(self, paths: Mapping[str, Path], mask: Tensor, decoder_input_ids: Tensor) -> dict[str, Tensor]:
        """Return log-probabilities (B, N, V) of each path, float32, all fed with the same text."""
        if self.config.passes != "apart" and len(paths) > 1:
            memory, number = torch.cat([path.memory for path in paths.values()]), len(paths)
            logits = self.decode(memory, mask.repeat(number, 1), decoder_input_ids.repeat(number, 1))
            each = dict(zip(paths, logits.chunk(number), strict=True))
        else:
            each = {name: self.decode(path.memory, mask, decoder_input_ids) for name, path in paths.items()}
        return {name: logits.float().log_softmax(dim=-1) for name, logits in each.items()}


def _padded(values: Tensor, room: int) -> Tensor:
    """Put zeros behind the steps of (B, S, ...)."""
    return torch.cat([values, values.new_zeros(values.shape[0], room, *values.shape[2:])], dim=1)


def _taken(vectors: Tensor, order: Tensor) -> Tensor:
    """Return the steps of (B, S, M) in an order (B, S)."""
    return vectors.gather(1, order[..., None].expand_as(vectors))
