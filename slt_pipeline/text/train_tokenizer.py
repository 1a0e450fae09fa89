"""A SentencePiece model learned from the corpus itself, for runs without a pre-trained mBART."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sentencepiece

from slt_pipeline.config.text import Detokenise, Order
from slt_pipeline.errors import SltError
from slt_pipeline.text.characters import has_something_to_read, visible
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.text.tokenizer import Tokenizer

# SentencePiece leaves out a line that holds one of the first two, and ends a word at the others.
_RESERVED = str.maketrans(dict.fromkeys("\0\u2585\u2581\x1f", " "))
# These it takes for pieces, and so leaves out their letters.
_NAMES_OF_PIECES = ("<s>", "</s>", "<unk>")
_USUAL_BYTES = 4192  # it leaves out a longer line


def train_tokenizer(
    texts: Iterable[str],
    folder: Path | str | None = None,
    *,
    vocab_size: int = 1000,
    language: str = "de_DE",
    detokenise: Detokenise = "none",
    order: Order = "forward",
) -> Tokenizer:
    """Train byte-pair merges on texts as they are, in NFC; the same texts give the same bytes.

    Merges, not a unigram model: on a few hundred sentences the latter breaks most words into letters. No character is
    turned into another one, as mBART's own normalisation (NFKC) would do: decoded text is text that was seen.

    Args:
        texts: Sentences.
        folder: Where the tokenizer is written, if anywhere.
        vocab_size: Most pieces; a small corpus that does not carry so many gets fewer, and every character is kept.
        language: Target language, such as `de_DE`.
        detokenise: Spelling of decoded text.
        order: In which texts are written.

    Raises:
        SltError: there is no text at all, or SentencePiece refuses them; the longest is named.
    """
    sentences = [single_spaced(nfc(text).translate(_RESERVED)) for text in texts if has_something_to_read(text)]
    sentences = [text for text in sentences if text]
    if not sentences:
        raise SltError(
            "tokenizer training: no text in the corpus that has anything to read; the manifest needs clips with `text`"
        )
    characters = {character for text in sentences for character in text}
    longest = max(sentences, key=lambda text: len(text.encode()))
    unusual: dict[str, Any] = {}  # a model holds the settings that it was trained with: only where they are needed
    if len(longest.encode()) > _USUAL_BYTES:
        unusual["max_sentence_length"] = len(longest.encode()) + 1
    if any(name in text for text in sentences for name in _NAMES_OF_PIECES):
        unusual["required_chars"] = "".join(sorted(characters - {" "}))
    output = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=output,
            model_type="bpe",
            vocab_size=max(vocab_size, len(characters) + 8),
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            shuffle_input_sentence=False,
            minloglevel=2,
            **unusual,
        )
    except RuntimeError as error:
        raise SltError(
            f"tokenizer training: SentencePiece takes no model from {len(sentences)} texts, the longest of which has "
            f"{len(longest)} characters and begins {visible(longest[:40])!r} ({error}); shorten it or leave it out"
        ) from error
    tokenizer = Tokenizer(output.getvalue(), language, detokenise=detokenise, order=order)
    if folder is not None:
        tokenizer.save(folder)
    return tokenizer
