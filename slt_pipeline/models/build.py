"""Which system a configuration means: asked here and nowhere else."""

from typing import Any

from slt_pipeline.config.translator import CVSLTConfig, TranslatorConfig
from slt_pipeline.models.cvslt import CVSLT
from slt_pipeline.models.gpt2 import GPT2Gloss2Text, positions_of_gpt2
from slt_pipeline.models.language import GlossNames, TextVocabulary
from slt_pipeline.models.mbart import positions_of_mbart
from slt_pipeline.models.mmtlb import MMTLB
from slt_pipeline.models.translator import Translator


def build_translator(
    config: TranslatorConfig, tokenizer: TextVocabulary, gloss_vocabulary: GlossNames | None = None, **options: Any
) -> Translator:
    """Return the translator of a configuration.

    Args:
        config: names the system.
        tokenizer: vocabulary of the text side.
        gloss_vocabulary: rows of the gloss table.
        options: further arguments of `Translator`; without `in_features` it is Gloss2Text, which all systems share.
    """
    if config.language_model == "gpt2":
        return GPT2Gloss2Text(config, tokenizer, gloss_vocabulary, **options)
    if isinstance(config, CVSLTConfig) and options.get("in_features") is not None:
        return CVSLT(config, tokenizer, gloss_vocabulary, **options)
    return MMTLB(config, tokenizer, gloss_vocabulary, **options)


def positions_of(config: TranslatorConfig) -> int:
    """Return the longest source or target, as the language model's folder says, else as configured."""
    return positions_of_gpt2(config.gpt2) if config.language_model == "gpt2" else positions_of_mbart(config.mbart)
