"""What a tokenizer and a protocol make of the references: what no translator can reach is told before training."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import LANGUAGE_MODELS, GenerationConfig, LanguageModelName
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.gloss_text import in_direction
from slt_pipeline.corpora.labels import GlossPieces, GlossReader
from slt_pipeline.corpora.validate import Problem, ValidationReport
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.models.build import positions_of
from slt_pipeline.models.translator import CLOSED
from slt_pipeline.systems.translator import language_file
from slt_pipeline.systems.vocabularies import TOKENIZER_FOLDER, build_tokenizer, training_sentences
from slt_pipeline.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)

_LOST_BLEU = 0.5
_LOST_PIECES = 0.01
_LOST_GLOSSES = 0.1
"""Share of `<unk>` beyond which glosses are hardly those of training; a few of any dev split are new."""


@dataclass(frozen=True)
class TextReport:
    """How far a perfect translator would come."""

    oracle: float
    """BLEU-4 of decode(encode(reference)) over the clips that are scored."""
    most: float
    """That of the references themselves: 100, but where sentences of fewer than four tokens have no BLEU-4."""
    unknown: Mapping[str, float]
    """Share of `<unk>` among the pieces, by split."""
    lengths: Mapping[str, int]
    """Pieces of each clip's text, language code and `</s>` included."""
    spelling: str
    """`text.detokenise`."""

    def told(self) -> str:
        """Return the numbers in one line."""
        unknown = ", ".join(f"{100 * share:.2f} % of {split}" for split, share in self.unknown.items())
        return f"texts: decode(encode(reference)) has BLEU-4 {self.oracle:.2f}; <unk> are {unknown} pieces"

    def warnings(self, max_length: int) -> list[str]:
        """Return what costs every translator its score.

        Args:
            max_length: longest output, in pieces as in `lengths`.
        """
        found = []
        if self.oracle < self.most - _LOST_BLEU:
            found.append(
                f"a perfect system would score BLEU-4 {self.oracle:.2f}, not {self.most:.0f}: decoded text is spelt "
                f"unlike the references (text.detokenise is {self.spelling}, <unk> stands for pieces that the "
                "tokenizer lacks)"
            )
        found += unknown_pieces(self.unknown)
        cut = sum(length > max_length for length in self.lengths.values())
        if cut:
            found.append(
                f"{cut} of {len(self.lengths)} references have more pieces than generation.max_length {max_length}, "
                f"out of reach; the longest has {max(self.lengths.values())}"
            )
        return found


def unknown_pieces(shares: Mapping[str, float]) -> list[str]:
    """Return what is worth saying of shares of `<unk>` among pieces, by what these are of."""
    return [
        f"{100 * share:.2f} % of the pieces of {name} are <unk>: the tokenizer lacks characters"
        for name, share in shares.items()
        if share > _LOST_PIECES
    ]


def warn_of_unknown_glosses(reader: GlossReader, rows: Sequence[Sequence[str]], what: str) -> None:
    """Say where Gloss2Text reads little but `<unk>`: whatever it writes then has nothing to do with its glosses.

    Args:
        reader: of the model.
        rows: glosses, or of Text2Gloss words.
        what: begins the message.
    """
    share = sum(map(reader.num_unknown, rows)) / max(1, sum(map(reader.length, rows)))
    if share > _LOST_GLOSSES:
        log.warning(
            "%s: %.2f %% of what Gloss2Text reads is <unk>: other glosses than those that it was trained on, or spelt "
            "otherwise; compare the manifests (text.gloss_splits)",
            *(what, 100 * share),
        )


def report_texts(tokenizer: Tokenizer, clips: Sequence[Clip], protocol: str) -> TextReport:
    """Encode and decode the texts of clips; those that train are not scored, where there are others."""
    pieces = {clip.id: tokenizer.encode(clip.text or "") for clip in clips}
    unknown = {}
    for split in dict.fromkeys(clip.split for clip in clips):
        ids = [piece for clip in clips if clip.split == split for piece in pieces[clip.id]]
        unknown[split] = ids.count(tokenizer.unk_id) / max(len(ids), 1)
    scored = [clip for clip in clips if clip.split != "train"] or clips
    score = get_protocol(protocol).score_translation
    references = [clip.text or "" for clip in scored]
    return TextReport(
        oracle=score([tokenizer.round_trip(text) for text in references], references).bleu4,
        most=score(references, references).bleu4,
        unknown=unknown,
        lengths={name: len(ids) + CLOSED for name, ids in pieces.items()},
        spelling=tokenizer.detokenise,
    )


