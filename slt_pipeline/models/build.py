"""Which system a configuration means: asked here and nowhere else."""

from collections.abc import Sequence

from slt_pipeline.config.translator import TranslatorConfig
from slt_pipeline.models.language import GlossNames, TextVocabulary
from slt_pipeline.models.mmtlb import MMTLB
from slt_pipeline.models.translator import Translator


def build_translator(
    config: TranslatorConfig,
    tokenizer: TextVocabulary,
    gloss_vocabulary: GlossNames | None = None,
    *,
    gloss_language: str = "de_DGS",
    in_features: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Translator:
    """Return the translator of a configuration; arguments as of `Translator`. Without `in_features`: Gloss2Text."""
    return MMTLB(
        config,
        tokenizer,
        gloss_vocabulary,
        gloss_language=gloss_language,
        in_features=in_features,
        class_names=class_names,
    )
