"""Sentences to mBART's ids and back, on a SentencePiece model (FACTS 6.1, 6.2, 6.6).

Ids follow fairseq: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, piece p of the SentencePiece model p + 1, then the 25
language codes in their fixed order, `<mask>`. A target language that is none of them has the id behind the last: no
mBART has weights for it, but a model that starts at random learns them. A pruned model renumbers all these through a
map old id -> new id.
transformers' own MBartTokenizer is not used: since version 5 it turns every piece of a SentencePiece folder into
`<unk>`. The pieces of a GPT-2's byte-level tokenizer have the places of a SentencePiece model's.
B sentences, N the longest of them in pieces + 2.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import sentencepiece
import torch

from slt_pipeline.config.names import ANY_LANGUAGE, LANGUAGE_CODES, SPOKEN_LANGUAGE
from slt_pipeline.config.text import Detokenise, Order
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, write_bytes, write_text
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.bpe_dropout import BPEDropout
from slt_pipeline.text.byte_pieces import BYTE_FILES, WHOLE_FILE, BytePieces, byte_files, read_byte_pieces
from slt_pipeline.text.normalise import nfc, single_spaced

MODEL_FILE = "sentencepiece.bpe.model"
META_FILE = "slt_tokenizer.json"
ID_MAP_FILE = "map_ids.json"
TOKENIZER_FILES = (MODEL_FILE, *BYTE_FILES, ID_MAP_FILE, META_FILE)
"""All that a tokenizer's folder may hold."""
PUBLISHED_ID_MAPS = ("map_ids.pkl", "old2new_vocab.pkl")
"""Names of the same map in published folders, as pickles."""
_PAD, _EOS, _UNK, _NUM_SPECIALS = 1, 2, 3, 4
_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
# transformers' clean-up of decoded text, kept because published scores were computed behind it
_CLEAN_UP = tuple(
    (spaced, spaced.strip()) for spaced in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
)
_OTHER_LANGUAGE = "<language>"
"""Names the id of a folder's own language where a tokenizer of its pieces has another one."""


class Targets(NamedTuple):
    """What the decoder is trained on, both (B, N) int64."""

    labels: torch.Tensor
    decoder_input_ids: torch.Tensor


