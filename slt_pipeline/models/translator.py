"""What every translator has in common: mapped features or glosses -> mBART -> text (FACTS 6).

A system is a subclass: it says which losses it makes and, if it puts something between mBART's encoder and decoder,
what its states are. `models.build` chooses it.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slt_pipeline.config.translator import TranslatorConfig
from slt_pipeline.errors import SltError
from slt_pipeline.models.beam_search import Generation, beam_search
from slt_pipeline.models.ensemble import Member
from slt_pipeline.models.language import EncoderInput, GlossNames, LanguageModel, TextVocabulary
from slt_pipeline.models.mapper import Mapper

CLOSED = 2
"""Steps behind a source, its suffix; and pieces about a text, language code and `</s>`."""


class Translator(LanguageModel, ABC):
    """V-L mapper, gloss table and mBART. Without `in_features` there is no mapper: Gloss2Text."""

    parts: ClassVar[frozenset[str]]
    """Names of the losses that the system makes."""
    reads_text: ClassVar[bool] = False
    """Whether in training the text stands behind the source: together they have to fit mBART's positions."""

    def __init__(
        self,
        config: TranslatorConfig,
        tokenizer: TextVocabulary,
        gloss_vocabulary: GlossNames | None = None,
        *,
        gloss_language: str = "de_DGS",
        in_features: int | None = None,
        class_names: Sequence[str] | None = None,
        architecture: dict[str, Any] | None = None,
    ):
        """Build the network and start its gloss table.

        Args:
            config: sizes, sources of weights, what is frozen.
            tokenizer: vocabulary of the text side.
            gloss_vocabulary: rows of the gloss table (translation layout); without, features and suffix `txt` only.
            gloss_language: the source language's row of the gloss table, second vector of the `gls` suffix.
            in_features: width D of the tap that the mapper reads.
            class_names: glosses of the recognition classes, whose vectors start an embedding mapper.
            architecture: sizes of a trained run's mBART, whose weights are loaded afterwards; None: as configured.

        Raises:
            SltError: weights and vocabulary do not fit, or a needed name is missing.
        """
        super().__init__(config, tokenizer, gloss_vocabulary, gloss_language, architecture)
        self.mapper, self.class_names = None, tuple(class_names or ())
        self._rows = {} if gloss_vocabulary is None else {name: i for i, name in enumerate(gloss_vocabulary.names)}
        if in_features is not None:
            self.mapper = Mapper(config.mapper, in_features, self.mbart.config.d_model)
            if config.mapper.type == "embedding" and class_names is not None:
                self.mapper.start_columns(self._gloss_vectors(class_names, tokenizer))
                if self.gloss_table is not None:
                    self._start_columns(self.gloss_table.weight.detach())

    @abstractmethod
    def losses(self, source: EncoderInput, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return the losses of those `parts` that are the system's: scalars, not weighted, summed / B."""

    def states(self, source: EncoderInput) -> Tensor:
        """Return what decoding reads, (B, S, M); it needs no text. Here: the states of mBART's encoder."""
        return self.encode(source)

    def oracle_states(self, source: EncoderInput, labels: Tensor) -> Tensor:
        """Return what decoding would read, (B, S, M), if it knew the right text: an upper bound, no translation.

        Raises:
            SltError: the system has no posterior.
        """
        raise SltError(
            f"{type(self).__name__} reads no text and has no posterior to decode from; leave out --oracle, or name a "
            "run of cvslt"
        )

    def source(self, batch: Mapping[str, Tensor]) -> EncoderInput:
        """Return mBART's encoder input: mapped features or gloss vectors, the suffix behind each row, scaled.

        Args:
            batch: `features (B, S, D)`, any values beyond `lengths (B,)`; or in their place `gloss_input_ids (B, L)`,
                rows of the gloss table padded with its `<pad>`, and `gloss_input_lengths (B,)`; or `gloss_piece_ids
                (B, P)`, pieces, and `gloss_piece_lengths (B,)`; or `text_ids (B, S)`, a text with all that closes it.
        """
        if "text_ids" in batch:
            return self.text_source(batch["text_ids"])
        if "gloss_piece_ids" in batch:
            return self._embed_pieces(batch["gloss_piece_ids"], batch["gloss_piece_lengths"])
        if "gloss_input_ids" in batch:
            return self._embed_glosses(batch["gloss_input_ids"], batch["gloss_input_lengths"])
        vectors = batch["features"].to(self.mbart.dtype)
        if self.mapper is not None:
            vectors = self.mapper(vectors)
        return self._close(vectors, batch["lengths"], vectors.new_zeros(vectors.shape[-1]))

    def forward(self, batch: Mapping[str, Tensor], parts: Collection[str]) -> dict[str, Tensor]:
        """Return the scalar losses of a batch that holds a source (see `source`) and what the losses compare with."""
        return self.losses(self.source(batch), batch, parts)

    @torch.no_grad()
    def generate(
        self,
        source: EncoderInput,
        *,
        num_beams: int = 4,
        max_length: int = 100,
        length_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        num_return: int = 1,
        with_scores: bool = False,
        oracle: Tensor | None = None,
        others: Sequence[Member] = (),
    ) -> Generation:
        """Search the best texts (FACTS 6.6); call `eval()` before: dropout is not switched off here.

        Args:
            source: what `source` made of a batch.
            num_beams: beams; 1 is greedy.
            max_length: longest output in pieces, the language code and `</s>` included.
            length_penalty: exponent of the length by which a log-probability is divided.
            no_repeat_ngram_size: pieces in a row that no text has twice; 0: any may be there again.
            num_return: hypotheses for each row.
            with_scores: whether the hypotheses are scored, at the price of a further pass.
            oracle: labels (B, N) of the right text, to decode from the posterior; None: translate.
            others: translators of the same sources and vocabulary that the text is searched together with.

        Raises:
            SltError: more hypotheses are asked for than there are beams, or the system has no posterior.
        """
        return beam_search(
            [self.member(source, oracle), *others],
            self.language_id,
            num_beams=num_beams,
            max_length=max_length,
            length_penalty=length_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            num_return=num_return,
            with_scores=with_scores,
        )

    @torch.no_grad()
    def member(self, source: EncoderInput, oracle: Tensor | None = None) -> Member:
        """Return what it knows of sources, for a search with others; `oracle` as in `generate`."""
        states = self.states(source) if oracle is None else self.oracle_states(source, oracle)
        return Member(self.mbart, states, source.mask)

    def has_room(self, source: int, text: int) -> bool:
        """Return whether a source of so many steps and a text of so many pieces fit its positions."""
        lengths = [source + CLOSED, text + CLOSED]
        return max(lengths if self.mbart.config.is_encoder_decoder else [sum(lengths)]) <= (
            self.mbart.config.max_position_embeddings
        )

    def parameter_groups(self, parts: Collection[str]) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that have a part in the loss: `mapper`, and `translation` for mBART and gloss table.

        Args:
            parts: names of the parts of the loss; without one of the system's own there is no group.
        """
        if self.parts.isdisjoint(parts):
            return {}
        groups = {} if self.mapper is None else {"mapper": list(self.mapper.parameters())}
        groups["translation"] = list(self.mbart.parameters())
        # mapped features with the text suffix pass the gloss table by
        if self.gloss_table is not None and (self.mapper is None or self.config.suffix == "gls"):
            groups["translation"] += self.gloss_table.parameters()
        return groups

    def load_language_model(self, state: dict[str, Tensor]) -> None:
        """Start mBART and the gloss table from another translator's state dict, e.g. Gloss2Text.

        A projection mapper is left as it is; the columns of an embedding mapper are taken from the new gloss table.

        Raises:
            SltError: sizes or vocabularies differ.
        """
        super().load_language_model(state)
        if self.config.mapper.type == "embedding" and "gloss_table.weight" in state:
            self._start_columns(state["gloss_table.weight"])

    def _start_columns(self, table: Tensor) -> None:
        """Start the columns of an embedding mapper at the gloss vectors (G, M) of the classes that have one."""
        known = [(column, self._rows[name]) for column, name in enumerate(self.class_names) if name in self._rows]
        if self.mapper is not None and known:
            columns, rows = zip(*known, strict=True)
            self.mapper.start_columns(table[list(rows)], list(columns))
