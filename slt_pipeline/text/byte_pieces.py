"""The byte-level pieces of a GPT-2 tokenizer, numbered as those of a SentencePiece model are."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from slt_pipeline.errors import SltError

BYTE_FILES = WHOLE_FILE, VOCABULARY_FILE, MERGES_FILE = "tokenizer.json", "vocab.json", "merges.txt"
_SPECIAL = 3
"""Pieces that stand before those of a text in a SentencePiece model."""


class BytePieces:
    """What a tokenizer asks of a SentencePiece model; every text begins with a space, as a word inside one does."""

    def __init__(self, model: bytes):
        """Take a `tokenizer.json`, as `read_byte_pieces` reads one."""
        self._tokens = tokenizers.Tokenizer.from_str(model.decode())
        self._tokens.no_truncation()
        self._tokens.no_padding()

    @property
    def count(self) -> int:
        """Rows of the embedding that its pieces have in their own model."""
        return max(self._names) + 1

    def encode(self, text: str) -> list[int]:
        """Return the pieces of a text of single spaces."""
        ids = self._tokens.encode(f" {text}", add_special_tokens=False).ids if text else []
        return [number + _SPECIAL for number in ids]

    def get_piece_size(self) -> int:
        """Return the number of pieces, special ones included."""
        return self.count + _SPECIAL

    def get_score(self, piece: int) -> float:
        """Return 0: merges have no scores."""
        return 0.0

    def id_to_piece(self, piece: int) -> str:
        """Return the name of a piece, which stands for bytes; nothing of one that is no part of a text."""
        return self._names.get(piece - _SPECIAL, "")

    def joined(self, names: Sequence[str]) -> str:
        """Return the text of pieces."""
        return decoders.ByteLevel().decode(list(names))

    @cached_property
    def _names(self) -> dict[int, str]:
        names = {number: name for name, number in self._tokens.get_vocab(with_added_tokens=True).items()}
        special = {number: "" for number, added in self._tokens.get_added_tokens_decoder().items() if added.special}
        return names | special


def byte_files(folder: Path) -> list[Path]:
    """Return the files of a folder's byte-level tokenizer; none: it has none."""
    whole, parts = folder / WHOLE_FILE, [folder / VOCABULARY_FILE, folder / MERGES_FILE]
    return [whole] if whole.is_file() else parts if all(path.is_file() for path in parts) else []


def read_byte_pieces(files: Sequence[Path]) -> bytes:
    """Return a `tokenizer.json` of the files that `byte_files` found.

    Raises:
        SltError: they cannot be read, or are of another kind of tokenizer.
    """
    path = files[0]
    try:
        if len(files) > 1:
            tokens = tokenizers.Tokenizer(models.BPE.from_file(*map(str, files)))
            tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokens.decoder = decoders.ByteLevel()
        else:
            tokens = tokenizers.Tokenizer.from_file(str(path))
        model = tokens.to_str()
    except Exception as error:  # what the library raises has no class of its own
        raise SltError(f"{path}: no tokenizer ({str(error).splitlines()[0]}); fetch it anew") from error
    said = json.loads(model)
    kinds = said["model"]["type"], (said["decoder"] or {}).get("type")
    if kinds != ("BPE", "ByteLevel"):
        raise SltError(
            f"{path} is a tokenizer of kind {kinds[0]}, decoded as {kinds[1]}, not a GPT-2's; name a folder that holds "
            "one, or sentencepiece.bpe.model"
        )
    return model.encode()
