"""The translation network: mapped features or glosses -> mBART -> text (FACTS 6).

B sentences, T source steps, D width of the stored stream, M = mBART's width, N target positions, V pieces.
The steps are separate methods (source, encode, decode), so that a bridge between encoder and decoder finds its place.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from slt_pipeline.config.translator import TranslatorConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.beam_search import Generation, beam_search
from slt_pipeline.models.gloss_table import gloss_vectors, read_gloss_embeddings
from slt_pipeline.models.label_smoothing import label_smoothed_loss
from slt_pipeline.models.mapper import Mapper
from slt_pipeline.models.mbart import (
    EOS_ID,
    PAD_ID,
    build_mbart,
    drop_tied_names,
    load_mbart_weights,
    restore_tied_names,
    text_embedding,
)


class TextVocabulary(Protocol):
    """What the translator asks of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Rows of the text embedding."""
        ...

    language_id: int

    def gloss_pieces(self, name: str) -> list[int]:
        """Return the piece ids of a gloss, a special token or a language code."""
        ...


class GlossNames(Protocol):
    """What the translator asks of the vocabulary of its gloss input."""

    names: tuple[str, ...]
    pad_id: int
    eos_id: int

    def id_of(self, name: str) -> int:
        """Return the row of a name."""
        ...


class Source(NamedTuple):
    """Encoder input: scaled `vectors (B, T+2, M)` and `mask (B, T+2)` int64, 1 on the steps that count."""

    vectors: Tensor
    mask: Tensor


@dataclass(frozen=True)
class TranslatorOutput:
    """`logits (B, N, V)`, and `loss`, a scalar: summed over tokens, divided by B; `None` without labels."""

    logits: Tensor
    loss: Tensor | None


class Translator(nn.Module):
    """V-L mapper, gloss table and mBART. Without `in_features` there is no mapper: Gloss2Text."""

    def __init__(
        self,
        config: TranslatorConfig,
        tokenizer: TextVocabulary,
        gloss_vocabulary: GlossNames | None = None,
        *,
        gloss_language: str = "de_DGS",
        in_features: int | None = None,
        class_names: Sequence[str] | None = None,
    ):
        """Build the network and start its gloss table.

        Args:
            config: sizes, sources of weights, what is frozen.
            tokenizer: vocabulary of the text side.
            gloss_vocabulary: rows of the gloss table (translation layout); without, features and suffix `txt` only.
            gloss_language: the source language's row of the gloss table, second vector of the `gls` suffix.
            in_features: D of the stored stream that the mapper reads.
            class_names: glosses of the recognition classes, whose vectors start an embedding mapper.

        Raises:
            SltError: weights and vocabulary do not fit, or a needed name is missing.
        """
        super().__init__()
        self.config = config
        self.mbart = build_mbart(config.mbart, tokenizer.vocab_size)
        self.language_id = tokenizer.language_id
        d_model = self.mbart.config.d_model
        self.scale = math.sqrt(d_model)
        stored = read_gloss_embeddings(config.mbart.folder, d_model) or {}
        self.gloss_table, self._rows = None, {}
        if gloss_vocabulary is not None:
            names = gloss_vocabulary.names
            self.gloss_table = nn.Embedding(len(names), d_model, padding_idx=gloss_vocabulary.pad_id)
            nn.init.normal_(self.gloss_table.weight, std=self.mbart.config.init_std)
            if config.gloss_table == "pieces":
                vectors = gloss_vectors(names, text_embedding(self.mbart), tokenizer.gloss_pieces, stored)
                self.gloss_table.weight.data.copy_(vectors)
            self.gloss_table.requires_grad_(not config.freeze_gloss_table)
            self._rows = {name: row for row, name in enumerate(names)}
            self._suffix_rows = [gloss_vocabulary.eos_id, gloss_vocabulary.id_of(gloss_language)]
        elif config.suffix == "gls":
            raise SltError(
                "translator: suffix `gls` is taken from the gloss table, and there is none; give one or set suffix: txt"
            )
        self.mapper, self.class_names = None, tuple(class_names or ())
        if in_features is not None:
            self.mapper = Mapper(config.mapper, in_features, d_model)
            if config.mapper.type == "embedding" and class_names is not None:
                columns = gloss_vectors(class_names, text_embedding(self.mbart), tokenizer.gloss_pieces, stored)
                self.mapper.start_columns(columns)
                self._start_columns_from_table()
        self.register_state_dict_post_hook(drop_tied_names)
        self.register_load_state_dict_pre_hook(restore_tied_names)

    def forward(
        self,
        features: Tensor | None = None,
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        *,
        gloss_ids: Tensor | None = None,
        gloss_lengths: Tensor | None = None,
    ) -> TranslatorOutput:
        """Translate with the right words so far given.

        Args:
            features: (B, T, D), the stored stream as it is stored; any values beyond lengths.
            lengths: (B,) valid steps.
            labels: (B, N), `<pad>` where nothing is asked.
            decoder_input_ids: (B, N).
            gloss_ids: (B, T) rows of the gloss table, padded with its `<pad>`, in place of features.
            gloss_lengths: (B,) glosses of each row.
        """
        source = self.source(features, lengths, gloss_ids=gloss_ids, gloss_lengths=gloss_lengths)
        logits = self.decode(self.encode(source), source.mask, decoder_input_ids)
        loss = None
        if labels is not None:
            loss = label_smoothed_loss(logits, labels, self.config.label_smoothing, PAD_ID)
        return TranslatorOutput(logits, loss)

    @torch.no_grad()
    def generate(
        self,
        features: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        gloss_ids: Tensor | None = None,
        gloss_lengths: Tensor | None = None,
        num_beams: int = 4,
        max_length: int = 100,
        length_penalty: float = 1.0,
        num_return: int = 1,
    ) -> Generation:
        """Search the best texts with `num_beams` beams (FACTS 6.6); arguments as in `forward` and GenerationConfig.

        Call `eval()` before: dropout is not switched off here.

        Raises:
            SltError: more hypotheses are asked for than there are beams.
        """
        source = self.source(features, lengths, gloss_ids=gloss_ids, gloss_lengths=gloss_lengths)
        return beam_search(
            self.mbart,
            self.encode(source),
            source.mask,
            self.language_id,
            num_beams=num_beams,
            max_length=max_length,
            length_penalty=length_penalty,
            num_return=num_return,
        )

    def source(
        self,
        features: Tensor | None,
        lengths: Tensor | None,
        *,
        gloss_ids: Tensor | None = None,
        gloss_lengths: Tensor | None = None,
    ) -> Source:
        """Return mBART's encoder input: mapped features or gloss vectors, the suffix behind each row, times sqrt(M)."""
        if gloss_ids is not None:
            if self.gloss_table is None or gloss_lengths is None:
                raise ValueError("gloss input needs a gloss table and gloss_lengths")
            vectors, lengths = self.gloss_table(gloss_ids), gloss_lengths
            fill = self.gloss_table.weight[self.gloss_table.padding_idx].detach()
        else:
            if features is None or lengths is None:
                raise ValueError("the translator needs features with lengths, or gloss_ids with gloss_lengths")
            vectors = features.to(self.mbart.dtype)
            if self.mapper is not None:
                vectors = self.mapper(vectors)
            fill = vectors.new_zeros(vectors.shape[-1])
        steps, limit = vectors.shape[1] + 2, self.mbart.config.max_position_embeddings
        if steps > limit:
            raise SltError(
                f"translator: a source of {steps - 2} steps + 2, mBART has {limit} positions; raise mbart.max_positions"
            )
        vectors, mask = append_suffix(vectors, lengths, self._suffix(), fill)
        return Source(vectors * self.scale, mask)

    def encode(self, source: Source) -> Tensor:
        """Return mBART's encoder states (B, T+2, M); those of masked steps mean nothing."""
        return self.mbart.get_encoder()(inputs_embeds=source.vectors, attention_mask=source.mask).last_hidden_state

    def decode(self, states: Tensor, mask: Tensor, decoder_input_ids: Tensor | None) -> Tensor:
        """Return logits (B, N, V) for encoder states (B, T+2, M) with their mask; the decoder sees its past alone."""
        return self.mbart(
            encoder_outputs=BaseModelOutput(last_hidden_state=states),  # type: ignore[arg-type]
            attention_mask=mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        ).logits

    def load_language_model(self, state: dict[str, Tensor]) -> None:
        """Start mBART and the gloss table from another translator's state dict, e.g. Gloss2Text.

        A projection mapper is left as it is; the columns of an embedding mapper are taken from the new gloss table.

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
            if self.mapper is not None and self.config.mapper.type == "embedding":
                self._start_columns_from_table()

    def _start_columns_from_table(self) -> None:
        known = [(column, self._rows[name]) for column, name in enumerate(self.class_names) if name in self._rows]
        if self.mapper is not None and self.gloss_table is not None and known:
            columns, rows = zip(*known, strict=True)
            self.mapper.start_columns(self.gloss_table.weight.detach()[list(rows)], list(columns))

    def _suffix(self) -> Tensor:
        if self.config.suffix == "txt":
            return text_embedding(self.mbart)[[EOS_ID, self.language_id]]
        assert self.gloss_table is not None
        return self.gloss_table.weight[self._suffix_rows]


def append_suffix(values: Tensor, lengths: Tensor, suffix: Tensor, fill: Tensor) -> tuple[Tensor, Tensor]:
    """Put the two rows of `suffix` behind each row's last valid step of `values (B, T, ...)`, then `fill`.

    Returns `(B, T+2, ...)` and the mask (B, T+2) int64 that is 1 up to the suffix.
    """
    room = fill.expand(values.shape[0], 2, *values.shape[2:])
    longer = torch.cat([values, room], dim=1)
    behind = torch.arange(longer.shape[1], device=values.device)[None, :] - lengths.to(values.device)[:, None]
    shaped = behind.reshape(*behind.shape, *[1] * (values.dim() - 2))
    longer = torch.where(shaped < 0, longer, fill)
    longer = torch.where(shaped == 0, suffix[0], longer)
    return torch.where(shaped == 1, suffix[1], longer), (behind < 2).long()
