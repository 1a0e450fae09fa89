"""Translators are built and opened here, checked against a recipe: Gloss2Text and Sign2Text."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from slt_pipeline.config.provenance import ABSENT, flatten, require_made_with
from slt_pipeline.config.recipe import Recipe, recipe_of_run
from slt_pipeline.config.runs import STREAMS_FILE, holds_encoder, holds_language_model, holds_translator
from slt_pipeline.config.taps import TAPS, Stream
from slt_pipeline.config.translator import Beside, LanguageModelName, TranslatorConfig
from slt_pipeline.corpora.features import require_stream
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash, read_json, text_hash, write_json
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.gloss_table import EMBEDDINGS_FILE
from slt_pipeline.models.mbart_files import weight_files
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.taps import HeadFront, StoredTap, stream_widths
from slt_pipeline.models.translator import Translator
from slt_pipeline.models.visual_head import VisualHead
from slt_pipeline.systems.decoding import Gloss2Text, Sign2Text
from slt_pipeline.systems.parts import TRANSLATOR, best_of
from slt_pipeline.systems.vocabularies import Vocabularies, tokenizer_files
from slt_pipeline.text.tokenizer import Tokenizer, holds_tokenizer
from slt_pipeline.training.checkpoint import Checkpoint, best_checkpoint
from slt_pipeline.training.run import INPUTS, warn_if_unfinished

log = logging.getLogger(__name__)

_WRITTEN: dict[LanguageModelName, str] = {"mbart": "mBART", "gpt2": "GPT-2"}
_LANGUAGE_FILES: dict[LanguageModelName, str] = {"mbart": "mbart.json", "gpt2": "gpt2.json"}
GLOSS_SUFFIX = "gls"
"""What closes the glosses that Gloss2Text reads, whichever system its mBART is for (FACTS 6.4)."""
_DIGEST = "digest"
_SIZES = ("d_model", "num_layers", "num_heads", "ffn_dim", "max_positions")
_MBART_FILES = ("config.json", "model.safetensors", "pytorch_model.bin", "gloss_embeddings.bin")  # always told


def language_inputs(recipe: Recipe, suffix: str) -> dict[str, Any]:
    """Return what decides the language side of a translator that closes its sources by `suffix`: for a run's inputs."""
    config = recipe.translator
    names = (
        "language_model",
        config.language_model,
        "gloss_input",
        "direction",
        "gloss_table",
        "freeze_gloss_table",
        "label_smoothing",
    )
    return {
        **text_inputs(recipe),
        "language_model": {**{name: getattr(config, name) for name in names}, "suffix": suffix},
    }


def text_inputs(recipe: Recipe) -> dict[str, Any]:
    """Return what decides tokenizer and first weights of an mBART or GPT-2, its settings apart: for a run's inputs."""
    files = dict.fromkeys(_MBART_FILES) | _mbart_files(recipe.translator.of_language_model.folder)
    return {
        "text": recipe.text,
        **tokenizer_files(recipe.text),
        f"{recipe.translator.language_model}_files": {
            name.replace(".", "_"): file_hash(path) if path and path.is_file() else None for name, path in files.items()
        },
    }


def _mbart_files(folder: Path | None) -> dict[str, Path]:
    """Return the files of mBART's folder that decide a result, by name; none of a folder that is there no more."""
    if folder is None or not folder.is_dir():
        return {}
    rest = [path for path in (*weight_files(folder), folder / EMBEDDINGS_FILE) if path.is_file()]
    return {path.name: path for path in (*(folder / name for name in _MBART_FILES), *rest)}


