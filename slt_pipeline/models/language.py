"""mBART with a gloss table beside its text embedding: the language side of every translator (FACTS 6)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import MBartForConditionalGeneration, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.config.translator import LANGUAGE_MODELS, TranslatorConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.gloss_table import gloss_vectors, read_gloss_embeddings
from slt_pipeline.models.mbart import (
    EOS_ID,
    PAD_ID,
    architecture,
    build_mbart,
    drop_tied_names,
    load_mbart_weights,
    restore_tied_names,
    text_embedding,
)


class TextVocabulary(Protocol):
    """What a translator asks of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Rows of the text embedding."""
        ...

    language_id: int

    @property
    def byte_pieces(self) -> int:
        """Pieces of a GPT-2's own tokenizer, whose ids follow the four special ones; 0: they are none."""
        ...

    def gloss_pieces(self, name: str) -> list[int]:
        """Return the piece ids of a gloss, a special token or a language code."""
        ...


class GlossNames(Protocol):
    """What a translator asks of the vocabulary of its gloss input."""

    names: tuple[str, ...]
    pad_id: int
    eos_id: int

    def id_of(self, name: str) -> int:
        """Return the row of a name."""
        ...


class EncoderInput(NamedTuple):
    """What mBART's encoder reads: scaled `vectors (B, S, M)` and `mask (B, S)` int64, 1 on the steps that count."""

    vectors: Tensor
    mask: Tensor


