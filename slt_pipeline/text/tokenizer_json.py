"""A tokenizer as other programs read it: the files of transformers, with the same ids, pruned or not.

`sentencepiece.bpe.model` numbers the pieces of the whole model, which no pruned model has; transformers takes
`tokenizer.json` in its place. It segments by the pieces that are left: a text that needs no other is segmented as by
the whole model; in any other one, where `Tokenizer` has `<unk>`, it falls back on shorter pieces.
"""

import base64
from collections.abc import Iterator
from typing import Any

from slt_pipeline.config.names import LANGUAGE_CODES
from slt_pipeline.text.tokenizer import Tokenizer

_UNIGRAM, _MERGES = 1, 2
# Fields of SentencePiece's ModelProto: the trainer's settings with its kind of model, the normaliser's with its rules.
_TRAINER, _MODEL_TYPE, _NORMALISER, _RULES = 2, 3, 3, 2


def tokenizer_files(tokenizer: Tokenizer, max_length: int) -> dict[str, Any]:
    """Return the content of `tokenizer.json` and `tokenizer_config.json`, by name.

    Nothing of a model of merges that was pruned of what its pieces are merged of.

    Args:
        tokenizer: of the folder; sentences are closed by its language.
        max_length: positions of the model.
    """
    rules, added = _part(tokenizer, _NORMALISER).get(_RULES, b""), tokenizer.added_tokens
    kind = _kind(tokenizer)
    if kind != _UNIGRAM and (kind != _MERGES or not _merges_whole(tokenizer)):
        return {}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    tokens = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": name, **flags} for name, number in added.items()],
        "normalizer": {"type": "Sequence", "normalizers": _normalisers(rules)},
        "pre_tokenizer": metaspace,
        "post_processor": _ending(tokenizer),
        "decoder": metaspace,
        "model": _unigram(tokenizer) if kind == _UNIGRAM else _merges(tokenizer),
    }
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "src_lang": tokenizer.language,  # of MBartTokenizer, if it is asked for by name
        "tgt_lang": tokenizer.language,
        **{f"{kind}_token": name for kind, name in names.items()},
        **({"mask_token": "<mask>"} if "<mask>" in added else {}),
        "additional_special_tokens": [code for code in LANGUAGE_CODES if code in added],
    }
    return {"tokenizer.json": tokens, "tokenizer_config.json": settings}


def of_merges(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer's pieces are merged of smaller ones, as of trained ones; mBART's are not."""
    return not tokenizer.byte_pieces and _kind(tokenizer) == _MERGES


def _kind(tokenizer: Tokenizer) -> int:
    return _part(tokenizer, _TRAINER).get(_MODEL_TYPE, _UNIGRAM)


def _part(tokenizer: Tokenizer, field: int) -> dict[int, Any]:
    """Return the fields of a part of the model."""
    return dict(_fields(dict(_fields(tokenizer.model)).get(field, b"")))


def _merges_whole(tokenizer: Tokenizer) -> bool:
    """Whether all is left that the pieces are merged of."""
    added = tokenizer.added_tokens.values()
    pieces = (number for number in range(tokenizer.vocab_size) if number not in added)
    return tokenizer.id_map is None or all(tokenizer.unk_id not in tokenizer.made_of(number) for number in pieces)


def _unigram(tokenizer: Tokenizer) -> dict[str, Any]:
    return {"type": "Unigram", "unk_id": tokenizer.unk_id, "vocab": tokenizer.scored_names()}


def _merges(tokenizer: Tokenizer) -> dict[str, Any]:
    """A model of merges: any two pieces that together are one, the sooner the higher that one's score."""
    names, added = tokenizer.scored_names(), tokenizer.added_tokens
    scores = {name: score for name, score in names if name not in added}
    halves = [
        (-score, name[:cut], name[cut:])
        for name, score in scores.items()
        for cut in range(1, len(name))
        if name[:cut] in scores and name[cut:] in scores
    ]
    return {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "vocab": {name: number for number, (name, _) in enumerate(names)},
        "merges": [[first, second] for _, first, second in sorted(halves, key=lambda each: each[0])],
    }


def _normalisers(rules: bytes) -> list[dict[str, Any]]:
    """SentencePiece's own rules, then one space for several and none at the ends, as it does by itself."""
    own = [{"type": "Precompiled", "precompiled_charsmap": base64.b64encode(rules).decode()}] if rules else []
    strip = {"type": "Strip", "strip_left": True, "strip_right": True}
    return [{"type": "NFC"}, *own, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, strip]


def _ending(tokenizer: Tokenizer) -> dict[str, Any]:
    """Pieces, `</s>`, language: a sentence as mBART's encoder reads it."""
    code = {number: name for name, number in tokenizer.added_tokens.items()}[tokenizer.language_id]
    ends = {"</s>": tokenizer.eos_id, code: tokenizer.language_id}
    last = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ends]
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [first, *last],
        "pair": [first, second, *last],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ends.items()},
    }


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: numbers, or bytes."""
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            yield key >> 3, number()
            continue
        size = {1: 8, 5: 4}.get(kind) or number()
        yield key >> 3, message[position : position + size]
        position += size
