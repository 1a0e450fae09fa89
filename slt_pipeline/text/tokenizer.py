"""Sentences to mBART's ids and back, on a SentencePiece model (FACTS 6.1, 6.2, 6.6).

Ids follow fairseq: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, piece p of the SentencePiece model p + 1, then the 25
language codes in their fixed order, `<mask>` last. A pruned model renumbers these through a map old id -> new id.
transformers' own MBartTokenizer is not used: since version 5 it turns every piece of a SentencePiece folder into
`<unk>`. B sentences, N the longest of them in pieces + 2.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece
import torch

from slt_pipeline.errors import SltError
from slt_pipeline.text.batch import pad_ids

LANGUAGE_CODES = (
    *(
        "ar_AR",
        "cs_CZ",
        "de_DE",
        "en_XX",
        "es_XX",
        "et_EE",
        "fi_FI",
        "fr_XX",
        "gu_IN",
        "hi_IN",
        "it_IT",
        "ja_XX",
        "kk_KZ",
    ),
    *("ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN"),
)
MODEL_FILE = "sentencepiece.bpe.model"
META_FILE = "slt_tokenizer.json"
_PAD, _EOS, _UNK, _NUM_SPECIALS = 1, 2, 3, 4
_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_SPOKEN = {"de_DGS": "de_DE", "zh_CSL": "zh_CN"}
# transformers' clean-up of decoded text, kept because published scores were computed behind it
_CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
)
_CLEAN_UP += ((" 've", "'ve"), (" 're", "'re"))


class Targets(NamedTuple):
    """What the decoder is trained on, both (B, N) int64."""

    labels: torch.Tensor
    decoder_input_ids: torch.Tensor


class Tokenizer:
    """SentencePiece with mBART's numbering for one target language."""

    pad_id, eos_id, unk_id = _PAD, _EOS, _UNK

    def __init__(self, model: bytes, language: str = "de_DE", id_map: Mapping[int, int] | None = None):
        """Take the bytes of a SentencePiece model, a code of mBART's, and the map old id -> new id of a pruned model.

        Raises:
            SltError: the language is none of mBART's, or the map moves a special token or drops the language.
        """
        if language not in LANGUAGE_CODES:
            raise SltError(f"text language {language!r} is none of mBART's codes: {' '.join(LANGUAGE_CODES)}")
        self.language = language
        self.model = model
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        self._first_language = self._pieces.get_piece_size() + 1
        self.id_map = None if id_map is None else {int(old): int(new) for old, new in id_map.items()}
        code = self._first_language + LANGUAGE_CODES.index(language)
        if self.id_map is not None:
            _check_map(self.id_map, code, language)
        self._old_ids = None if self.id_map is None else {new: old for old, new in self.id_map.items()}
        self.language_id = self._new_id(code)

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials and language codes included: the rows of mBART's embedding."""
        if self.id_map is not None:
            return max(self.id_map.values()) + 1
        return self._first_language + len(LANGUAGE_CODES) + 1

    @classmethod
    def load(
        cls, folder: Path | str, language: str | None = None, id_map: Mapping[int, int] | None = None
    ) -> "Tokenizer":
        """Read a folder that `save` wrote, or a Hugging Face mBART folder with a `sentencepiece.bpe.model`.

        `language` overrides what the folder says (`de_DE` if it says nothing). A pruned folder's `map_ids.json` is read
        too; a published `map_ids.pkl` has to be handed over as `id_map`, since nothing here opens pickles.
        """
        folder = Path(folder)
        model_file = folder / MODEL_FILE
        if not model_file.is_file():
            raise SltError(f"tokenizer folder {folder}: no {MODEL_FILE}; name a folder that holds one")
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8")) if (folder / META_FILE).is_file() else {}
        if id_map is None and meta.get("kept") is not None:
            id_map = {old: new for new, old in enumerate(meta["kept"])}
        if id_map is None and (folder / "map_ids.json").is_file():
            id_map = {int(old): new for old, new in json.loads((folder / "map_ids.json").read_text()).items()}
        if id_map is None and (folder / "map_ids.pkl").is_file():
            raise SltError(f"tokenizer folder {folder}: its map_ids.pkl is a pickle; import it to {META_FILE} first")
        return cls(model_file.read_bytes(), language or meta.get("language", "de_DE"), id_map)

    def save(self, folder: Path | str) -> None:
        """Write `sentencepiece.bpe.model` and `slt_tokenizer.json`: language, old ids in order of their new ids."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self.model)
        kept = None if self._old_ids is None else [self._old_ids[new] for new in range(self.vocab_size)]
        (folder / META_FILE).write_text(json.dumps({"language": self.language, "kept": kept}) + "\n", encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Return the ids of a sentence's pieces alone, normalised (NFKC) by the model; a pruned piece is `<unk>`."""
        return [self._new_id(piece + 1) if piece else _UNK for piece in self._pieces.encode(text)]

    def encode_target(self, texts: Sequence[str]) -> Targets:
        """Return labels and decoder inputs (FACTS 6.2).

        Labels are the pieces and `</s>`, then `<pad>`. Decoder inputs are the language code, the pieces and `</s>`;
        shorter rows carry the language code once more behind `</s>`, where the label is `<pad>`.
        """
        rows = [[*self.encode(text), _EOS, self.language_id] for text in texts]
        ids, lengths = pad_ids(rows, _PAD)
        labels = ids.scatter(1, lengths[:, None] - 1, _PAD)
        start = torch.full((len(rows), 1), self.language_id, dtype=torch.int64)
        return Targets(labels, torch.cat([start, ids[:, :-1]], dim=1))

    def gloss_pieces(self, name: str) -> list[int]:
        """Return the ids whose rows average to a gloss's vector (FACTS 6.1): its pieces, or a special token's id.

        Sign language codes stand for the spoken language beside them; the blank and the like have none.
        """
        if name in _SPECIALS:
            return [_SPECIALS.index(name)]
        if name in LANGUAGE_CODES or name in _SPOKEN:
            return [self._new_id(self._first_language + LANGUAGE_CODES.index(_SPOKEN.get(name, name)))]
        if name == "<mask>":
            return [self._new_id(self._first_language + len(LANGUAGE_CODES))]
        return [] if name.startswith("<") and name.endswith(">") else self.encode(name)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of generated ids; special tokens and language codes are skipped (FACTS 6.6).

        Spaces before punctuation go, as in the published systems; German gets the one before a final full stop back.
        """
        olds = (self._old_id(int(new)) for new in ids)
        pieces = (self._pieces.id_to_piece(old - 1) for old in olds if _NUM_SPECIALS <= old < self._first_language)
        text = "".join(pieces).replace("▁", " ").strip()
        for spaced, tight in _CLEAN_UP:
            text = text.replace(spaced, tight)
        if self.language == "de_DE" and len(text) > 2 and text.endswith(".") and text[-2] != " ":
            text = text[:-1] + " ."
        return text

    def decode_batch(self, ids: torch.Tensor) -> list[str]:
        """Return one text per row of `ids (B, N)`."""
        return [self.decode(row) for row in ids.tolist()]

    def _new_id(self, old: int) -> int:
        return old if self.id_map is None else self.id_map.get(old, _UNK)

    def _old_id(self, new: int) -> int:
        return new if self._old_ids is None else self._old_ids.get(new, _UNK)


def _check_map(id_map: dict[int, int], code: int, language: str) -> None:
    for special in range(_NUM_SPECIALS):
        if id_map.get(special) != special:
            raise SltError(f"pruned vocabulary: special id {special} became {id_map.get(special)}; it must keep its id")
    if sorted(id_map.values()) != list(range(len(id_map))):
        raise SltError(f"pruned vocabulary: the {len(id_map)} new ids are not 0..{len(id_map) - 1}, each once")
    if code not in id_map:
        raise SltError(f"pruned vocabulary: language {language} (id {code}) was pruned away; prune again for it")