class Tokenizer:
    """SentencePiece with mBART's numbering for one target language."""

    pad_id, eos_id, unk_id = _PAD, _EOS, _UNK

    def __init__(
        self,
        model: bytes,
        language: str = "de_DE",
        id_map: Mapping[int, int] | None = None,
        detokenise: Detokenise = "none",
        order: Order = "forward",
    ):
        """Make a tokenizer.

        Args:
            model: Bytes of a SentencePiece model, or of the `tokenizer.json` of a GPT-2.
            language: Target language; one that is none of mBART's gets an id of its own.
            id_map: Old id -> new id of a pruned model.
            detokenise: Spelling of decoded text: as the pieces say, or cleaned up as in the published systems.
            order: In which targets are written, and what is decoded was.

        Raises:
            SltError: the language is no code of one, or the map moves a special token, drops the language or is of
                another model.
        """
        if not SPOKEN_LANGUAGE.fullmatch(language):
            raise SltError(f"text language {language!r} is no spoken language such as de_DE, en_XX or pl_PL")
        if detokenise not in get_args(Detokenise):
            raise SltError(f"tokenizer: detokenise is {detokenise!r}; use one of: {', '.join(get_args(Detokenise))}")
        self.language = language
        self.detokenise: Detokenise = detokenise
        if order not in get_args(Order):
            raise SltError(f"tokenizer: order is {order!r}; use one of: {', '.join(get_args(Order))}")
        self.order: Order = order
        self.model = model
        if not model:
            raise ValueError("the SentencePiece model is empty")
        self._in_bytes = BytePieces(model) if model.startswith(b"{") else None
        self._pieces = self._in_bytes or sentencepiece.SentencePieceProcessor(model_proto=model)
        self._first_language = self._pieces.get_piece_size() + 1
        self.id_map = None if id_map is None else {int(old): int(new) for old, new in id_map.items()}
        self._mask = self._first_language + len(LANGUAGE_CODES)
        codes = {code: self._first_language + index for index, code in enumerate(LANGUAGE_CODES)}
        self._codes = {**codes, language: codes.get(language, self._mask + 1)}
        code = self._codes[language]
        if self.id_map is not None:
            if code > self._mask:
                self.id_map.setdefault(code, len(self.id_map))
            check_id_map(self.id_map, "pruned vocabulary")
            if strange := [old for old in self.id_map if not 0 <= old <= self._mask + 1]:
                raise SltError(
                    f"pruned vocabulary: it keeps the id {strange[0]}, and the SentencePiece model beside it has those "
                    f"up to {self._mask}; take the map of ids and the model from one place"
                )
            if self._mask + 1 in self.id_map and code <= self._mask:
                self._codes[_OTHER_LANGUAGE] = self._mask + 1
            if code not in self.id_map:
                kept = ", ".join(name for name in LANGUAGE_CODES if codes[name] in self.id_map) or "none"
                raise SltError(
                    f"pruned vocabulary: language {language} (id {code}) was pruned away; prune again for it, or "
                    f"choose one that is left: {kept}"
                )
        self._old_ids = None if self.id_map is None else {new: old for old, new in self.id_map.items()}
        self.language_id = self._new_id(code)

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials and language codes included: the rows of mBART's embedding."""
        if self.id_map is not None:
            return max(self.id_map.values()) + 1
        return self._whole_size

    @property
    def _whole_size(self) -> int:
        return max(self._mask, self._codes[self.language]) + 1

    @property
    def byte_pieces(self) -> int:
        """Pieces of a GPT-2's own tokenizer, whose ids follow the four special ones here; 0: they are none."""
        return self._in_bytes.count if self._in_bytes else 0

    @property
    def added_tokens(self) -> dict[str, int]:
        """Ids of special tokens, language codes and `<mask>`, by name, in the order of mBART's file (FACTS 6.1)."""
        specials = dict(zip(_SPECIALS, range(_NUM_SPECIALS), strict=True))
        codes = {code: old for code, old in self._codes.items() if old < self._mask}
        olds = specials | codes | {"<mask>": self._mask} | self._codes
        return {name: self._new_id(old) for name, old in olds.items() if self.id_map is None or old in self.id_map}

    def with_ids(self, ids: Sequence[int]) -> "Tokenizer":
        """Return the tokenizer of a model that has these ids alone, numbered anew in this order."""
        id_map = {self._old_id(number): new for new, number in enumerate(ids)}
        return Tokenizer(self.model, self.language, id_map, self.detokenise, self.order)

    def in_order(self, order: Order) -> "Tokenizer":
        """Return one with the same ids that writes in this order."""
        return Tokenizer(self.model, self.language, self.id_map, self.detokenise, order)

    def scored_names(self) -> list[tuple[str, float]]:
        """Return the name of every id, in order, with its score in the SentencePiece model; of added tokens 0."""
        added = {number: name for name, number in self.added_tokens.items()}
        olds = {number: self._old_id(number) - 1 for number in range(self.vocab_size) if number not in added}
        pieces = {n: (self._pieces.id_to_piece(old), self._pieces.get_score(old)) for n, old in olds.items()}
        return [pieces.get(number) or (added[number], 0.0) for number in range(self.vocab_size)]

    def made_of(self, number: int) -> list[int]:
        """Return the ids of all that becomes a piece of merges; of what was pruned `<unk>`.

        Raises:
            SltError: the model is none of merges.
        """
        return self._ids(self._merges.made_of(self._old_id(number) - 1))

    @classmethod
    def load(
        cls,
        folder: Path | str,
        language: str | None = None,
        id_map: Mapping[int, int] | None = None,
        detokenise: Detokenise | None = None,
        order: Order | None = None,
    ) -> "Tokenizer":
        """Read a folder that `save` wrote, or a Hugging Face folder: an mBART's, or a GPT-2's.

        Args:
            folder: The folder; a pruned one's `map_ids.json` is read too.
            language: In place of what the folder says (`de_DE` if it says nothing).
            id_map: In place of the folder's own map.
            detokenise: In place of what the folder says. One that says nothing is `published`: before there was a
                choice, all were.
            order: In place of what the folder says (`forward` if it says nothing).

        Raises:
            SltError: there is no model, a file is damaged, or the map is a pickle that was not imported.
        """
        folder = Path(folder)
        files = model_files(folder)
        try:
            return cls._of_files(folder, files, language, id_map, detokenise, order)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            read = [*files, *(path for name in (ID_MAP_FILE, META_FILE) if (path := folder / name).is_file())]
            names = ", ".join(path.name for path in read)
            raise SltError(
                f"tokenizer folder {folder}: of {names} one is damaged ({error}); fetch or make the folder anew"
            ) from error

    @classmethod
    def _of_files(
        cls,
        folder: Path,
        files: Sequence[Path],
        language: str | None,
        id_map: Mapping[int, int] | None,
        detokenise: Detokenise | None,
        order: Order | None,
    ) -> "Tokenizer":
        meta: dict[str, Any] = read_json(folder / META_FILE) if (folder / META_FILE).is_file() else {}
        if id_map is None and meta.get("kept") is not None:
            id_map = {old: new for new, old in enumerate(meta["kept"])}
        if id_map is None and (folder / ID_MAP_FILE).is_file():
            id_map = {int(old): int(new) for old, new in read_json(folder / ID_MAP_FILE).items()}
        pickled = [name for name in PUBLISHED_ID_MAPS if (folder / name).is_file()]
        if id_map is None and pickled:
            raise SltError(
                f"tokenizer folder {folder}: {pickled[0]} is a pickle, which is not opened; "
                f"`slt lm import {shlex.quote(str(folder))}` makes {ID_MAP_FILE} of it"
            )
        return cls(
            files[0].read_bytes() if files[0].name == MODEL_FILE else read_byte_pieces(files),
            language or meta.get("language", "de_DE"),
            id_map,
            detokenise or meta.get("detokenise", "published"),
            order or meta.get("order", "forward"),
        )

    def save(self, folder: Path | str) -> None:
        """Write `sentencepiece.bpe.model`, or a GPT-2's `tokenizer.json`, and `slt_tokenizer.json` with the rest."""
        folder = Path(folder)
        write_bytes(folder / (WHOLE_FILE if self._in_bytes else MODEL_FILE), self.model)
        write_text(folder / META_FILE, json.dumps(self._meta()) + "\n")

    def digest(self) -> str:
        """Return a SHA-256, in hex, of all that decides ids and text: two tokenizers with one digest are the same."""
        return hashlib.sha256(json.dumps(self._meta(), sort_keys=True).encode() + b"\n" + self.model).hexdigest()

    def ids_digest(self) -> str:
        """Return one of what decides ids alone: neither spelling, nor a map that gives every id its own.

        The order is part of it: what stands behind what tells ids that are written backward from others.
        """
        kept = self._meta()["kept"]
        of_ids = None if kept == list(range(self._whole_size)) else kept
        return hashlib.sha256(
            json.dumps([self.language, of_ids, *self._turned]).encode() + b"\n" + self.model
        ).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Return the ids of a sentence's pieces alone; a piece that was pruned or never seen is `<unk>`.

        The text is brought into NFC with single spaces; a pre-trained model normalises further (NFKC) by itself.
        """
        return self._ids(self._pieces.encode(single_spaced(nfc(text))))

    def encode_with_dropout(self, text: str, dropout: float, rng: np.random.Generator) -> list[int]:
        """Return the same with some merges left out at random.

        Raises:
            SltError: the model is none of merges.
        """
        return self._ids(self._merges.encode(single_spaced(nfc(text)), dropout, rng))

    def encode_target(self, texts: Sequence[str]) -> Targets:
        """Return labels and decoder inputs of sentences (see `targets`)."""
        return self.targets([self.encode(text) for text in texts])

    def targets(self, pieces: Sequence[Sequence[int]]) -> Targets:
        """Return labels and decoder inputs of the ids of sentences (FACTS 6.2).

        Labels are the pieces, in the order in which they are written, and `</s>`, then `<pad>`. Decoder inputs are the
        language code, the pieces and `</s>`; shorter rows carry the language code once more behind `</s>`, where the
        label is `<pad>`.
        """
        rows = [[*self._in_order(row), _EOS, self.language_id] for row in pieces]
        ids, lengths = pad_ids(rows, _PAD)
        labels = ids.scatter(1, lengths[:, None] - 1, _PAD)
        start = torch.full((len(rows), 1), self.language_id, dtype=torch.int64)
        return Targets(labels, torch.cat([start, ids[:, :-1]], dim=1))

    def gloss_pieces(self, name: str) -> list[int]:
        """Return the ids whose rows average to a gloss's vector (FACTS 6.1): its pieces, or a special token's id.

        A sign language's code stands for the spoken language beside it, of the same first part, else for the target
        language; the blank and the like have none.
        """
        if name in _SPECIALS:
            return [_SPECIALS.index(name)]
        if ANY_LANGUAGE.fullmatch(name):  # no gloss: these are kept in lower case
            return [self._new_id(self._codes[self._spoken_beside(name)])]
        if name == "<mask>":
            return [self._new_id(self._mask)]
        return [] if name.startswith("<") and name.endswith(">") else self.encode(name)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of generated ids; special tokens and language codes are skipped (FACTS 6.6).

        With `detokenise: published` spaces before punctuation go; German gets the one before a final full stop back.
        """
        olds = (self._old_id(int(new)) for new in self._in_order(list(ids)))
        pieces = [self._pieces.id_to_piece(old - 1) for old in olds if _NUM_SPECIALS <= old < self._first_language]
        text = self._in_bytes.joined(pieces) if self._in_bytes else "".join(pieces).replace("▁", " ")
        text = text.strip(" ")
        if self.detokenise == "none":
            return nfc(text)  # an accent may have come as a piece of its own
        for spaced, tight in _CLEAN_UP:
            text = text.replace(spaced, tight)
        if self.language == "de_DE" and len(text) > 2 and text.endswith(".") and text[-2] != " ":
            text = text[:-1] + " ."
        return text

    def decode_batch(self, ids: torch.Tensor) -> list[str]:
        """Return one text per row of `ids (B, N)`."""
        return [self.decode(row) for row in ids.tolist()]

    def round_trip(self, text: str) -> str:
        """Return what a perfect translator would write of a reference: `text` itself, unless something is lost."""
        return self.decode(self._in_order(self.encode(text)))

    def _in_order(self, pieces: Sequence[int]) -> Sequence[int]:
        """Return pieces as they are written, or what was written as it is read."""
        return pieces if self.order == "forward" else pieces[::-1]

    @property
    def _turned(self) -> list[str]:
        """The order, where it is not the usual one: a tokenizer of an earlier version keeps its digests."""
        return [] if self.order == "forward" else [self.order]

    def _spoken_beside(self, name: str) -> str:
        """Return the spoken language that a code stands for or beside: one that was not pruned away."""
        left = [code for code, old in self._codes.items() if self.id_map is None or old in self.id_map]
        same = [code for code in (self.language, *left) if code.partition("_")[0] == name.partition("_")[0]]
        return name if name in left else [*same, self.language][0]

    @property
    def told(self) -> dict[str, str]:
        """What a folder says beside its pieces and ids: the language, and the order of writing that is not usual."""
        return {"language": self.language, **({"order": self.order} if self._turned else {})}

    def _meta(self) -> dict[str, Any]:
        """Return all but the model: language, spelling, old ids in order of their new ids, the order of writing."""
        kept = None if self._old_ids is None else [self._old_ids[new] for new in range(self.vocab_size)]
        return {**self.told, "detokenise": self.detokenise, "kept": kept}

    @cached_property
    def _merges(self) -> BPEDropout:
        if self._in_bytes:
            raise SltError(
                "gloss2text_train.regularise.piece_dropout needs a SentencePiece model of merges, and this tokenizer "
                "is a GPT-2's; set it to 0"
            )
        return BPEDropout(self.model)

    def _ids(self, pieces: Iterable[int]) -> list[int]:
        return [self._new_id(piece + 1) if piece else _UNK for piece in pieces]

    def _new_id(self, old: int) -> int:
        return old if self.id_map is None else self.id_map.get(old, _UNK)

    def _old_id(self, new: int) -> int:
        return new if self._old_ids is None else self._old_ids.get(new, _UNK)


def holds_tokenizer(folder: Path) -> bool:
    """Return whether a folder has pieces of its own."""
    return (folder / MODEL_FILE).is_file() or bool(byte_files(folder))


def model_files(folder: Path) -> list[Path]:
    """Return the files that a folder's pieces are read from.

    Raises:
        SltError: there are none.
    """
    found = [path for path in (folder / MODEL_FILE,) if path.is_file()] or byte_files(folder)
    if not found:
        raise SltError(f"tokenizer folder {folder}: no {MODEL_FILE}; name a folder that holds one")
    return found


def check_id_map(id_map: Mapping[int, int], where: str) -> None:
    """Check the map old id -> new id of a pruned model.

    Args:
        id_map: The map.
        where: What begins the message.

    Raises:
        SltError: a special token does not keep its id, or the new ids are not 0..n-1.
    """
    for special in range(_NUM_SPECIALS):
        if id_map.get(special) != special:
            raise SltError(f"{where}: special id {special} became {id_map.get(special)}; it must keep its id")
    if sorted(id_map.values()) != list(range(len(id_map))):
        raise SltError(f"{where}: the {len(id_map)} new ids are not 0..{len(id_map) - 1}, each once")