def require_own_pieces(config: TranslatorConfig, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer with other pieces than those that a folder's weights were trained on.

    A folder without a tokenizer says nothing of its pieces but their number, which is compared when it is read.

    Raises:
        SltError: a folder is named, and its own tokenizer gives other ids.
    """
    folder = config.of_language_model.folder
    if folder is None or not holds_tokenizer(folder):
        return
    own = Tokenizer.load(folder, tokenizer.language, order=tokenizer.order)
    if own.ids_digest() != tokenizer.ids_digest():
        number = "as many others" if own.vocab_size == tokenizer.vocab_size else str(tokenizer.vocab_size)
        raise SltError(
            f"{_WRITTEN[config.language_model]} folder {folder}: {own.vocab_size} pieces, the tokenizer has {number}; "
            f"use the tokenizer of the same folder: -o text.tokenizer={folder}"
        )


def build_gloss2text(recipe: Recipe, vocabularies: Vocabularies, folder: Path | None = None) -> Translator:
    """Build a translator that reads glosses: no mapper.

    Args:
        recipe: its sizes and sources of weights.
        vocabularies: its tokenizer and gloss table.
        folder: a trained run, whose own architecture is taken: what it was started from need not exist any more.
    """
    suffix = GLOSS_SUFFIX  # an earlier version let a run choose
    if folder:
        suffix = flatten(read_json(folder / INPUTS, dict)).get("language_model.suffix", suffix)
    config = recipe.translator.model_copy(update={"suffix": suffix})
    if recipe.gloss2text_train.freeze_embeddings:
        frozen = config.of_language_model.model_copy(update={"freeze_text_embedding": True})
        config = config.model_copy(update={config.language_model: frozen, "freeze_gloss_table": True})
    return build_translator(
        config,
        vocabularies.text,
        vocabularies.glosses,
        gloss_language=recipe.text.gloss_language,
        architecture=_architecture(config, folder, vocabularies.text),
    )


def build_sign2text(
    recipe: Recipe, vocabularies: Vocabularies, stored: Mapping[Stream, int], folder: Path | None = None
) -> SignToText:
    """Build a translator that reads a store.

    Args:
        recipe: its sizes and sources of weights.
        vocabularies: its tokenizer, gloss table and classes.
        stored: widths of the store's streams.
        folder: as in `build_gloss2text`.

    Raises:
        SltError: the store lacks the stream that is read.
    """
    config = recipe.translator
    assert vocabularies.classes is not None, "a translator of signs knows the classes of its recogniser"
    require_stream(config.stream, stored)
    front: StoredTap | HeadFront = StoredTap(config.stream)
    widths = stored
    if config.head == "trained":
        head = VisualHead(recipe.encoder.head, stored["s3d"], len(vocabularies.classes))
        decays = recipe.translate_train.idle_classifier == "decayed" and TAPS[config.mapper.input].stream != "s3d"
        front = HeadFront(head, decay_idle=decays)
        widths = stream_widths(stored["s3d"], recipe.encoder.head.hidden, len(vocabularies.classes))
    return SignToText(front, build_behind_front(recipe, vocabularies, widths, folder))


def build_behind_front(
    recipe: Recipe, vocabularies: Vocabularies, widths: Mapping[Stream, int], folder: Path | None = None
) -> Translator:
    """Build what reads the taps of a front whose streams have these widths; arguments as of `build_sign2text`."""
    config = recipe.translator
    return build_translator(
        config,
        vocabularies.text,
        vocabularies.glosses,
        gloss_language=recipe.text.gloss_language,
        in_features=widths[TAPS[config.mapper.input].stream],
        class_names=vocabularies.classes.names if vocabularies.classes else None,
        architecture=_architecture(config, folder, vocabularies.text),
    )


def save_architecture(folder: Path, translator: Translator) -> None:
    """Write the sizes of a translator's language model beside its checkpoints, so that the run opens from itself."""
    sizes = translator.architecture
    write_json(folder / language_file(translator.config), {**sizes, _DIGEST: _digest_of(sizes)})


def language_file(config: TranslatorConfig) -> str:
    """Return the name of the file of these sizes in a run folder."""
    return _LANGUAGE_FILES[config.language_model]


def open_gloss2text(recipe: Recipe, device: torch.device, folder: Path | None = None) -> Gloss2Text:
    """Open the best Gloss2Text model that a recipe uses, in evaluation mode.

    Args:
        recipe: what it is checked against.
        device: where it computes.
        folder: its run; None: the one that the recipe uses.

    Raises:
        SltError: there is none, or it was trained with other settings, which are named with both values.
    """
    folder = folder or recipe.language_folder
    checkpoint = trained_language_model(recipe, folder)
    config = recipe.translator
    sizes = {name: getattr(config.of_language_model, name) for name in _SIZES}
    now = {"language_model": {config.language_model: sizes, "gloss_input": config.gloss_input}}
    _require(folder, now, f"the language model in {folder}", "slt gloss2text-train")
    vocabularies = Vocabularies.load(folder)
    model = build_gloss2text(recipe, vocabularies, folder)
    checkpoint.load_model(model)
    return Gloss2Text(model.to(device).eval(), vocabularies, checkpoint.weights_hash)


def require_learned(folder: Path, kind: Beside, asked: str) -> None:
    """Refuse to ask a run of Gloss2Text for what it has not learned beside its texts.

    Args:
        folder: its run.
        kind: what it is asked for.
        asked: begins the message: who asks.

    Raises:
        SltError: it has not learned it.
    """
    recipe = recipe_of_run(folder)
    if kind not in (also := recipe.gloss2text_train.also):
        learned = f"gloss2text_train.also is {', '.join(also)}" if also else "it learned nothing beside texts"
        if recipe.translator.direction != "gloss2text":
            learned = f"its translator.direction is {recipe.translator.direction}, and it writes no texts"
        raise SltError(
            f"{asked}, which {folder} has not learned: {learned}; leave it out, or name a run that was trained with "
            f"gloss2text_train.also=[{kind}]"
        )


def open_sign2text(
    recipe: Recipe, device: torch.device, reads: Mapping[str, Any], folder: Path | None = None
) -> Sign2Text:
    """Open the best translator of a run, in evaluation mode.

    Args:
        recipe: what it is checked against.
        device: where it computes.
        reads: what it will read, as in a run's inputs: `store`, the fingerprint of a store or encoder, and of a store
            `store_keep_bits`.
        folder: its run; None: the recipe's own.

    Raises:
        SltError: there is none, or it was trained with other settings or on the features of another encoder.
    """
    folder = folder or recipe.run_folder("translate_train")
    checkpoint = translator_for(recipe, folder, reads)
    vocabularies = Vocabularies.load(folder)
    model = build_sign2text(recipe, vocabularies, read_json(folder / STREAMS_FILE, dict), folder)
    checkpoint.load_model(model)
    return Sign2Text(model.to(device).eval(), vocabularies, checkpoint.weights_hash)


def translator_for(recipe: Recipe, folder: Path, reads: Mapping[str, Any], or_else: str = "") -> Checkpoint:
    """Return the best checkpoint of a translator's run, checked against a recipe and what it will read.

    Args:
        recipe: what it is checked against.
        folder: its run.
        reads: as in `open_sign2text`.
        or_else: another cure where there is none.

    Raises:
        SltError: there is none, or it was trained with other settings or on the features of another encoder.
    """
    recipe.translator.require_reads_signs()
    joint = recipe.run_folder("joint_train")
    if folder == recipe.run_folder("translate_train") and holds_translator(joint):
        or_else = or_else or f", or name the joint run with --run {joint}"
    checkpoint = trained_translator(folder, or_else)
    warn_if_unfinished(folder)
    now: dict[str, Any] = {"text": _languages(recipe), "translator": recipe.translator}
    now |= {name: value for name, value in reads.items() if name != "store"}
    if recipe.translator.head == "trained":
        now["head_config"] = recipe.encoder.head
    _require(folder, now, f"the translator in {folder}", "slt translate-train")
    _require_features(folder, reads["store"])
    return checkpoint


def require_reads_signs(recipe: Recipe, run: Path | None) -> None:
    """Refuse what is no translator of signs, before a store or an encoder is missed.

    Args:
        recipe: of the translator.
        run: its folder, where one is named.

    Raises:
        SltError: it reads glosses, or there is none.
    """
    recipe.translator.require_reads_signs()
    if run:
        trained_translator(run)


def trained_translator(folder: Path, or_else: str = "") -> Checkpoint:
    """Return the best checkpoint of a translator's run; nothing is loaded.

    Raises:
        SltError: there is none, or the run is of something else.
    """
    checkpoint = best_of(folder, TRANSLATOR, "slt translate-train", or_else)
    if not holds_translator(folder):
        raise SltError(
            f"{folder} holds no translator of signs; name a run of `slt translate-train`, `slt joint-train` or a sweep"
        )
    return checkpoint


def trained_language_model(recipe: Recipe, folder: Path) -> Checkpoint:
    """Return the best checkpoint of a Gloss2Text run, checked against the recipe's languages; nothing is loaded.

    Raises:
        SltError: there is none, or it was trained for other languages, with another spelling, or is of another kind, or
            is the recipe's own, with other vocabularies.
    """
    or_use = ", or take those of another recipe or run with -o uses.language=..."
    checkpoint = best_checkpoint(folder, "slt gloss2text-train", or_use)
    warn_if_unfinished(folder)
    if not holds_language_model(folder):
        what = "a translator of signs, not" if holds_translator(folder) else "no"
        raise SltError(f"{folder} holds {what} Gloss2Text; name a run of `slt gloss2text-train`")
    kind = {name: getattr(recipe.translator, name) for name in ("language_model", "direction")}
    now: dict[str, Any] = {"language_model": kind}
    if recipe.uses.language:  # its vocabularies are as they are
        now["text"] = _languages(recipe)
    else:
        now |= {"text": _languages(recipe) | _vocabularies(recipe), **_tokenizer(recipe)}
    _require(folder, now, f"the language model in {folder}", "slt gloss2text-train")
    return checkpoint


def _languages(recipe: Recipe) -> dict[str, str]:
    """What of the text side cannot differ between a trained translator and its use."""
    return {name: getattr(recipe.text, name) for name in ("language", "gloss_language", "detokenise", "order")}


def _vocabularies(recipe: Recipe) -> dict[str, Any]:
    """What decides the vocabularies of Gloss2Text, which are those of all that starts from it."""
    pieces = {} if recipe.text.tokenizer else {"vocab_size": recipe.text.vocab_size}
    return {"gloss_splits": recipe.text.gloss_splits, **pieces}


def _tokenizer(recipe: Recipe) -> dict[str, Any]:
    """Hashes of the tokenizer that a recipe names, which need not be there any more; of one that is trained, None."""
    named = recipe.text.tokenizer
    return tokenizer_files(recipe.text) if named is None or named.is_dir() else {}


def _require_features(folder: Path, made_by: Mapping[str, Any]) -> None:
    """Refuse features that others made than those that a translator was trained on, imported ones too."""
    before = _features_of(folder)
    cure = "give it the store or encoder that it was trained on, or train anew with `slt translate-train --overwrite`"
    key = "store.encoder_weights"  # imported features have none: first of all it has to be the same kind
    was, is_now = before.get(key), made_by.get("encoder_weights")
    require_made_with({key: was}, {key: is_now}, f"the translator in {folder}", cure)
    was, is_now = before.pop("store.device", ABSENT), made_by.get("device", ABSENT)
    if was != is_now and ABSENT not in (was, is_now):
        log.warning(
            "%s was trained on features made on %s; these are made on %s: last digits differ", folder, was, is_now
        )
    if "dtype" not in made_by:  # an encoder's, whatever would hold them
        before = {key: value for key, value in before.items() if key != "store.dtype"}
    require_made_with(before, {"store": made_by}, f"the translator in {folder}", cure)


def _features_of(folder: Path) -> dict[str, Any]:
    """Return the account of what a translator reads: of the store that it was trained on, or of its own encoder."""
    inputs = read_json(folder / INPUTS, dict)
    if not holds_encoder(folder):
        return {key: value for key, value in inputs.items() if key == "store" or key.startswith("store.")}
    own = {"store.features": inputs["features"], "store.encoder_weights": trained_translator(folder).weights_hash}
    # Trained by S3D's own module on pixels.
    own |= {f"store.{key}": ABSENT for key in ("encoder.engine", "encoder.precision", "video.decoder")}
    for begins, name in (
        ("encoder.", "encoder."),
        ("video.sampling.", "sampling."),
        ("video.transform.", "transform."),
    ):
        own |= {f"store.{name}{k.removeprefix(begins)}": v for k, v in inputs.items() if k.startswith(begins)}
    return own


def _require(folder: Path, now: Mapping[str, Any], what: str, command: str) -> None:
    cure = f"set it back, or train anew with `{command} --overwrite`"
    require_made_with(read_json(folder / INPUTS, dict), now, what, cure, in_part=True)


def _digest_of(sizes: Mapping[str, Any]) -> str:
    return text_hash(json.dumps(sizes, sort_keys=True))


def _architecture(config: TranslatorConfig, folder: Path | None, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Sizes of a trained run's model; a run of an earlier version has no such file and is built from its recipe.

    What is built from its recipe starts from the folder that this names, which is checked. A file that was changed is
    refused: weights may fit other settings, and mean nothing with them.
    """
    path = folder and folder / language_file(config)
    if path and path.is_file():
        sizes = read_json(path, dict)
        if _DIGEST in sizes and sizes.pop(_DIGEST) != _digest_of(sizes):
            raise SltError(f"{path} was changed since its run wrote it; put it back, or train anew with --overwrite")
        return sizes
    require_own_pieces(config, tokenizer)
    return None
