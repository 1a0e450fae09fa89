"""Glosses and texts as training items, with the noise of training: what Gloss2Text learns from."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from slt_pipeline.config.translator import Beside, Direction
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.labels import GlossReader, TextLabels
from slt_pipeline.corpora.padding import Padding
from slt_pipeline.text.gloss_vocab import UNKNOWN, gloss_name
from slt_pipeline.text.tokenizer import Tokenizer

_MARKS: dict[Beside, tuple[str, ...]] = {"text2gloss": ("<s>",), "backward": ("<s>", "<s>")}
"""What stands before a source, so that one model tells what it is asked for (Johnson et al. 2017); no gloss is one."""


def in_direction(clips: Iterable[Clip], direction: Direction) -> list[Clip]:
    """Return clips as a model of this direction learns them; what a clip lacks it has not got afterwards either."""
    if direction == "gloss2text":
        return list(clips)
    found = []
    for clip in clips:
        words, glosses = turned(clip.gloss or (), clip.text or "")
        lacks_text, lacks_gloss = clip.text is None, clip.gloss is None
        found.append(replace(clip, gloss=None if lacks_text else words, text=None if lacks_gloss else glosses))
    return found


def turned(glosses: Sequence[str], text: str) -> tuple[tuple[str, ...], str]:
    """Return what `text2gloss` reads, the words of a text, and what it writes, the names of its glosses."""
    return tuple(text.split()), " ".join(map(gloss_name, glosses))


def marked(glosses: Sequence[str], kind: Beside | None) -> Sequence[str]:
    """Return a source as a model that learned several kinds of answers reads it where it is asked for one of them."""
    return (*_MARKS[kind], *glosses) if kind else glosses


def beside(clips: Iterable[Clip], kind: Beside) -> list[Clip]:
    """Return clips as what is learned beside their texts has them, without marks, under names of their own."""
    turned_round = in_direction(clips, "text2gloss" if kind == "text2gloss" else "gloss2text")
    return [replace(clip, id=f"{clip.id} ({kind})") for clip in turned_round]


class GlossTextDataset(Dataset):
    """Batches by (epoch, index).

    `labels (B, N)`, `decoder_input_ids (B, N)`, and the glosses as their reader makes them.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        tokenizer: Tokenizer,
        glosses: GlossReader,
        *,
        seed: int,
        gloss_dropout: float = 0.0,
        piece_dropout: float = 0.0,
        also: Sequence[Beside] = (),
    ):
        """Take clips that have glosses and a text.

        Args:
            clips: in the order of their indices; those of what is learned beside follow.
            tokenizer: of the texts.
            glosses: makes of glosses what the model reads.
            seed: with epoch and index it decides the noise of an item.
            gloss_dropout: share of the glosses that are read as `<unk>`.
            piece_dropout: share of the merges that are left out of a text.
            also: what is learned beside the texts of glosses.

        Raises:
            SltError: the tokenizer's model is none of merges, and some are to be left out.
        """
        self.clips, self.seed = [*clips, *(clip for kind in also for clip in beside(clips, kind))], seed
        self._kinds: list[Beside | None] = [kind for kind in (None, *also) for _ in clips]
        self._texts, self._glosses = TextLabels(tokenizer), glosses
        self.gloss_dropout, self.piece_dropout = gloss_dropout, piece_dropout
        if piece_dropout:
            tokenizer.encode_with_dropout("", piece_dropout, np.random.default_rng(0))

    def __len__(self) -> int:
        return len(self.clips)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> dict[str, torch.Tensor]:
        tokenizer, glosses, pieces = self._texts.tokenizer, [], []
        for epoch, index in keys:
            clip, rng = self.clips[index], np.random.default_rng([self.seed, epoch, index])
            signed, text = clip.gloss or (), clip.text or ""
            if self.gloss_dropout:
                lost = rng.random(len(signed)) < self.gloss_dropout
                signed = [UNKNOWN if gone else gloss for gloss, gone in zip(signed, lost, strict=True)]
            glosses.append(marked(signed, self._kinds[index]))
            if self.piece_dropout:
                ids = tokenizer.encode_with_dropout(text, self.piece_dropout, rng)
            else:
                ids = tokenizer.encode(text)
            pieces.append(ids[::-1] if self._kinds[index] == "backward" else ids)
        return {**self._glosses.encode(glosses), **tokenizer.targets(pieces)._asdict()}

    @property
    def padding(self) -> dict[str, Padding]:
        """How the tensors of a batch are padded."""
        return {**self._glosses.padding, **self._texts.padding}

    def lengths(self) -> list[int]:
        """Return the length of every item, source and pieces together, without noise: for bucketing."""
        tokenizer = self._texts.tokenizer
        sources = self.source_lengths()
        return [steps + len(tokenizer.encode(clip.text or "")) for steps, clip in zip(sources, self.clips, strict=True)]

    def source_lengths(self) -> list[int]:
        """Return the steps of every item's source."""
        sources = (marked(clip.gloss or (), kind) for clip, kind in zip(self.clips, self._kinds, strict=True))
        return [self._glosses.length(source) for source in sources]
