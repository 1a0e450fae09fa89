"""What only several sections together can get wrong, found when a recipe loads."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from slt_pipeline.config.idle import not_swept, rated_parts
from slt_pipeline.config.keys import did_you_mean
from slt_pipeline.config.names import LANGUAGE_CODES, LOWER_IS_BETTER
from slt_pipeline.config.objective import Weight, ends_at_zero, is_zero
from slt_pipeline.config.sections import Sections
from slt_pipeline.config.stages import SweepConfig
from slt_pipeline.config.translator import SYSTEMS
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json

FindKey = Callable[[str], Sequence[str]]
_BESIDE = {"translator.gloss_input": "pieces", "translator.direction": "gloss2text", "text.order": "forward"}
"""What a recipe has to say where Gloss2Text learns more beside its texts."""


def check_recipe(recipe: Sections, find_key: FindKey) -> None:
    """Check what sections say of each other.

    Args:
        recipe: The recipe, each section of which is valid by itself.
        find_key: Returns the parts of a key; raises for one that no recipe has.

    Raises:
        ValueError: the key, what is wrong with it, and a value that is right.
    """
    _check_objective(recipe)
    _check_freeze(recipe)
    _check_rates(recipe)
    _check_lengths(recipe)
    _check_frozen(recipe)
    _check_language(recipe)
    _check_beside(recipe)
    _check_blocks(recipe)
    _check_sweeps(recipe, find_key)


def _check_objective(recipe: Sections) -> None:
    for stage in ("translate_train", "joint_train"):
        where = f"{stage}.objective"
        _check_parts(recipe, where, getattr(recipe, stage).objective)
    where, weights = "translate_train.objective", recipe.translate_train.objective
    if bare := [name for name in recipe.translator.parts if name not in weights]:
        raise ValueError(f"{where} does not list {bare[0]}; give each part a weight, 0 turns one off")
    _check_weights(recipe, where, weights, recognises=recipe.translator.head == "trained")
    if recipe.joint_train.objective:  # else it goes on as phase two ended
        _check_weights(recipe, "joint_train.objective", recipe.joint_objective, recognises=True)


def _check_parts(recipe: Sections, where: str, weights: Mapping[str, Weight]) -> None:
    parts = recipe.translator.parts
    elsewhere = {name for system in SYSTEMS for name in (*system.text_parts, *system.other_parts)}
    for name in weights:
        if name not in parts:
            cure = did_you_mean(name, parts)
            if name in elsewhere:
                usual = recipe.translator.usual_objective if where.startswith("translate_train") else "{}"
                cure = f"; set it whole: -o '{where}={usual}'"
            raise ValueError(f"{where} names {name}; the system's parts are {', '.join(parts)}{cure}")


def _check_weights(recipe: Sections, where: str, weights: Mapping[str, Weight], *, recognises: bool) -> None:
    text_parts = recipe.translator.text_parts
    if all(is_zero(weights[name]) for name in text_parts) and any(
        not is_zero(weights[name]) for name in recipe.translator.other_parts
    ):
        raise ValueError(f"{where} gives no weight to {' or '.join(text_parts)}: nothing would learn from the text")
    needs_head = set() if recognises else {"recognition"}
    if all(ends_at_zero(weight) for name, weight in weights.items() if name not in needs_head):
        hint = ", and recognition needs translator.head=trained" if needs_head else ""
        raise ValueError(f"{where} leaves nothing to learn: every weight is 0, or ends there{hint}")


def _check_freeze(recipe: Sections) -> None:
    s3d, frozen = recipe.encoder.s3d, recipe.joint_train.freeze
    blocks = [f"s3d.{number}" for number in range(1, s3d.use_blocks + 1)]
    parts = ["recognition", "mapper", "translation", *(["variational"] if recipe.translator.other_parts else [])]
    known = ["s3d", *blocks, *parts]
    for name in frozen:
        if name not in known and name != "variational":  # a variant may have no bridge
            cure = did_you_mean(name, known, cutoff=0.0)
            raise ValueError(f"joint_train.freeze names {name}; the parts and blocks are {', '.join(known)}{cure}")
    trunk = [] if "s3d" in frozen else blocks[s3d.freeze_blocks :]
    if not [name for name in (*trunk, *parts) if name not in frozen]:
        raise ValueError("joint_train.freeze leaves nothing to learn: it names every part; take one out")


def _check_rates(recipe: Sections) -> None:
    for stage in ("visual_pretrain", "visual_train", "lm_pretrain", "gloss2text_train"):
        _check_rates_of(recipe, stage)
    # The rate of a head may stay where a variant has none.
    # So may that of a bridge, which without one of its own has mBART's.
    bridged = "variational" if recipe.translator.other_parts else ""
    _check_rates_of(recipe, "translate_train", also=("recognition", bridged), unused=("variational",))
    blocks = [f"s3d.{number}" for number in range(1, recipe.encoder.s3d.use_blocks + 1)]
    _check_rates_of(recipe, "joint_train", also=("s3d", *blocks, bridged), unused=("variational",))


def _check_rates_of(recipe: Sections, stage: str, also: Iterable[str] = (), unused: Collection[str] = ()) -> None:
    where, rates = f"{stage}.training.optimiser.lr", getattr(recipe, stage).training.optimiser.lr
    needed = rated_parts(recipe, stage)
    known = tuple(dict.fromkeys([name for name in (*needed, *also, "default") if name]))
    for name in rates:
        if name not in known and name not in unused:
            raise ValueError(f"{where} names {name}; rates are for {', '.join(known)}{did_you_mean(name, known)}")
    if "default" not in rates and (bare := [name for name in needed if name not in rates]):
        raise ValueError(f"{where} has no rate for {bare[0]} and no default")


def _check_lengths(recipe: Sections) -> None:
    """Outputs fit the positions of the language model; a folder's own are not known here."""
    name, sizes = recipe.translator.language_model, recipe.translator.of_language_model
    if sizes.folder is not None:
        return
    for stage in ("gloss2text_train", "translate_train", "joint_train", "evaluate", "translate"):
        generation = getattr(recipe, stage).generation
        length = generation.max_length if generation else 0
        if length > sizes.max_positions:
            raise ValueError(
                f"{stage}.generation.max_length is {length}, and translator.{name}.max_positions "
                f"{sizes.max_positions}: lower the first or raise the second"
            )