class LanguageModel(nn.Module):
    """mBART and the gloss table, the suffix that closes every source, and the scale at which sources enter."""

    def __init__(
        self,
        config: TranslatorConfig,
        tokenizer: TextVocabulary,
        gloss_vocabulary: GlossNames | None,
        gloss_language: str,
        architecture: dict[str, Any] | None = None,
    ):
        """Build mBART and start the gloss table.

        Args:
            config: sizes, sources of weights, what is frozen.
            tokenizer: vocabulary of the text side.
            gloss_vocabulary: rows of the gloss table (translation layout); without, features and suffix `txt` only.
            gloss_language: the source language's row of the gloss table, second vector of the `gls` suffix.
            architecture: sizes of a trained run's mBART, whose weights are loaded afterwards; None: as configured.

        Raises:
            SltError: weights and vocabulary do not fit, or a needed name is missing.
        """
        super().__init__()
        self.config = config
        self.mbart = self._language_model(config, tokenizer, architecture)
        self.language_id = tokenizer.language_id
        d_model = self.mbart.config.d_model
        # mBART scales what it embeds itself if its own settings say so; what is handed to it is scaled alike
        self.scale = math.sqrt(d_model) if self.mbart.config.scale_embedding else 1.0
        self.gloss_table, self._suffix_rows = None, []
        if gloss_vocabulary is not None:
            names = gloss_vocabulary.names
            self.gloss_table = nn.Embedding(len(names), d_model, padding_idx=gloss_vocabulary.pad_id)
            nn.init.normal_(self.gloss_table.weight, std=self.mbart.config.init_std)
            if config.gloss_table == "pieces":
                self.gloss_table.weight.data.copy_(self._gloss_vectors(names, tokenizer))
            self.gloss_table.requires_grad_(not config.freeze_gloss_table)
            self._suffix_rows = [gloss_vocabulary.eos_id, gloss_vocabulary.id_of(gloss_language)]
        elif config.suffix == "gls":
            raise SltError(
                "translator: suffix `gls` is taken from the gloss table, and there is none; give one or set suffix: txt"
            )
        self.register_state_dict_post_hook(drop_tied_names)
        self.register_load_state_dict_pre_hook(restore_tied_names)

    @property
    def architecture(self) -> dict[str, Any]:
        """Settings that build the same mBART without weights, as JSON."""
        return architecture(self.mbart)

    @property
    def hugging_face(self) -> PreTrainedModel:
        """The language model as transformers has it."""
        return self.mbart

    def _language_model(
        self, config: TranslatorConfig, tokenizer: TextVocabulary, architecture: dict[str, Any] | None
    ) -> MBartForConditionalGeneration:
        """Build mBART, or what takes its place and its calls."""
        return build_mbart(config.mbart, tokenizer.vocab_size, architecture)

    def encode(self, source: EncoderInput) -> Tensor:
        """Return mBART's encoder states (B, S, M); those of masked steps mean nothing."""
        return self.mbart.get_encoder()(inputs_embeds=source.vectors, attention_mask=source.mask).last_hidden_state

    def layers(self, source: EncoderInput) -> list[Tensor]:
        """Return what mBART's encoder makes of a source, layer by layer, (B, S, M) each.

        First what its first layer reads, the vectors with their positions, normalised; then the states after every
        layer. The last are those of `encode`.
        """
        encoder = self.mbart.get_encoder()
        found = encoder(inputs_embeds=source.vectors, attention_mask=source.mask, output_hidden_states=True)
        return list(found.hidden_states)

    def text_source(self, labels: Tensor) -> EncoderInput:
        """Return texts as the encoder reads them: `labels (B, N)`, `<pad>` behind them (FACTS 9.1)."""
        return EncoderInput(text_embedding(self.mbart)[labels] * self.scale, (labels != PAD_ID).long())

    def decode(self, states: Tensor, mask: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Return logits (B, N, V) for states (B, S, M) with their mask (B, S); the decoder sees its past alone."""
        return self.mbart(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),  # type: ignore[arg-type]
            attention_mask=mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        ).logits

    def require_positions(self, steps: int, what: str) -> None:
        """Refuse an encoder input, described by `what`, that is longer than mBART's learned positions.

        Raises:
            SltError: both lengths.
        """
        limit = self.mbart.config.max_position_embeddings
        if steps > limit:
            kind = self.config.language_model
            raise SltError(
                f"translator: {what}, {LANGUAGE_MODELS[kind]} has {limit} positions; raise {kind}.max_positions"
            )

    def load_language_model(self, state: dict[str, Tensor]) -> None:
        """Start mBART and the gloss table from another translator's state dict, e.g. Gloss2Text.

        Raises:
            SltError: sizes or vocabularies differ.
        """
        prefix = "mbart."
        mbart = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        load_mbart_weights(self.mbart, mbart, source="of the checkpoint")
        if self.gloss_table is not None and "gloss_table.weight" in state:
            want, got = tuple(self.gloss_table.weight.shape), tuple(state["gloss_table.weight"].shape)
            if want != got:
                raise SltError(
                    f"checkpoint: gloss table of shape {got}, here it is {want}; use the checkpoint's gloss vocabulary"
                )
            self.gloss_table.weight.data.copy_(state["gloss_table.weight"])

    def _embed_glosses(self, ids: Tensor, lengths: Tensor) -> EncoderInput:
        """Return the encoder input of `ids (B, L)`, rows of the gloss table padded with its `<pad>`."""
        if self.gloss_table is None:
            raise ValueError("gloss input needs a gloss table; give the translator a gloss vocabulary")
        fill = self.gloss_table.weight[self.gloss_table.padding_idx].detach()
        return self._close(self.gloss_table(ids), lengths, fill)

    def _embed_pieces(self, ids: Tensor, lengths: Tensor) -> EncoderInput:
        """Return the encoder input of `ids (B, P)`, pieces of glosses padded with `<pad>` (FACTS 13)."""
        embedding = text_embedding(self.mbart)
        return self._close(embedding[ids], lengths, embedding[PAD_ID].detach())

    def _close(self, vectors: Tensor, lengths: Tensor, fill: Tensor) -> EncoderInput:
        """Put the suffix behind each row of vectors (B, S - 2, M), then `fill (M,)`, and scale it all (FACTS 6.5)."""
        self.require_positions(vectors.shape[1] + 2, f"a source of {vectors.shape[1]} steps + 2")
        vectors, mask = append_suffix(vectors, lengths, self._suffix(), fill)
        return EncoderInput(vectors * self.scale, mask)

    def _suffix(self) -> Tensor:
        if self.config.suffix == "txt":
            return text_embedding(self.mbart)[[EOS_ID, self.language_id]]
        assert self.gloss_table is not None
        return self.gloss_table.weight[self._suffix_rows]

    def _gloss_vectors(self, names: Sequence[str], tokenizer: TextVocabulary) -> Tensor:
        """Return (G, M): the vectors of the mBART folder where it has them, else means of pieces."""
        stored = read_gloss_embeddings(self.config.of_language_model.folder, self.mbart.config.d_model)
        return gloss_vectors(names, text_embedding(self.mbart), tokenizer.gloss_pieces, stored)


def append_suffix(values: Tensor, lengths: Tensor, suffix: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Put the two rows of `suffix` behind each row's last valid step of `values (B, S - 2, ...)`, then `fill`.

    Returns:
        `(B, S, ...)`, and the mask (B, S) int64 that is 1 up to the suffix.
    """
    room = fill.expand(values.shape[0], 2, *values.shape[2:])
    longer = torch.cat([values, room], dim=1)
    behind = torch.arange(longer.shape[1], device=values.device)[None, :] - lengths.to(values.device)[:, None]
    shaped = behind.reshape(*behind.shape, *[1] * (values.dim() - 2))
    longer = torch.where(shaped < 0, longer, fill)
    longer = torch.where(shaped == 0, suffix[0], longer)
    return torch.where(shaped == 1, suffix[1], longer), (behind < 2).long()
