"""`slt lm pretrain`: a language model learns a language from its running text, before it sees a gloss."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.features import as_it_is
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.corpora.running_text import DenoisingDataset, Document, held_out, read_documents
from slt_pipeline.errors import SltError
from slt_pipeline.files import file_hash
from slt_pipeline.models.build import build_translator
from slt_pipeline.models.mbart import PAD_ID
from slt_pipeline.models.translator import Translator
from slt_pipeline.systems.decoding import decoding_batches
from slt_pipeline.systems.mbart_folder import ACCOUNT_FILE, write_mbart
from slt_pipeline.systems.texts import unknown_pieces
from slt_pipeline.systems.translator import require_own_pieces, text_inputs
from slt_pipeline.systems.vocabularies import build_tokenizer
from slt_pipeline.text.tokenizer import Tokenizer
from slt_pipeline.training import distributed
from slt_pipeline.training.checkpoint import best_checkpoint
from slt_pipeline.training.devices import pick_device, require_precision
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.run import Plan, find_run
from slt_pipeline.training.trainable import Trainable

log = logging.getLogger(__name__)

STAGE = "lm_pretrain"
_PART = "translation"


def plan(recipe: Recipe) -> Plan:
    """What the stage would read and write."""
    config, run = recipe.lm_pretrain, recipe.run_folder(STAGE)
    reads = {
        **{f"text {number}": path for number, path in enumerate(config.texts, 1)},
        "clips": recipe.corpus.manifest if config.corpus else None,
        "tokenizer": recipe.text.tokenizer,
        "language model": recipe.translator.of_language_model.folder,
    }
    return reads, {"run": run, "folder": run / recipe.translator.language_model}


def lm_pretrain(
    recipe: Recipe, *, device: str = "auto", overwrite: bool = False, extend: bool = False
) -> dict[str, Any]:
    """Pre-train a language model on texts; the best checkpoint is by perplexity on held-out documents.

    An mBART learns to undo noise, a GPT-2 to go on. At the end its weights lie in the run's folder `mbart` or `gpt2`,
    which `translator.mbart.folder`, or that of `gpt2`, and `text.tokenizer` name. Where a finished run lacks it, it is
    written again.

    Raises:
        SltError: what the recipe names is missing or does not fit.
    """
    config = recipe.lm_pretrain
    run = find_run(recipe.run_folder(STAGE), STAGE, _inputs(recipe), overwrite=overwrite, extend=extend)
    folder = run.folder / recipe.translator.language_model
    if run.result is not None and (folder / ACCOUNT_FILE).is_file():
        return run.result
    where = pick_device(device)
    require_precision(where, config.training.precision)
    documents, dev = held_out(_documents(recipe), config.held_out)
    tokenizer = build_tokenizer(recipe.text, [sentence for document in documents for sentence in document])
    if tokenizer.byte_pieces:
        raise SltError(
            f"text.tokenizer {recipe.text.tokenizer} is a GPT-2's, and `slt lm pretrain` writes folders with a "
            "SentencePiece model; set text.tokenizer=null to train one"
        )
    model = _begun(recipe, tokenizer)
    items, dev_items = (_items(recipe, found, tokenizer, model) for found in (documents, dev))
    _tell_unknown({"training text": items, "held-out text": dev_items})
    objective = Objective({_PART: 1.0})

    def losses(network: torch.nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return network(batch, objective.parts)

    def write_folder() -> None:
        best_checkpoint(run.folder, "slt lm pretrain").load_model(model)
        account = {"made_by": "slt lm pretrain", **_counts(items, dev_items), "seed": recipe.seed}
        write_mbart(folder, model.hugging_face, tokenizer, account)

    if run.result is not None:
        log.info("%s: done before; its folder %s is gone and is written again", STAGE, folder)
        distributed.first(write_folder)
        return run.result
    run.begin(recipe)
    trainable = Trainable(
        model=model,
        parameter_groups=model.parameter_groups(objective.parts),
        dataset=items,
        padding=items.padding,
        num_items=len(items),
        collate=as_it_is,
        losses=losses,
        objective=objective,
        validate=_Validation(dev_items, recipe.evaluate.batch_size),
        score="perplexity",
        higher_is_better=False,
        lengths=items.lengths() if config.training.bucket else None,
    )
    return run.train(trainable, config.training, recipe.seed, where, partial(distributed.first, write_folder))


def _begun(recipe: Recipe, tokenizer: Tokenizer) -> Translator:
    """Return the model as training begins with it."""
    require_own_pieces(recipe.translator, tokenizer)
    torch.manual_seed(recipe.seed)
    return build_translator(recipe.translator.model_copy(update={"suffix": "txt"}), tokenizer)


@dataclass(frozen=True)
class _Validation:
    """Perplexity of held-out text behind the noise of epoch 0, by piece and without label smoothing."""

    items: DenoisingDataset
    batch_size: int

    def __call__(self, model: torch.nn.Module) -> dict[str, float]:
        assert isinstance(model, Translator)
        place = next(model.parameters()).device

        def of(numbers: list[int]) -> list[tuple[float, int]]:
            found = [(0.0, 0)] * len(numbers)
            lengths = self.items.lengths()
            for batch in decoding_batches([lengths[number] for number in numbers], self.batch_size):
                told = self._measured(model, [numbers[each] for each in batch], place)
                for index, each in zip(batch, told, strict=True):
                    found[index] = each
            return found

        measured = distributed.shared_out(range(len(self.items)), of)
        mean = sum(loss for loss, _ in measured) / sum(pieces for _, pieces in measured)
        return {"perplexity": math.exp(min(mean, 100.0))}

    def _measured(self, model: Translator, numbers: Sequence[int], place: torch.device) -> list[tuple[float, int]]:
        """Return the loss of each item, summed over its pieces, and how many these are."""
        items = self.items.__getitems__([(0, number) for number in numbers])
        batch = {name: ids.to(place) for name, ids in items.items()}
        source, labels = model.source(batch), batch["labels"]
        logits = model.decode(model.states(source), source.mask, batch["decoder_input_ids"])
        each = cross_entropy(logits.transpose(1, 2), labels, ignore_index=PAD_ID, reduction="none").sum(1)
        return list(zip(each.tolist(), (labels != PAD_ID).sum(1).tolist(), strict=True))


def _documents(recipe: Recipe) -> list[Document]:
    config = recipe.lm_pretrain
    found = [document for path in config.texts for document in read_documents(Path(path))]
    if config.corpus:
        found += [(clip.text or "",) for clip in load_clips(recipe.corpus.manifest, "train", needs=["text"])]
    return found


def _items(recipe: Recipe, documents: list[Document], tokenizer: Tokenizer, model: Translator) -> DenoisingDataset:
    config, positions = recipe.lm_pretrain, model.mbart.config.max_position_embeddings
    if config.most_pieces + 2 > positions:
        raise SltError(
            f"lm_pretrain.most_pieces is {config.most_pieces}, and with `</s>` and the language two more; there are "
            f"{positions} positions: lower it, or raise translator.{recipe.translator.language_model}.max_positions"
        )
    return DenoisingDataset(
        documents,
        tokenizer,
        seed=recipe.seed,
        most=config.most_pieces,
        masked=config.masked,
        span=config.span,
        permute=config.permute,
    )


def _tell_unknown(texts: Mapping[str, DenoisingDataset]) -> None:
    """Say of which texts the tokenizer lacks pieces."""
    shares = {}
    for name, items in texts.items():
        pieces = [piece for passage in items.passages for words in passage for word in words for piece in word]
        shares[name] = pieces.count(items.tokenizer.unk_id) / max(len(pieces), 1)
    for warning in unknown_pieces(shares):
        log.warning("%s: %s", STAGE, warning)


def _counts(items: DenoisingDataset, dev: DenoisingDataset) -> dict[str, int]:
    return {"passages": len(items), "pieces": sum(items.lengths()), "held_out_passages": len(dev)}


def _inputs(recipe: Recipe) -> dict[str, Any]:
    config, translator = recipe.lm_pretrain, recipe.translator
    names = ("language_model", translator.language_model, "label_smoothing")
    return {
        "seed": recipe.seed,
        "texts": [file_hash(Path(path)) for path in config.texts],
        "clips": file_hash(Path(recipe.corpus.manifest)) if config.corpus else None,
        **text_inputs(recipe),
        "language_model": {name: getattr(translator, name) for name in names},
        "held_out": config.held_out,
        "noise": {name: getattr(config, name) for name in ("most_pieces", "masked", "span", "permute")},
        "training": config.training,
    }