def _check_frozen(recipe: Sections) -> None:
    """Nothing random is frozen: without the folder of a language model all vectors are."""
    translator, where = recipe.translator, f"translator.{recipe.translator.language_model}"
    frozen = {
        "gloss2text_train.freeze_embeddings": recipe.gloss2text_train.freeze_embeddings,
        f"{where}.freeze_text_embedding": translator.of_language_model.freeze_text_embedding,
        "translator.freeze_gloss_table": translator.freeze_gloss_table,
    }
    if translator.of_language_model.folder is None and (names := [name for name, value in frozen.items() if value]):
        raise ValueError(
            f"{names[0]} is true and {where}.folder null: random vectors would stay as they are; "
            "set the first to false, or give the folder of a trained one"
        )


def _check_language(recipe: Sections) -> None:
    """The weights of an mBART know 25 languages, or the one that its folder says; one that starts at random, any."""
    if recipe.translator.language_model != "mbart":
        return
    folder, language = recipe.translator.mbart.folder, recipe.text.language
    if folder is not None and language not in (*LANGUAGE_CODES, _language_of(folder)):
        raise ValueError(
            f"text.language is {language}, and the mBART of translator.mbart.folder {folder} has "
            f"{', '.join(LANGUAGE_CODES)}: choose one of them, or train from scratch with translator.mbart.folder=null"
        )


def _check_beside(recipe: Sections) -> None:
    """What Gloss2Text learns beside reads and writes pieces, and tells from what stands before them which it is.

    It judges itself by nothing else; that of another recipe is asked when it is opened.
    """
    also = recipe.gloss2text_train.also
    for key, needed in _BESIDE.items() if also else ():
        section, name = key.split(".")
        if (value := getattr(getattr(recipe, section), name)) != needed:
            raise ValueError(
                f"gloss2text_train.also is {', '.join(also)}, and {key} {value}: what is learned beside needs {needed}"
            )
    judged = recipe.evaluate.rerank if recipe.uses.language is None else None
    for kind in judged.itself if judged else ():
        if kind not in also:
            raise ValueError(
                f"evaluate.rerank.itself names {kind}, and gloss2text_train.also is {', '.join(also) or 'empty'}: a "
                f"run judges by what it has learned beside; leave {kind} out of the first, or train it with the second"
            )


def _language_of(folder: Path) -> str | None:
    """Return the language that `slt lm` wrote beside an mBART's weights."""
    said = folder / "slt_tokenizer.json"
    return read_json(said).get("language") if said.is_file() else None


def _check_blocks(recipe: Sections) -> None:
    """What is pre-trained has every block that the encoder takes of it."""
    trained, needed = recipe.visual_pretrain.use_blocks, recipe.encoder.s3d.use_blocks
    if trained is not None and trained < needed:
        raise ValueError(
            f"visual_pretrain.use_blocks is {trained}, and encoder.s3d.use_blocks {needed}: the encoder would lack "
            "blocks; raise the first or lower the second"
        )


def _check_sweeps(recipe: Sections, find_key: FindKey) -> None:
    for where, sweep in {"sweep": recipe.sweep, **{f"sweeps.{name}": s for name, s in recipe.sweeps.items()}}.items():
        grid = sweep.tried
        for key in grid:
            which = "search.keys" if sweep.search and key in sweep.search.keys else "variants"
            which = "grid" if key in sweep.grid else which
            try:
                find_key(key)
            except SltError as error:
                raise ValueError(f"{where}.{which}: {error}") from error
            if why := not_swept(recipe, grid, key, sweep.stage):
                raise ValueError(f"{where}.{which} names {key}, which tells no two runs apart: {why}")
        _check_apart(where, sweep, find_key)
        trained = recipe.translator.head == "trained" or "trained" in grid.get("translator.head", ())
        if sweep.stage == "gloss2text_train" and (sweep.oracle or sweep.metric in LOWER_IS_BETTER):
            what = "oracle is true" if sweep.oracle else f"metric is {sweep.metric}"
            raise ValueError(f"{where}.{what}, and {where}.stage gloss2text_train, which has none; leave it out")
        if sweep.metric in LOWER_IS_BETTER and not trained:
            raise ValueError(f"{where}.metric is {sweep.metric}, which only translator.head=trained has; choose bleu4")


def _check_apart(where: str, sweep: SweepConfig, find_key: FindKey) -> None:
    """No run is given a key and a part of it: one of the two values would not be what the table says."""
    grid = [("grid", key) for key in sweep.grid]
    variants = [[*grid, *((f"variants.{name}", key) for key in own)] for name, own in sweep.variants.items()]
    searched = [("search.keys", key) for key in (sweep.search.keys if sweep.search else ())]
    for given in (grid, *variants, searched):
        for (of, key), (other, part) in itertools.permutations(given, 2):
            above, below = find_key(key), find_key(part)
            if list(below[: len(above)]) == list(above):
                both = f"{of} names {key} and {part}" if of == other else f"{of} names {key}, and {other} {part}"
                is_part = "a part of it" if len(below) > len(above) else "which is the same"
                raise ValueError(f"{where}.{both}, {is_part}; leave one of them out")
