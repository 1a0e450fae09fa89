"""Keys that cannot matter in a recipe: setting one of them to anything but its default is refused."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from slt_pipeline.config.keys import defaults_of, key_path, leaves
from slt_pipeline.config.objective import is_zero
from slt_pipeline.config.search import SearchConfig
from slt_pipeline.config.sections import Sections
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.config.taps import TAPS
from slt_pipeline.config.training import TrainingConfig
from slt_pipeline.errors import SltError

_STAGES = ("visual_pretrain", "visual_train", "lm_pretrain", "gloss2text_train", "translate_train", "joint_train")
_SIZES = ("d_model", "num_layers", "num_heads", "ffn_dim", "max_positions", "position_std")
_SWEPT = (
    "translator",
    "translate_train",
    "text",
    "evaluate",
    "extract.store",
    "uses",
)
"""Keys on which a translator depends that is trained on a store and scored."""
_SWEPT_OF_GLOSSES = ("translator", "gloss2text_train", "text", "evaluate")
"""Keys on which Gloss2Text depends that is trained and scored."""
_NOT_OF_GLOSSES = {
    **dict.fromkeys(
        ("translator.system", "translator.mapper", "translator.suffix", "translator.head"), "reads no signs"
    ),
    "evaluate.beam_size": "recognises no glosses",
    "translator.direction": "has one, and scores of both are not compared",
}
_READ_OF_GLOSSES = (
    *("system", "language_model", "mbart", "gpt2"),
    *("gloss_input", "direction", "gloss_table", "freeze_gloss_table", "label_smoothing"),
)
"""Keys of a translator that Gloss2Text reads."""
_OF_A_HEAD = (
    "translate_train.objective.recognition",
    "translate_train.training.optimiser.lr.recognition",
    "evaluate.beam_size",
)
_OF_THE_LANGUAGE_MODEL = (
    *("text.vocab_size", "text.tokenizer", "text.gloss_splits"),
    *("translator.gloss_table", "translator.mbart.position_std"),
)
_NOT_SWEPT = {
    "seed": "list seeds under sweep.seeds",
    "corpus.protocol": "numbers of two protocols are not compared; `slt score --protocol ...` counts by another",
    **dict.fromkeys(
        (
            *("visual_pretrain", "visual_train", "lm_pretrain", "gloss2text_train", "joint_train"),
            *("uses.translator", "translate"),
        ),
        "that stage is no part of a sweep",
    ),
    **dict.fromkeys(
        ("translator.language_model", "translator.gpt2"), "a GPT-2 reads no signs, but Gloss2Text's glosses"
    ),
    "translator.direction": "text2gloss reads no signs",
    **dict.fromkeys(
        (
            *("evaluate.tasks", "evaluate.splits", "evaluate.batch_size", "evaluate.num_best"),
            *("translate_train.features_in", "translate_train.beam_size", "translator.gloss_input"),
        ),
        "it changes no score of a translator",
    ),
}
_OF_EVERY_STAGE = ("seed", "corpus.", "evaluate.")
"""What of these begins so is none of a sweep of Gloss2Text either."""


def refuse_idle(recipe: Sections, chosen: Collection[str], where: str) -> None:
    """Refuse a value that somebody chose and that changes nothing; an inherited one may stay.

    Args:
        recipe: The resolved recipe.
        chosen: Keys that are set on purpose: by the named file itself, by `-o`, or by a sweep.
        where: What begins the message.

    Raises:
        SltError: the key, its value and why it does nothing.
    """
    for key, why in idle_keys(recipe):
        parts = key_path(type(recipe), key) if key in chosen else []
        if parts and (value := _at(recipe, parts)) != (usual := _default(recipe, parts)):
            raise SltError(f"{where}{key} = {_yaml(value)} does nothing: {why}; leave it out, or {_yaml(usual)}")


def idle_keys(recipe: Sections) -> Iterator[tuple[str, str]]:
    """Yield every key that this recipe has no use for, with the reason."""
    if recipe.visual_train.vocabulary is not None:
        yield "visual_train.vocabulary_splits", "visual_train.vocabulary lists the classes"
    mapper, text, synth = recipe.translator.mapper, recipe.text, recipe.synth
    language, model = recipe.translator.language_model, recipe.translator.of_language_model
    if mapper.type == "projection":
        yield "translator.mapper.freeze", "only translator.mapper.type=embedding has vectors to keep"
    else:
        for name in ("hidden", "num_hidden"):
            yield f"translator.mapper.{name}", "translator.mapper.type is embedding, which has no hidden layers"
    if mapper.num_hidden == 0:
        yield "translator.mapper.hidden", "translator.mapper.num_hidden is 0, so that no layer has that width"
    if recipe.translator.head == "stored":
        for name in ("init_head", "beam_size", "idle_classifier"):
            yield f"translate_train.{name}", "translator.head is stored, so that no head is built"
    if not is_zero(recipe.translate_train.objective.get("recognition", 0.0)):
        if recipe.translator.head == "stored":
            yield "translate_train.objective.recognition", "translator.head is stored, so that no head is built"
        yield "translate_train.idle_classifier", "translate_train.objective.recognition trains the classifier"
    elif recipe.translator.head == "trained" and TAPS[mapper.input].stream == "gloss_logits":
        yield "translate_train.idle_classifier", f"the mapper reads {mapper.input}, which trains the classifier"
    yield from _idle_of_a_bridge(recipe)
    if model.folder is not None:
        for name in _SIZES:
            yield f"translator.{language}.{name}", f"the folder {model.folder} brings its own"
    other = "mbart" if language == "gpt2" else "gpt2"
    for name in type(model).model_fields:
        yield f"translator.{other}.{name}", f"translator.language_model is {language}"
    if language == "gpt2":
        for name in leaves(type(recipe.translator), recipe.translator.model_dump()):
            if name.partition(".")[0] not in _READ_OF_GLOSSES:
                yield f"translator.{name}", "translator.language_model is gpt2, which reads no signs"
        for name in ("masked", "span", "permute"):
            yield f"lm_pretrain.{name}", "translator.language_model is gpt2, which learns a text as it stands"
    if model.folder is None and model.dropout == model.attention_dropout == 0:  # a folder may bring dropout of its own
        why = (
            f"dropout and attention_dropout of translator.{language} are 0, so that two passes of a batch always agree"
        )
        yield "gloss2text_train.regularise.agreement", why
    if recipe.lm_pretrain.masked == 0:
        yield "lm_pretrain.span", "lm_pretrain.masked is 0, so that nothing is"
    if text.tokenizer is not None:
        yield "text.vocab_size", f"the tokenizer is that of {text.tokenizer}"
    yield from _idle_of_training(recipe)
    if recipe.video.transform.jitter_probability == 0:
        for name in ("brightness", "contrast", "saturation", "hue"):
            yield f"video.transform.{name}", "video.transform.jitter_probability is 0"
    if recipe.corpus.isolated_manifest is None:
        yield "corpus.isolated_media_root", "there is no corpus.isolated_manifest"
    if not recipe.visual_pretrain.also:
        yield "visual_pretrain.also_weight", "visual_pretrain.also is empty"
    if synth is not None and synth.container == "frames":
        for name in ("crf", "gop"):
            yield f"synth.{name}", "synth.container is frames, not mp4"
    if synth is not None and synth.source == "annotations":
        yield "synth.signers", "synth.source is annotations, which bring their signers"
    yield from _idle_of_search("sweep.search", recipe.sweep)
    for name, sweep in recipe.sweeps.items():
        yield from _idle_of_search(f"sweeps.{name}.search", sweep)


def _idle_of_training(recipe: Sections) -> Iterator[tuple[str, str]]:
    """Yield the keys of optimisers, schedules and decoding that another of their keys turns off."""
    for stage in _STAGES:
        optimiser, schedule = (getattr(getattr(recipe, stage).training, name) for name in ("optimiser", "schedule"))
        if optimiser.weight_decay == 0:
            yield f"{stage}.training.optimiser.name", "weight_decay is 0, in which alone adam and adamw differ"
        if "default" in optimiser.lr and optimiser.lr.keys() >= set(rated := rated_parts(recipe, stage)):
            yield f"{stage}.training.optimiser.lr.default", f"{' and '.join(rated)} have rates of their own"
        if schedule.name != "cosine-epoch":
            yield f"{stage}.training.schedule.t_max", f"schedule.name is {schedule.name}, and cosine-epoch reads it"
    for stage in ("gloss2text_train", "translate_train", "joint_train", "evaluate", "translate"):
        generation = getattr(recipe, stage).generation
        if generation and generation.num_beams == 1:
            yield f"{stage}.generation.length_penalty", "generation.num_beams is 1, and a penalty ranks beams"


def _idle_of_search(where: str, sweep: SweepConfig) -> Iterator[tuple[str, str]]:
    """Yield the key of a search that another of its keys turns off."""
    if sweep.search and not sweep.search.prune:
        yield f"{where}.prune_after", f"{where}.prune is false"


def rated_parts(recipe: Sections, stage: str) -> tuple[str, ...]:
    """Return the parts of a stage's model that need a rate; others may have one, or have that of one of these."""
    has_head = stage == "joint_train" or recipe.translator.head == "trained"
    if stage in ("translate_train", "joint_train"):
        return (*(("recognition",) if has_head else ()), "mapper", "translation")
    return ("recognition",) if stage.startswith("visual") else ("translation",)


