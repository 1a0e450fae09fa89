"""`slt lm export`: the language model of a trained run as a Hugging Face folder, for others and to start from."""

from pathlib import Path
from typing import Any

from slt_pipeline.config.recipe import recipe_of_run
from slt_pipeline.config.runs import GLOSS_INPUTS_FILE
from slt_pipeline.config.translator import LANGUAGE_MODELS
from slt_pipeline.errors import SltError
from slt_pipeline.systems.mbart_folder import ACCOUNT_FILE, require_new_folder, write_mbart
from slt_pipeline.systems.parts import TRANSLATOR, best_of, load_strictly
from slt_pipeline.systems.translator import build_gloss2text
from slt_pipeline.systems.vocabularies import Vocabularies
from slt_pipeline.training.run import warn_if_unfinished

_TABLE = "gloss_table.weight"


def lm_export(run: Path, to: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write mBART, or GPT-2, of the best checkpoint, with its tokenizer and the vectors of its gloss table.

    Args:
        run: folder of gloss2text-train, translate-train or joint-train; of the last two the mapper, and CV-SLT's
            bridge, have no place in such a folder.
        to: the folder, for `translator.mbart.folder` (or `gpt2`) and `text.tokenizer`.
        overwrite: replace a folder that `slt lm` has made.

    Returns:
        the account of the folder: `exported_from`, `weights`, `language_model`, `vocab_size` and `gloss_vectors`.

    Raises:
        SltError: the run holds no language model, its tokenizer is a GPT-2's own, or the folder is there.
    """
    if pretrained := next((run / name for name in LANGUAGE_MODELS if (run / name / ACCOUNT_FILE).is_file()), None):
        raise SltError(
            f"{run} is of `slt lm pretrain`, whose language model is such a folder already: use {pretrained}"
        )
    if not (run / GLOSS_INPUTS_FILE).is_file():
        raise SltError(
            f"{run} holds no language model; name a run of `slt gloss2text-train`, `slt translate-train` or "
            "`slt joint-train`"
        )
    require_new_folder(to, run, overwrite)
    recipe, vocabularies = recipe_of_run(run), Vocabularies.load(run)
    checkpoint = best_of(run, TRANSLATOR, "slt gloss2text-train")
    warn_if_unfinished(run)
    if vocabularies.text.byte_pieces:
        raise SltError(
            f"{run} has the tokenizer of a GPT-2 from elsewhere, and folders are written with a SentencePiece model; "
            "name a run whose tokenizer was trained"
        )
    model = build_gloss2text(recipe, vocabularies, run)  # without mapper and bridge
    own = model.state_dict()
    weights = {name.removeprefix(TRANSLATOR): value for name, value in checkpoint.weights.items()}
    ours = {name: value for name, value in weights.items() if name in own}
    load_strictly(model, {_TABLE: own[_TABLE], **ours}, f"checkpoint {checkpoint.folder}")
    vectors = {}
    if _TABLE in ours:  # CV-SLT has none
        vectors = dict(zip(vocabularies.glosses.names, ours[_TABLE].clone(), strict=True))
    account = {
        "made_by": "slt lm export",
        "exported_from": str(run),
        "weights": checkpoint.weights_hash,
        "language_model": recipe.translator.language_model,
        "gloss_vectors": len(vectors),
    }
    write_mbart(to, model.hugging_face, vocabularies.text, account, vectors)
    return {**account, "vocab_size": vocabularies.text.vocab_size}
