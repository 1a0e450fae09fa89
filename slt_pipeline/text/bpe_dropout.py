"""BPE-dropout: the merges of a SentencePiece model, some of them left out at random (Provilkov et al. 2020)."""

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise

import numpy as np
import sentencepiece

from slt_pipeline.errors import SltError

_WORD = re.compile("\u2581[^\u2581]*|[^\u2581]+")  # no merge goes over a space, which U+2581 stands for


class BPEDropout:
    """Breaks sentences into pieces otherwise every time; without dropout as SentencePiece itself does.

    Its own sampling draws from a generator that cannot be seeded twice, and a run could not be resumed exactly.
    """

    def __init__(self, model: bytes):
        """Take a SentencePiece model.

        Raises:
            SltError: its pieces are not merges.
        """
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        try:
            self._pieces.nbest_encode("a", nbest_size=1)
        except RuntimeError:  # of merges there is no n-best list
            return
        raise SltError(
            "gloss2text_train.regularise.piece_dropout needs a tokenizer of merges (BPE), and this one is a unigram "
            "model; set it to 0, or leave text.tokenizer out to train one"
        )

    def encode(self, text: str, dropout: float, rng: np.random.Generator) -> list[int]:
        """Return SentencePiece's ids of a text of single spaces, each possible merge left out with `dropout`."""
        words, drawn = _WORD.findall(self._pieces.normalize(text)), _drawn(rng)
        return [piece for word in words for piece in self._word(word, dropout, drawn)]

    def made_of(self, number: int) -> list[int]:
        """Return SentencePiece's ids of all that becomes a piece: its characters, and what is merged on the way."""
        name = self._pieces.id_to_piece(number)
        merged: list[str] = []
        self._word(name, 0.0, iter(()), merged)
        return [self._merges[part][1] for part in dict.fromkeys([*name, *merged]) if part in self._merges]

    def _word(self, word: str, dropout: float, drawn: Iterator[float], merged: list[str] | None = None) -> list[int]:
        parts = list(word)
        pieces = [self._merges.get(a + b) for a, b in pairwise(parts)]  # what each pair of neighbours would become
        while True:
            merges = [(piece[0], -i) for i, piece in enumerate(pieces) if piece is not None]
            if dropout:
                merges = [merge for merge in merges if next(drawn) >= dropout]
            if not merges:
                return [self._merges[part][1] if part in self._merges else self._pieces.unk_id() for part in parts]
            at = -max(merges)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            if merged is not None:
                merged.append(parts[at])
            del pieces[at]
            for i in range(max(at - 1, 0), min(at + 1, len(pieces))):
                pieces[i] = self._merges.get(parts[i] + parts[i + 1])

    @cached_property
    def _merges(self) -> dict[str, tuple[float, int]]:
        """Score and id of every piece; the higher the score, the sooner it is merged."""
        ids = (i for i in range(self._pieces.get_piece_size()) if not self._pieces.is_control(i))
        return {
            self._pieces.id_to_piece(i): (self._pieces.get_score(i), i) for i in ids if not self._pieces.is_unknown(i)
        }


def _drawn(rng: np.random.Generator) -> Iterator[float]:
    """Yield the numbers that `rng` would draw one by one, many at a time: each call has its price."""
    while True:
        yield from rng.random(64).tolist()