def _idle_of_a_bridge(recipe: Sections) -> Iterator[tuple[str, str]]:
    """Yield the keys of CV-SLT that no part of the loss reads: all of them tell how the prior and posterior meet."""
    if recipe.translator.system != "cvslt":
        return
    objectives = (recipe.translate_train.objective, recipe.joint_objective)
    has = {
        name: any(not is_zero(objective.get(name, 0.0)) for objective in objectives)
        for name in ("prior", "posterior", "gaussian_kl", "output_kl")
    }
    if not any(has[name] for name in recipe.translator.posterior_parts):
        for name in ("attention", "posterior", "text_positions", "passes"):
            yield f"translator.{name}", "no part of translate_train.objective reads the posterior"
    if not has["output_kl"]:
        yield "translator.distillation", "translate_train.objective.output_kl is 0"
        if not has["gaussian_kl"]:
            yield "translator.kl_mask", "translate_train.objective.gaussian_kl and output_kl are 0"
        if not (has["prior"] and has["posterior"]):
            yield "translator.noise", "no loss of translate_train.objective decodes from both samples"


def not_swept(recipe: Sections, grid: Mapping[str, Sequence[Any]], key: str, stage: str = "translate_train") -> str:
    """Return why a key is none for a sweep's grid over a recipe, whose runs are of that stage; empty if it is one."""
    if stage == "gloss2text_train":
        return _not_swept_of_glosses(key)
    if _is_below(key, "evaluate.rerank"):
        return "it judges what Gloss2Text writes, and no translator of signs"
    if key in _OF_A_HEAD and "trained" not in grid.get("translator.head", [recipe.translator.head]):
        return "translator.head is stored, so that no head is built"
    started = grid.get("translate_train.init_language", [recipe.translate_train.init_language])
    if key in _OF_THE_LANGUAGE_MODEL and None not in started:
        return "translate_train.init_language brings it; it can vary with translate_train.init_language=null"
    systems = {recipe.translator.system, *grid.get("translator.system", ())}
    if key == "translate_train.training.optimiser.lr.variational" and "cvslt" not in systems:
        return f"the system {recipe.translator.system} has no such part"
    for name, why in _NOT_SWEPT.items():
        if _is_below(key, name):
            return why
    return _outside(key, _SWEPT)


