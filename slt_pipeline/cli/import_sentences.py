"""`slt data import table|how2sign|elan`: lists of sentences, cut or inside longer videos."""

from pathlib import Path

import click

from slt_pipeline.cli.options import OUT_MANIFEST, Command, progress_bar

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _import_options(command):
    for option in (
        click.option("--strict", is_flag=True, help="Stop at the first clip that cannot be used."),
        click.option(
            "--media-root",
            type=click.Path(path_type=Path),
            help="Folder that video references are relative to.  [default: that of OUT]",
        ),
        click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write; its folder is made."),
    ):
        command = option(command)
    return command


def _show(report) -> None:
    for line in report.lines():
        click.echo(line)


@click.command(cls=Command)
@click.argument("file", type=_FILE)
@_import_options
@click.option("--id", "id_", metavar="COLUMN", help="The clip's name, used once.  [default: that of its video]")
@click.option("--video", metavar="COLUMN", help="Video file, folder of pictures, or archive.zip!folder.")
@click.option("--text", metavar="COLUMN", help="The sentence.")
@click.option("--gloss", metavar="COLUMN", help="Glosses in sign order.")
@click.option("--start", metavar="COLUMN", help="Where the clip starts in its video: 12.5 or 00:00:12.5.")
@click.option("--end", metavar="COLUMN", help="Where it ends.")
@click.option("--signer", metavar="COLUMN", help="Who signs.")
@click.option("--split", metavar="COLUMN", help="train, dev or test; or one of these, for all.  [default: train]")
@click.option("--fps", metavar="COLUMN", help="Frames per second of pictures; or a number, for all.  [default: 25]")
@click.option("--videos", type=_FOLDER, help="Folder from which the paths of videos go.  [default: that of FILE]")
@click.option("--delimiter", help="Between cells: comma, tab, semicolon, pipe, or any character.  [default: found out]")
@click.option(
    "--gloss-separator",
    help="Between glosses: , or | or any text, or a name as of --delimiter.  [default: white space]",
)
@click.option(
    "--times-in", type=click.Choice(["seconds", "milliseconds"]), default="seconds", show_default=True, help="Unit."
)
@click.option("--encoding", help="Of FILE, such as cp1252 or gb18030.  [default: UTF-8 or UTF-16]")
def table(
    file, out, media_root, strict, videos, delimiter, gloss_separator, times_in, encoding, id_, **columns
) -> None:
    """Import your own corpus from a CSV or TSV file.

    The first line of FILE names its columns; those called id, video, text, gloss, start, end, signer, split and fps
    need no option. A row is a clip: a whole video, or a span of it. What is left out is listed with the reason.

    \b
    Example:
      $ slt data import table mine.csv --id name --video path --text sentence --out mine/manifest.jsonl
    """
    from slt_pipeline.corpora.spreadsheet import delimiter_named, separator_named
    from slt_pipeline.corpora.table import Columns, import_table

    report = import_table(
        file,
        out,
        Columns(id=id_, **columns),
        videos=videos,
        media_root=media_root,
        delimiter=None if delimiter is None else delimiter_named(delimiter),
        encoding=encoding,
        gloss_separator=None if gloss_separator is None else separator_named(gloss_separator),
        times_in=times_in,
        strict=strict,
        progress=progress_bar(),
    )
    _show(report)


@click.command(cls=Command)
@click.argument("videos", type=_FOLDER)
@_import_options
@click.option(
    "--annotations",
    type=_FILE,
    multiple=True,
    required=True,
    help="A list such as how2sign_realigned_train.csv; may be given several times.",
)
@click.option("--split", help="Of all sentences.  [default: as the lists are called]")
def how2sign(videos, out, media_root, strict, annotations, split) -> None:
    """Import How2Sign by its lists of sentences.

    VIDEOS holds the long videos, of which each sentence is a span, or the clips that were cut from them.

    \b
    Example:
      $ slt data import how2sign raw_videos/ --annotations how2sign_realigned_val.csv --out how2sign/manifest.jsonl
    """
    from slt_pipeline.corpora.how2sign import import_how2sign

    options = {"split": split, "media_root": media_root, "strict": strict, "progress": progress_bar()}
    _show(import_how2sign(annotations, videos, out, **options))


@click.command(cls=Command)
@click.argument("annotations", type=click.Path(exists=True, path_type=Path))
@_import_options
@click.option("--text-tier", "text_tiers", multiple=True, required=True, help="Tier of sentences; one a signer.")
@click.option("--gloss-tier", "gloss_tiers", multiple=True, help="Tier of glosses; several of one signer, or one each.")
@click.option("--videos", type=_FOLDER, help="Look for the videos here, too.")
@click.option("--split", default="train", show_default=True, help="Of all; folders train, dev, test say their own.")
def elan(annotations, out, media_root, strict, text_tiers, gloss_tiers, videos, split) -> None:
    """Import sentences and glosses of ELAN files.

    ANNOTATIONS is an .eaf file, or a folder of them. Each annotation of a text tier is a clip, with the glosses that
    are signed meanwhile, and their times.

    \b
    Example:
      $ slt data import elan session.eaf --text-tier Translation --gloss-tier Gloss --out mine/manifest.jsonl
    """
    from slt_pipeline.corpora.elan import import_elan

    options = {"videos": videos, "split": split, "media_root": media_root, "strict": strict, "progress": progress_bar()}
    _show(import_elan(annotations, out, text_tiers, gloss_tiers, **options))
