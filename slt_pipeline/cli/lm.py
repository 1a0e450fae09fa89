"""`slt lm`: mBART folders, pruned for a corpus or taken from others, and the vectors of glosses."""

from pathlib import Path

import click

from slt_pipeline.cli.options import (
    OUT_FILE,
    OUT_FOLDER,
    Group,
    Resuming,
    extend_option,
    overwrite_option,
    run_options,
    splits_option,
)
from slt_pipeline.cli.train import train_stage
from slt_pipeline.config.names import LANGUAGE_CODES

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
_LANGUAGE = click.option(
    "--language",
    type=click.Choice(LANGUAGE_CODES),
    help="Language of the texts.  [default: as FOLDER says, else de_DE]",
)
_REPLACE = click.option("--overwrite", is_flag=True, help="Replace what this command has written there before.")


@click.group(cls=Group)
def lm() -> None:
    """Make the mBART folder that a recipe starts from.

    \b
    Example:
      $ slt lm prune mbart-large-cc25 --manifest phoenix/manifest.jsonl --to weights/mbart_de
      $ slt lm import published/mBart_de --to weights/mbart_de
      $ slt lm gloss-embed weights/mbart_de --vocab gloss_inputs.json
      $ slt lm pretrain -r g2t/german
      $ slt lm export runs/g2t/chinese/gloss2text_train --to weights/mbart_chinese
    """


@lm.command()
@_FOLDER
@click.option("--manifest", type=_FILE, required=True, help="The corpus whose texts and glosses are kept.")
@splits_option("Clips that count; several times for several. Published: train, dev and test, in this order.")
@click.option("--to", type=OUT_FOLDER, required=True, help="Folder to write, all of it or nothing.")
@_LANGUAGE
@_REPLACE
def prune(folder, manifest, splits, to, language, overwrite) -> None:
    """Keep of an mBART the pieces that a corpus needs.

    FOLDER is a Hugging Face mBART folder: config.json, model.safetensors or pytorch_model.bin, in shards or whole, and
    sentencepiece.bpe.model. TO is one too, for translator.mbart.folder and text.tokenizer; transformers reads it with
    MBartForConditionalGeneration and AutoTokenizer.

    \b
    Special tokens, all languages and <mask> come first, then pieces by first appearance (map_ids.json: old id -> new);
    of a trained tokenizer (merges) then what they are merged of.
    Weights are mapped, not copied: of memory it takes little more than the pieces that are kept.
    At the pieces that are kept, logits are those of the whole mBART: it generates what the whole one does that may
    write no others. A piece that is not kept is <unk>. Gloss vectors are kept as they are.
    What was done is in slt_mbart.json.
    Example:
      $ slt lm prune mbart-large-cc25 --manifest mine/manifest.jsonl --to weights/mbart_mine
      $ slt lm prune cc25 --manifest csl.jsonl --language zh_CN --split train --split dev --split test --to mbart_zh
    """
    from slt_pipeline.stages.lm_prune import lm_prune

    told = lm_prune(folder, manifest, to, splits=splits, language=language, overwrite=overwrite)
    click.echo(
        f"lm prune: {told['vocab_size']} of {told['vocab_size_before']} ids, for {told['texts']} texts and "
        f"{told['glosses']} glosses of {', '.join(told['splits'])}, {told['gloss_vectors']} gloss vectors; {to}"
    )
    if not told["tokenizer_json"]:
        click.echo(
            "lm prune: no tokenizer.json for AutoTokenizer: FOLDER was pruned of what its pieces are merged of; prune "
            "what FOLDER was made of"
        )
    if told["unknown"]:
        click.echo(f"lm prune: {told['unknown']} texts and glosses hold <unk>: FOLDER has not all of their pieces")


