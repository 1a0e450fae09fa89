"""The vocabularies of a translator: ids travel with what gave them their meaning, and are compared by content."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slt_pipeline.config.corpus import CorpusConfig
from slt_pipeline.config.provenance import require_made_with
from slt_pipeline.config.text import TextConfig
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, read_json, write_json
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.systems.recogniser import CLASSES_FILE
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import ID_MAP_FILE, META_FILE, MODEL_FILE, Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer

log = logging.getLogger(__name__)

TOKENIZER_FOLDER = "tokenizer"
GLOSS_INPUTS_FILE = "gloss_inputs.json"
DIGESTS_FILE = "vocabularies.json"


@dataclass(frozen=True)
class Vocabularies:
    """What a translator's ids mean."""

    text: Tokenizer
    """Pieces of the spoken language: rows of the text embedding."""
    glosses: GlossVocabulary
    """Rows of the gloss table."""
    classes: GlossVocabulary | None = None
    """Gloss classes of the recogniser before it; None: Gloss2Text."""

    @classmethod
    def build(cls, corpus: CorpusConfig, text: TextConfig) -> "Vocabularies":
        """Read the tokenizer or train it on the training texts, and collect the glosses of `text.gloss_splits`.

        The same manifest gives the same vocabularies.
        """
        clips = load_clips(corpus.manifest, "train", needs=["text"])
        if text.tokenizer:
            tokenizer = Tokenizer.load(text.tokenizer, text.language, detokenise=text.detokenise)
        else:
            tokenizer = train_tokenizer(
                (clip.text or "" for clip in clips),
                vocab_size=text.vocab_size,
                language=text.language,
                detokenise=text.detokenise,
            )
        signed = (clip.gloss for split in text.gloss_splits for clip in load_clips(corpus.manifest, split))
        return cls(tokenizer, GlossVocabulary.build(signed, layout="translation", language=text.gloss_language))

    def with_classes(self, classes: GlossVocabulary) -> "Vocabularies":
        """Return the same with the classes of a recogniser."""
        return replace(self, classes=classes)

    def save(self, folder: Path) -> None:
        """Write all of them beside a model's checkpoints."""
        self.text.save(folder / TOKENIZER_FOLDER)
        self.glosses.save(folder / GLOSS_INPUTS_FILE)
        if self.classes is not None:
            self.classes.save(folder / CLASSES_FILE)
        write_json(folder / DIGESTS_FILE, self.digests())

    @classmethod
    def load(cls, folder: Path) -> "Vocabularies":
        """Read what `save` wrote.

        Raises:
            SltError: a file is missing or was changed since: the weights beside it mean nothing with other ids.
        """
        classes = folder / CLASSES_FILE
        found = cls(
            Tokenizer.load(folder / TOKENIZER_FOLDER),
            GlossVocabulary.load(folder / GLOSS_INPUTS_FILE),
            GlossVocabulary.load(classes) if classes.is_file() else None,
        )
        if (folder / DIGESTS_FILE).is_file():  # runs of the first edition have none
            cure = "put back the files that the run wrote, or train anew with --overwrite"
            require_made_with(read_json(folder / DIGESTS_FILE), found.digests(), f"the model in {folder}", cure)
        return found

    def digests(self) -> dict[str, str | None]:
        """Hash of the content of each, for a run's inputs."""
        return {
            "pieces": self.text.digest(),
            "gloss_inputs": self.glosses.digest(),
            "classes": self.classes.digest() if self.classes else None,
        }


def tokenizer_files(text: TextConfig) -> dict[str, Any]:
    """Hashes of the files that a given tokenizer is read from; None where it is trained."""
    if text.tokenizer is None:
        return {"tokenizer": None}
    beside = {name.replace(".", "_"): text.tokenizer / name for name in (ID_MAP_FILE, META_FILE)}
    return {
        "tokenizer": file_hash(text.tokenizer / MODEL_FILE),
        "tokenizer_files": {name: file_hash(path) if path.is_file() else None for name, path in beside.items()},
    }


def check_texts(
    tokenizer: Tokenizer,
    clips: Sequence[Clip],
    sources: Sequence[int],
    *,
    max_positions: int,
    generation: GenerationConfig,
    protocol: str,
    side_by_side: bool = False,
) -> None:
    """Find before training what would stop it, or would cost a perfect system its score.

    Args:
        tokenizer: of the translator.
        clips: all that train and validate it.
        sources: length of what it reads of each clip, in steps or glosses.
        max_positions: longest source or target of its mBART, language code and `</s>` included.
        generation: of validation; longer references cannot be reached.
        protocol: how texts are scored.
        side_by_side: whether sources and texts stand behind each other in training.

    Raises:
        SltError: a source, a text or a decoded text is longer than mBART's positions; the clip is named.
    """
    lengths = {clip.id: len(tokenizer.encode(clip.text or "")) + 2 for clip in clips}
    steps = {clip.id: length + 2 for clip, length in zip(clips, sources, strict=True)}
    _require_room("text", lengths, "pieces", max_positions)
    _require_room("source", steps, "steps", max_positions)
    if side_by_side:  # whichever clips meet in a batch
        longest = max(lengths.values())
        _require_room(
            "source", {clip: length + longest for clip, length in steps.items()}, "steps with a text", max_positions
        )
    if generation.max_length > max_positions:  # of an mBART folder: its positions are not known when a recipe loads
        raise SltError(
            f"generation.max_length is {generation.max_length}, mBART has {max_positions} positions; lower it"
        )
    cut = sum(length > generation.max_length for length in lengths.values())
    if cut:
        log.warning(
            "%d of %d references have more pieces than generation.max_length %d, out of reach; the longest has %d",
            *(cut, len(lengths), generation.max_length, max(lengths.values())),
        )
    _warn_of_spelling(tokenizer, [clip.text or "" for clip in clips if clip.split != "train"], protocol)


def _require_room(what: str, lengths: Mapping[str, int], unit: str, max_positions: int) -> None:
    longest = max(lengths, key=lambda clip: lengths[clip])
    if lengths[longest] > max_positions:
        too_long = sum(length > max_positions for length in lengths.values())
        raise SltError(
            f"the {what} of {longest} has {lengths[longest]} {unit}, mBART has {max_positions} positions "
            f"({too_long} clips are too long); raise translator.mbart.max_positions, or split the clip"
        )


def _warn_of_spelling(tokenizer: Tokenizer, references: Iterable[str], protocol: str) -> None:
    texts = list(references)
    score = get_protocol(protocol).score_translation
    # Not 100 but what the references score themselves: texts of fewer than four tokens have no BLEU-4.
    best, most = score([tokenizer.round_trip(text) for text in texts], texts).bleu4, score(texts, texts).bleu4
    if texts and best < most - 0.5:
        log.warning(
            "a perfect system would score BLEU-4 %.2f, not 100: decoded text is spelt unlike the references "
            "(text.detokenise is %s, <unk> stands for pieces that the tokenizer lacks)",
            *(best, tokenizer.detokenise),
        )
