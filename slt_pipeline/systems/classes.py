"""Gloss classes of an encoder that is trained on a corpus: in a published order, or by falling frequency."""

from pathlib import Path

from slt_pipeline.config.recipe import Recipe
from slt_pipeline.corpora.gloss_tables import read_gloss_table
from slt_pipeline.corpora.load import load_clips
from slt_pipeline.text.gloss_vocab import GlossVocabulary


def corpus_classes(recipe: Recipe) -> GlossVocabulary:
    """Read the classes of `visual_train.vocabulary`, or build them of the glosses of `visual_train.vocabulary_splits`.

    Raises:
        SltError: the table cannot be read, or a split has no clips.
    """
    config, manifest = recipe.visual_train, recipe.corpus.manifest
    if config.vocabulary is not None:
        return read_gloss_table(Path(config.vocabulary))
    splits = config.vocabulary_splits
    return GlossVocabulary.build(clip.gloss for split in splits for clip in load_clips(manifest, split))
