"""A SentencePiece model learned from the corpus itself, for runs without a pre-trained mBART."""

import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from slt_pipeline.errors import SltError
from slt_pipeline.text.tokenizer import Tokenizer


def train_tokenizer(
    texts: Iterable[str], folder: Path | str | None = None, *, vocab_size: int = 1000, language: str = "de_DE"
) -> Tokenizer:
    """Train byte-pair merges with mBART's normalisation (NFKC); write the tokenizer to `folder` if one is given.

    `vocab_size` is an upper limit: a small corpus that does not carry so many pieces gets fewer. Every character of the
    corpus is kept. The same texts give the same bytes. Merges, not a unigram model: on a few hundred sentences the
    latter breaks most words into letters.

    Raises:
        SltError: there is no text at all.
    """
    sentences = [text for text in texts if text.strip()]
    if not sentences:
        raise SltError("tokenizer training: no text in the corpus; the manifest needs clips with `text`")
    num_characters = len({character for text in sentences for character in unicodedata.normalize("NFKC", text)})
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=output,
        model_type="bpe",
        vocab_size=max(vocab_size, num_characters + 8),
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nmt_nfkc",
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    tokenizer = Tokenizer(output.getvalue(), language)
    if folder is not None:
        tokenizer.save(folder)
    return tokenizer
