"""Building, training and running translators: what gloss2text-train, translate-train and evaluate share."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import GenerationConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset, require_stream
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.sign_translator import SignTranslator
from slt_pipeline.models.translator import Translator
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.stages._corpus import load_clips
from slt_pipeline.stages._encoder import VOCABULARY_FILE
from slt_pipeline.stages._run import file_hash, flatten
from slt_pipeline.text.batch import pad_ids
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import MODEL_FILE, Tokenizer
from slt_pipeline.text.train_tokenizer import train_tokenizer
from slt_pipeline.training.checkpoint import best_checkpoint

WIDTHS_FILE = "streams.json"


@dataclass(frozen=True)
class TextSide:
    """Tokenizer and gloss vocabulary of a recipe's translators."""

    tokenizer: Tokenizer
    glosses: GlossVocabulary

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
        return cls(tokenizer, glosses)

    def save(self, folder: Path) -> None:
        """Write both beside a model's checkpoints."""
        self.tokenizer.save(folder / "tokenizer")
        self.glosses.save(folder / "gloss_inputs.json")

    @classmethod
    def load(cls, folder: Path) -> "TextSide":
        """Read what `save` wrote."""
        return cls(Tokenizer.load(folder / "tokenizer"), GlossVocabulary.load(folder / "gloss_inputs.json"))

    def encode_text(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """`labels (B,N)` and `decoder_input_ids (B,N)` of the clips' texts."""
        targets = self.tokenizer.encode_target([clip.text or "" for clip in clips])
        return {"labels": targets.labels, "decoder_input_ids": targets.decoder_input_ids}

    def encode_gloss_input(self, glosses: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
        """`gloss_ids (B,L)` and `gloss_lengths (B,)` as Gloss2Text reads them."""
        gloss_ids, gloss_lengths = pad_ids([self.glosses.encode(g) for g in glosses], self.glosses.pad_id)
        return {"gloss_ids": gloss_ids, "gloss_lengths": gloss_lengths}


@dataclass(frozen=True)
class BatchLabels:
    """Labels of a batch of clips: texts, and glosses as Gloss2Text's input or as classes of a trained head.

    A class, not a closure, so that loader processes can have it.
    """

    side: TextSide
    gloss_input: bool = False
    classes: GlossVocabulary | None = None

    def __call__(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """Tensors by the names that the models' `forward` gives them."""
        batch = self.side.encode_text(clips)
        if self.gloss_input:
            batch |= self.side.encode_gloss_input([clip.gloss or () for clip in clips])
        if self.classes is not None:
            ids = [self.classes.encode(clip.gloss or ()) for clip in clips]
            batch["gloss_ids"], batch["gloss_lengths"] = pad_ids(ids, self.classes.pad_id)
        return batch


def no_labels(clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
    """Labels of clips that are only decoded: none."""
    return {}


def text_inputs(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that decides what a translator is made of, for the run folder."""
    text, translator = recipe.text, recipe.translator.model_dump(mode="json")
    of_mapper = ("mapper", "head", "recognition_weight", "translation_weight")
    return {
        "text": text.model_dump(mode="json"),
        "tokenizer": text.tokenizer and file_hash(text.tokenizer / MODEL_FILE),
        "language_model": {key: value for key, value in translator.items() if key not in of_mapper},
    }


def generate(
    model: Any, source: dict[str, torch.Tensor], tokenizer: Tokenizer, config: GenerationConfig, num_return: int = 1
) -> tuple[list[str], list[float]]:
    """Texts for a batch of sources with their scores, `num_return` rows for each, best first."""
    found = model.generate(**source, **config.model_dump(), num_return=num_return)
    return tokenizer.decode_batch(found.ids), found.scores.tolist()


def score_texts(recipe: Recipe, hypotheses: Sequence[str], clips: Sequence[Clip]) -> dict[str, float]:
    """bleu1..bleu4 and rouge under the corpus's protocol."""
    references = [clip.text or "" for clip in clips]
    return asdict(get_protocol(recipe.corpus.protocol).score_translation(hypotheses, references))


def build_gloss2text(recipe: Recipe, side: TextSide) -> Translator:
    """A translator that reads glosses: no mapper."""
    config = recipe.translator
    if recipe.gloss2text_train.freeze_embeddings:
        mbart = config.mbart.model_copy(update={"freeze_text_embedding": True})
        config = config.model_copy(update={"mbart": mbart, "freeze_gloss_table": True})
    return Translator(config, side.tokenizer, side.glosses, gloss_language=recipe.text.gloss_language)


def build_sign2text(
    recipe: Recipe, side: TextSide, classes: GlossVocabulary, widths: Mapping[str, int]
) -> SignTranslator:
    """A translator that reads a stored stream; `widths` are those of the streams."""
    config = recipe.translator
    head = None
    require_stream(config.stream, widths)
    width = widths[config.stream]
    if config.head == "trained":
        head = VisualHead(recipe.encoder.head, width, len(classes))
        width = {"s3d": width, "gloss_rep": recipe.encoder.head.hidden}.get(config.mapper.input, len(classes))
    translator = Translator(
        config,
        side.tokenizer,
        side.glosses,
        gloss_language=recipe.text.gloss_language,
        in_features=width,
        class_names=classes.names,
    )
    return SignTranslator(head, translator)


def gloss2text(
    model: Translator, side: TextSide, glosses: Sequence[Sequence[str]], config: GenerationConfig, batch_size: int
) -> list[str]:
    """Text for every sequence of glosses."""
    device = next(model.parameters()).device
    texts: list[str] = []
    for i in range(0, len(glosses), batch_size):
        source = side.encode_gloss_input(glosses[i : i + batch_size])
        texts += generate(model, {k: v.to(device) for k, v in source.items()}, side.tokenizer, config)[0]
    return texts


def sign2text(
    model: SignTranslator, side: TextSide, features: FeatureDataset, config: GenerationConfig, batch_size: int
) -> tuple[list[str], list[torch.Tensor]]:
    """Text for every clip of `features`, and with a head its gloss logits (T,K)."""
    device = next(model.parameters()).device
    texts: list[str] = []
    gloss_logits: list[torch.Tensor] = []
    for i in range(0, len(features), batch_size):
        batch = features.batch(features.clips[i : i + batch_size])
        source = {name: batch[name].to(device) for name in ("features", "lengths")}
        texts += generate(model, source, side.tokenizer, config)[0]
        logits = model.recognise(**source)
        if logits is not None:
            gloss_logits += [row[:length] for row, length in zip(logits.cpu(), batch["lengths"].tolist(), strict=True)]
    return texts, gloss_logits


def load_gloss2text(recipe: Recipe, device: torch.device) -> tuple[Translator, TextSide]:
    """The best Gloss2Text model of a recipe, in eval mode."""
    folder = recipe.run_folder("gloss2text_train")
    checkpoint = best_checkpoint(folder, made_by=f"slt gloss2text-train -r {recipe.name}")
    side = TextSide.load(folder)
    model = build_gloss2text(recipe, side)
    checkpoint.load_model(model)
    return model.to(device).eval(), side


def load_sign2text(recipe: Recipe, device: torch.device, folder: Path | None = None) -> tuple[SignTranslator, TextSide]:
    """The best translator of a run, in eval mode. The recipe that trained it decides its shape."""
    folder = folder or recipe.run_folder("translate_train")
    checkpoint = best_checkpoint(folder, made_by=f"slt translate-train -r {recipe.name}")
    trained = read_json(folder / "inputs.json")
    for key, value in flatten({"translator": recipe.translator.model_dump(mode="json")}).items():
        if trained.get(key) != value:
            raise SltError(
                f"{folder} holds a translator trained with {key} = {trained.get(key)!r}, the recipe says {value!r}; "
                "set it back, or train anew with `slt translate-train --overwrite`"
            )
    side = TextSide.load(folder)
    classes = GlossVocabulary.load(folder / VOCABULARY_FILE)
    model = build_sign2text(recipe, side, classes, read_json(folder / WIDTHS_FILE))
    checkpoint.load_model(model)
    return model.to(device).eval(), side
