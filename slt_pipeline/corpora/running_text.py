"""Running text: documents of sentences, from files and manifests, and what a model learns from them by denoising."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.corpora.labels import TextLabels
from slt_pipeline.corpora.padding import Padding, filled
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_lines, text_hash
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.characters import has_something_to_read
from slt_pipeline.text.noise import Words, infill, join, spans
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.text.tokenizer import Tokenizer

Document = tuple[str, ...]
"""Sentences in their order."""
_WITHOUT_SPACES = ("zh", "ja", "th", "my", "km", "lo")
"""Languages that are written without spaces: each piece counts as a word."""


def read_documents(path: Path) -> list[Document]:
    """Read a text file, whichever system wrote it: a sentence a line, an empty line between documents.

    Raises:
        SltError: it has nothing to read.
    """
    found: list[list[str]] = [[]]
    for line in read_lines(path):
        sentence = single_spaced(nfc(line))
        if sentence and has_something_to_read(sentence):
            found[-1].append(sentence)
        elif not sentence and found[-1]:
            found.append([])
    documents = [tuple(sentences) for sentences in found if sentences]
    if not documents:
        raise SltError(f"{path}: no line has anything to read; write a sentence a line")
    return documents


def held_out(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """Return documents to learn from, and those that are held out, at least one of either.

    By their words, not their place: what is there twice is on one side, and another file moves nothing across.

    Raises:
        SltError: there is one document alone.
    """
    marks = [text_hash("\n".join(document)) for document in documents]
    ordered = sorted(set(marks))
    if len(ordered) < 2:
        raise SltError(
            "lm_pretrain: the texts are a single document, of which none can be held out; put empty lines between "
            "documents, or name more texts"
        )
    last = ordered[min(len(ordered) - 1, max(1, round(share * len(ordered)))) - 1]
    kept = [document for document, mark in zip(documents, marks, strict=True) if mark > last]
    return kept, [document for document, mark in zip(documents, marks, strict=True) if mark <= last]


def passages(documents: Iterable[Document], tokenizer: Tokenizer, most: int) -> list[list[Words]]:
    """Return documents as words, cut into passages of whole sentences of at most `most` pieces, `</s>` between.

    A sentence that is longer by itself is cut between words, and a word within.
    """
    found: list[list[Words]] = []
    for document in documents:
        passage, room = [], most
        for sentence in document:
            for part in _parts(_words(sentence, tokenizer), most):
                size = sum(map(len, part))
                if passage and size + 1 > room:
                    found.append(passage)
                    passage, room = [], most
                room -= size + bool(passage)
                passage.append(part)
        found += [passage] if passage else []
    return found


def _words(sentence: str, tokenizer: Tokenizer) -> Words:
    if tokenizer.language.startswith(_WITHOUT_SPACES):
        return [[piece] for piece in tokenizer.encode(sentence)]
    return [tokenizer.encode(word) for word in single_spaced(nfc(sentence)).split(" ")]


def _parts(words: Words, most: int) -> list[Words]:
    parts: list[list[Sequence[int]]] = [[]]
    for word in (piece[i : i + most] for piece in words for i in range(0, len(piece), most)):
        if sum(map(len, parts[-1])) + len(word) > most:
            parts.append([])
        parts[-1].append(word)
    return [part for part in parts if part]


class DenoisingDataset(Dataset):
    """Batches by (epoch, index): `text_ids (B, S)`, noised, `labels (B, N)` and `decoder_input_ids (B, N)`, as it was.

    As mBART has them: sentences are closed by `</s>`, the source by the language code behind it.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        tokenizer: Tokenizer,
        *,
        seed: int,
        most: int,
        masked: float,
        span: float,
        permute: bool,
    ):
        """Take documents.

        Args:
            documents: in the order of their indices.
            tokenizer: of the texts.
            seed: with epoch and index it decides the noise of an item.
            most: pieces of a passage.
            masked: share of the words that are masked.
            span: mean number of words behind a mask.
            permute: whether the sentences of a passage are put in another order.

        Raises:
            SltError: the tokenizer has no `<mask>`.
        """
        if "<mask>" not in tokenizer.added_tokens:
            raise SltError(
                "text.tokenizer: it has no <mask>, behind which words hide; take one that was not pruned of it"
            )
        self.tokenizer, self.mask, self.seed = tokenizer, tokenizer.added_tokens["<mask>"], seed
        self.passages = passages(documents, tokenizer, most)
        self.masked, self.span, self.permute = masked, span, permute

    def __len__(self) -> int:
        return len(self.passages)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        end = self.tokenizer.eos_id
        sources = [[*self.noised(epoch, index), end, self.tokenizer.language_id] for epoch, index in keys]
        targets = self.tokenizer.targets([join(self.passages[index], end) for _, index in keys])
        return {"text_ids": pad_ids(sources, self.tokenizer.pad_id)[0], **targets._asdict()}

    def noised(self, epoch: int, index: int) -> list[int]:
        """Return the ids of a passage as it is read in an epoch."""
        rng, passage = np.random.default_rng([self.seed, epoch, index]), self.passages[index]
        if self.permute:
            passage = [passage[place] for place in rng.permutation(len(passage))]
        found = spans(sum(map(len, passage)), self.masked, self.span, rng)
        return infill(passage, found, self.mask, self.tokenizer.eos_id)

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {"text_ids": filled(1, self.tokenizer.pad_id), **TextLabels(self.tokenizer).padding}

    def lengths(self) -> list[int]:
        """Return the pieces of every item, without noise: for bucketing."""
        return [sum(len(word) for words in passage for word in words) for passage in self.passages]