def check_texts(
    tokenizer: Tokenizer,
    clips: Sequence[Clip],
    sources: Sequence[int],
    *,
    max_positions: int,
    generation: GenerationConfig,
    protocol: str,
    side_by_side: bool = False,
    of: LanguageModelName = "mbart",
) -> None:
    """Find before training what would stop it, or would cost a perfect system its score.

    Args:
        tokenizer: of the translator.
        clips: all that train and validate it.
        sources: length of what it reads of each clip, in steps or glosses.
        max_positions: longest source or target of its language model, language code and `</s>` included.
        generation: of validation; longer references cannot be reached.
        protocol: how texts are scored.
        side_by_side: whether sources and texts stand behind each other in training.
        of: its language model.

    Raises:
        SltError: a source, a text or a decoded text is longer than its positions; the clip is named.
    """
    found = report_texts(tokenizer, clips, protocol)
    steps = {clip.id: length + CLOSED for clip, length in zip(clips, sources, strict=True)}
    _require_room("text", found.lengths, "pieces", max_positions, of)
    _require_room("source", steps, "steps", max_positions, of)
    if side_by_side:  # whichever clips meet in a batch
        longest = max(found.lengths.values())
        both = {clip: length + longest for clip, length in steps.items()}
        _require_room("source", both, "steps with a text", max_positions, of)
    if generation.max_length > max_positions:  # of a folder: its positions are not known when a recipe loads
        raise SltError(
            f"generation.max_length is {generation.max_length}, {LANGUAGE_MODELS[of]} has {max_positions} positions; "
            "lower it"
        )
    log.info(found.told())
    for warning in found.warnings(generation.max_length):
        log.warning(warning)


def add_texts(report: ValidationReport, recipe: Recipe) -> None:
    """Add to a report on a manifest what a recipe's tokenizer and lengths make of its texts."""
    turned = in_direction(report.clips.values(), recipe.translator.direction)
    clips = {line: clip for line, clip in zip(report.clips, turned, strict=True) if clip.text}
    if not clips:
        report.remarks.append("texts: none")
        return
    try:
        tokenizer, max_positions = _language_side(recipe, clips.values())
    except SltError as error:
        report.problems.append(Problem(1, "tokenizer", str(error)))
        return
    found = report_texts(tokenizer, list(clips.values()), recipe.corpus.protocol)
    as_pieces = recipe.translator.gloss_input == "pieces"
    steps, unit_of_steps = (GlossPieces(tokenizer).length, "pieces of glosses") if as_pieces else (len, "glosses")
    kind = recipe.translator.language_model
    for line, clip in clips.items():
        text, source = found.lengths[clip.id], steps(clip.gloss or ()) + CLOSED
        lengths = [("text", "pieces", text), ("source", unit_of_steps, source)]
        if kind == "gpt2":  # the text stands behind it
            lengths = [("source", f"{unit_of_steps} and pieces of text", source + text)]
        for what, unit, length in lengths:
            if length > max_positions:
                message = f"the {what} has {length} {unit}, {LANGUAGE_MODELS[kind]} has {max_positions} positions"
                report.problems.append(Problem(line, "too-long", message, clip.id))
    shortest = min(
        generation.max_length
        for stage in (recipe.gloss2text_train, recipe.translate_train, recipe.joint_train, recipe.evaluate)
        if (generation := stage.generation)
    )
    report.remarks += [found.told(), *(f"warning: {warning}" for warning in found.warnings(shortest))]


def _language_side(recipe: Recipe, clips: Iterable[Clip]) -> tuple[Tokenizer, int]:
    """Return the tokenizer that a translator of the recipe has, and its positions.

    They are those of the language model that it uses, once there is one.
    """
    folder = recipe.language_folder
    sizes = folder / language_file(recipe.translator)
    if recipe.uses.language and sizes.is_file():
        most = {"mbart": "max_position_embeddings", "gpt2": "n_positions"}[recipe.translator.language_model]
        return Tokenizer.load(folder / TOKENIZER_FOLDER), read_json(sizes)[most]
    said = training_sentences((clip for clip in clips if clip.split == "train"), recipe.translator.gloss_input)
    return build_tokenizer(recipe.text, said), positions_of(recipe.translator)


def _require_room(what: str, lengths: Mapping[str, int], unit: str, max_positions: int, of: LanguageModelName) -> None:
    longest = max(lengths, key=lambda clip: lengths[clip])
    if lengths[longest] > max_positions:
        too_long = sum(length > max_positions for length in lengths.values())
        raise SltError(
            f"the {what} of {longest} has {lengths[longest]} {unit}, {LANGUAGE_MODELS[of]} has {max_positions} "
            f"positions ({too_long} clips are too long); raise translator.{of}.max_positions, or split the clip"
        )
