"""Building, training and running translators: what gloss2text-train, translate-train and evaluate share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.translator import Translator
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer


@dataclass(frozen=True)
class TextSide:
    """Tokenizer and gloss vocabulary of a recipe's translators."""

    tokenizer: Tokenizer
    glosses: GlossVocabulary
    pad_gloss: int

    @classmethod
    def of(cls, recipe: Recipe) -> "TextSide":
        """Read or train the tokenizer; both are functions of the training split, so every stage gets the same."""
        clips = load_clips(recipe, "train", needs=["text"])
        config = recipe.text
        if config.tokenizer:
            tokenizer = Tokenizer.load(config.tokenizer, config.language)
        else:
            texts = [clip.text or "" for clip in clips]
            tokenizer = train_tokenizer(texts, vocab_size=config.vocab_size, language=config.language)
        glosses = GlossVocabulary.build(
            (clip.gloss for clip in clips), layout="translation", language=config.gloss_language
        )
        return cls(tokenizer, glosses, glosses.pad_id)

    def save(self, folder: Path) -> None:
        """Write both beside a model's checkpoints."""
        self.tokenizer.save(folder / "tokenizer")
        self.glosses.save(folder / "gloss_inputs.json")

    @classmethod
    def load(cls, folder: Path) -> "TextSide":
        """Read what `save` wrote."""
        glosses = GlossVocabulary.load(folder / "gloss_inputs.json")
        return cls(Tokenizer.load(folder / "tokenizer"), glosses, glosses.pad_id)

    def encode_text(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """`labels (B,N)` and `decoder_input_ids (B,N)` of the clips' texts."""
        targets = self.tokenizer.encode_target([clip.text or "" for clip in clips])
        return {"labels": targets.labels, "decoder_input_ids": targets.decoder_input_ids}

    def encode_gloss_input(self, glosses: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        """`gloss_ids (B,L)` and `gloss_lengths (B,)` as Gloss2Text reads them."""
        gloss_ids, gloss_lengths = pad_ids([self.glosses.encode(g) for g in glosses], self.pad_gloss)
        return {"gloss_ids": gloss_ids, "gloss_lengths": gloss_lengths}


def text_inputs(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides what a translator is made of, for the run folder."""
    return {"text": recipe.text.model_dump(mode="json"), "mbart": recipe.translator.mbart.model_dump(mode="json")}


def generate(
    model: Any, source: dict[str, torch.Tensor], tokenizer: Tokenizer, config: GenerationConfig, num_return: int = 1
) -> list[str]:
    """Texts for a batch of sources, `num_return` rows for each, best first."""
    found = model.generate(**source, **config.model_dump(), num_return=num_return)
    return tokenizer.decode_batch(found.ids)


def score_texts(recipe: Recipe, hypotheses: Sequence[str], clips: Sequence[Clip]) -> dict[str, float]:
    """bleu1..bleu4 and rouge under the corpus's protocol."""
    references = [clip.text or "" for clip in clips]
    return asdict(get_protocol(recipe.corpus.protocol).score_translation(hypotheses, references))


def build_gloss2text(recipe: Recipe, side: TextSide) -> Translator:
    """A translator that reads glosses: no mapper."""
    return Translator(recipe.translator, side.tokenizer, side.glosses, gloss_language=recipe.text.gloss_language)


def gloss2text(
    model: Translator, side: TextSide, glosses: Sequence[Sequence[str]], config: GenerationConfig, batch_size: int
) -> list[str]:
    """Text for every sequence of glosses."""
    device = next(model.parameters()).device
    texts: list[str] = []
    for i in range(0, len(glosses), batch_size):
        source = side.encode_gloss_input(glosses[i : i + batch_size])
        texts += generate(model, {k: v.to(device) for k, v in source.items()}, side.tokenizer, config)
    return texts