def _not_swept_of_glosses(key: str) -> str:
    every = {name: why for name, why in _NOT_SWEPT.items() if name.startswith(_OF_EVERY_STAGE)}
    for name, why in (every | {name: f"Gloss2Text {why}" for name, why in _NOT_OF_GLOSSES.items()}).items():
        if _is_below(key, name):
            return why
    return _outside(key, _SWEPT_OF_GLOSSES)


def _outside(key: str, swept: Sequence[str]) -> str:
    """Return why a key changes no score of what depends on those below `swept`; empty if it may."""
    _, *rest = key.split(".")
    if rest and rest[0] == "training" and rest[-1] in TrainingConfig.recorded:
        return "it changes how a run goes, not what comes out of it"
    if any(_is_below(key, name) for name in swept):
        return ""
    return f"a sweep varies what is below {', '.join(swept)}"


def _is_below(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _at(section: Any, parts: Sequence[str]) -> Any:
    return reduce(
        lambda inner, name: inner[name] if isinstance(inner, Mapping) else getattr(inner, name), parts, section
    )


def _default(recipe: Sections, parts: Sequence[str]) -> Any:
    first, *rest = parts
    if "search" in rest:
        return SearchConfig.model_fields[rest[-1]].default
    default, section = type(recipe).model_fields[first].default, getattr(recipe, first)
    if rest and type(default) is not type(section):  # a section that may be absent, or of another class
        default = type(section).model_construct()
    return _at(default, rest)


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(defaults_of(value), default=str)  # a path is a text