@lm.command("import")
@_FOLDER
@click.option(
    "--to", type=OUT_FOLDER, help="Folder to write, weights and all.  [default: none; tables as JSON, in FOLDER]"
)
@_LANGUAGE
@_REPLACE
def import_(folder, to, language, overwrite) -> None:
    """Take a published pruned mBART, and its pickled tables.

    FOLDER has map_ids.pkl (or old2new_vocab.pkl), perhaps gloss2ids.pkl and gloss_embeddings.bin. With --to it becomes
    a folder as slt lm prune writes one; without, its tables become JSON beside them.

    \b
    The pickles are read by an unpickler that refuses everything but plain data.
    Example:
      $ slt lm import published/mBart_de --to weights/mbart_de
      $ slt lm import weights/mbart_de
    """
    if to is None:
        if language:
            raise click.UsageError("--language is of the folder that --to names: without --to only tables are written")
        from slt_pipeline.corpora.mbart_folder import import_mbart

        for line in import_mbart(folder, overwrite=overwrite).lines():
            click.echo(line)
        return
    from slt_pipeline.stages.lm_import import lm_import

    told = lm_import(folder, to, language=language, overwrite=overwrite)
    click.echo(
        f"lm import: {told['vocab_size']} ids, {told['glosses']} gloss ids, {told['gloss_vectors']} gloss vectors; {to}"
    )


@lm.command("gloss-embed")
@_FOLDER
@click.option(
    "--vocab", "vocabulary", type=_FILE, required=True, help="Names, a list or table: slt vocab build --kind inputs."
)
@click.option(
    "--to", type=OUT_FILE, help="File to write.  [default: gloss_embeddings.safetensors in FOLDER, which is read there]"
)
@_LANGUAGE
@_REPLACE
def gloss_embed(folder, vocabulary, to, language, overwrite) -> None:
    """Write a vector for each gloss: the mean of its pieces.

    That is of its name in small letters, without the scale that mBART puts on; of a sign language the vector of the
    spoken language beside it. A gloss table that starts from `pieces` takes them from the folder of
    translator.mbart.folder, and has the same means without: with the file they may come from a whole mBART.

    \b
    Example:
      $ slt lm gloss-embed weights/mbart_de --vocab gloss_inputs.json
      $ slt lm gloss-embed mbart-large-cc25 --vocab gloss2ids.pkl --to weights/mbart_de/gloss_embeddings.safetensors
    """
    from slt_pipeline.models.gloss_table import EMBEDDINGS_FILE
    from slt_pipeline.stages.lm_gloss_embed import lm_gloss_embed

    to = to or folder / EMBEDDINGS_FILE
    told = lm_gloss_embed(folder, vocabulary, to, language=language, overwrite=overwrite)
    click.echo(f"lm gloss-embed: {told['vectors']} vectors, {told['without']} names without pieces; {to}")
    if told["unknown"]:
        click.echo(
            f"lm gloss-embed: {told['unknown']} glosses hold <unk>: prune with their split, or embed with the whole"
        )


@lm.command(cls=Resuming)
@run_options
@overwrite_option
@extend_option
def pretrain(**options) -> None:
    """Train an mBART to restore noised running text.

    \b
    Reads lm_pretrain.texts (a sentence a line, an empty line between documents) and the training texts of
    corpus.manifest, writes runs/<recipe>/lm_pretrain/. Run again, it resumes. Its folder mbart is one for
    translator.mbart.folder and text.tokenizer, its folder gpt2 for translator.gpt2.folder:
    a GPT-2, with translator.language_model=gpt2, learns to go on with a text instead.
    Example:
      $ slt lm pretrain -r mine.yaml -o lm_pretrain.texts=[german.txt]
      $ slt gloss2text-train -r g2t/phoenix14t-pretrained
    """
    from slt_pipeline.stages.lm_pretrain import lm_pretrain

    train_stage(lm_pretrain.__name__, **options)


@lm.command()
@click.argument("run", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", type=OUT_FOLDER, required=True, help="Folder to write, all of it or nothing.")
@_REPLACE
def export(run, to, overwrite) -> None:
    """Write the language model of a run as a Hugging Face folder.

    RUN is the folder of gloss2text-train, translate-train or joint-train; the best checkpoint is taken. TO is for
    translator.mbart.folder and text.tokenizer of another recipe, which goes on from it, and for transformers
    (MBartForConditionalGeneration, AutoTokenizer). The vectors of glosses come with it; mapper and bridge do not.
    A run of slt lm pretrain holds such a folder already.

    \b
    Example:
      $ slt lm export runs/g2t/chinese/gloss2text_train --to weights/mbart_chinese
      $ slt gloss2text-train -r g2t/csl_daily-pretrained
    """
    from slt_pipeline.stages.lm_export import lm_export

    told = lm_export(run, to, overwrite=overwrite)
    click.echo(
        f"lm export: {told['language_model']} with {told['vocab_size']} pieces and {told['gloss_vectors']} gloss "
        f"vectors; {to}"
    )
