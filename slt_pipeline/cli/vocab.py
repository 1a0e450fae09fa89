"""`slt vocab`: vocabularies of glosses as files."""

from pathlib import Path

import click

from slt_pipeline.cli.options import OUT_FILE, Group, splits_option


@click.group(cls=Group)
def vocab() -> None:
    """Make vocabularies of glosses.

    \b
    Example:
      $ slt vocab build --manifest my/manifest.jsonl --to my/classes.json
    """


@vocab.command()
@click.option(
    "--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="The corpus."
)
@splits_option("Clips whose glosses count; several times for several.")
@click.option(
    "--kind",
    type=click.Choice(["classes", "inputs"]),
    default="classes",
    show_default=True,
    help="Classes of CTC, by falling frequency, or rows of a gloss table, by first appearance.",
)
@click.option("--gloss-language", metavar="CODE", help="Of inputs: a sign language that gets a row, such as en_ASL.")
@click.option("--to", type=OUT_FILE, required=True, metavar="FILE", help="JSON file to write.")
@click.option("--overwrite", is_flag=True, help="Replace what this command has written there before.")
def build(manifest, splits, kind, gloss_language, to, overwrite) -> None:
    """Number the glosses of a manifest.

    FILE is a list of names in small letters; a name's place is its id. `classes` is what visual_train.vocabulary reads:
    blank, <unk>, <pad> and </s>, then glosses. `inputs` is what slt lm gloss-embed reads: special tokens, languages,
    then glosses.

    \b
    Example:
      $ slt vocab build --manifest my/manifest.jsonl --to my/glosses.json
      $ slt vocab build --manifest my/manifest.jsonl --kind inputs --gloss-language en_ASL --to my/asl_inputs.json
    """
    from slt_pipeline.stages.vocab_build import vocab_build

    if gloss_language and kind == "classes":
        raise click.UsageError("--gloss-language is of --kind inputs: classes have no language")
    found = vocab_build(manifest, splits, to, kind=kind, gloss_language=gloss_language, overwrite=overwrite)
    click.echo(f"vocab build: {len(found)} {kind}, special ones included, of {', '.join(splits)}; {to}")
