"""A SentencePiece model learned from the corpus itself, for runs without a pre-trained mBART."""

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from slt_pipeline.config.text import Detokenise
from slt_pipeline.errors import SltError
from slt_pipeline.text.normalise import nfc, single_spaced
from slt_pipeline.text.tokenizer import Tokenizer


def train_tokenizer(
    texts: Iterable[str],
    folder: Path | str | None = None,
    *,
    vocab_size: int = 1000,
    language: str = "de_DE",
    detokenise: Detokenise = "none",
) -> Tokenizer:
    """Train byte-pair merges on texts as they are, in NFC; the same texts give the same bytes.

    Merges, not a unigram model: on a few hundred sentences the latter breaks most words into letters. No character is
    turned into another one, as mBART's own normalisation (NFKC) would do: decoded text is text that was seen.

    Args:
        texts: Sentences.
        folder: Where the tokenizer is written, if anywhere.
        vocab_size: Most pieces; a small corpus that does not carry so many gets fewer, and every character is kept.
        language: Target language, a code of mBART's.
        detokenise: Spelling of decoded text.

    Raises:
        SltError: there is no text at all.
    """
    sentences = [text for text in (single_spaced(nfc(text)) for text in texts) if text]
    if not sentences:
        raise SltError("tokenizer training: no text in the corpus; the manifest needs clips with `text`")
    num_characters = len({character for text in sentences for character in text})
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=output,
        model_type="bpe",
        vocab_size=max(vocab_size, num_characters + 8),
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
    )
    tokenizer = Tokenizer(output.getvalue(), language, detokenise=detokenise)
    if folder is not None:
        tokenizer.save(folder)
    return tokenizer
