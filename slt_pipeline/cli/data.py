"""`slt data import|synth|validate|stats`."""

import json
from pathlib import Path

import click

from slt_pipeline.cli import import_sentences
from slt_pipeline.cli.options import OUT_FOLDER, OUT_MANIFEST, Group, Resuming, load, progress_bar, recipe_options
from slt_pipeline.files import json_line


@click.group(cls=Group)
def data() -> None:
    """Make manifests of clips, check them, count them.

    \b
    Example:
      $ slt data validate my_corpus/manifest.jsonl
    """


@data.group("import", cls=Group, moved={"mbart": "slt lm import"})
def import_() -> None:
    """Turn published files into a manifest, or into JSON.

    \b
    Example:
      $ slt data import phoenix14t annotations/ --out phoenix/manifest.jsonl
    """


_OUT = click.option("--out", type=OUT_MANIFEST, required=True, help="Manifest to write; its folder is made.")
_MEDIA_ROOT = click.option(
    "--media-root",
    type=click.Path(path_type=Path),
    help="Folder that video references are relative to.  [default: that of OUT]",
)


def _import_options(command):
    folder = click.Path(exists=True, path_type=Path)
    for option in (
        _MEDIA_ROOT,
        click.option(
            "--frames",
            type=folder,
            help="The frames: a folder in the published layout, or the published zip. None: only to be re-enacted.",
        ),
        _OUT,
        click.argument("annotations", type=folder),
    ):
        command = option(command)
    return command


def _show(report) -> None:
    for line in report.lines():
        click.echo(line)


@import_.command()
@_import_options
@click.option(
    "--variant",
    type=click.Choice(["plain", "cleaned"]),
    help="Spelling of the glosses; published systems use that of the cleaned pickles.  [default: cleaned; of RWTH's "
    "lists plain]",
)
def phoenix14t(annotations, out, frames, media_root, variant) -> None:
    """Import RWTH-PHOENIX-Weather 2014T from its annotation files.

    ANNOTATIONS is a folder with phoenix-2014t.{train,dev,test}, or phoenix-2014t_cleaned.*, or RWTH's own release, with
    annotations/manual/PHOENIX-2014-T.{train,dev,test}.corpus.csv.

    \b
    Pickles are read by an unpickler that refuses everything but plain data and tensors.
    Example:
      $ slt data import phoenix14t annotations/ --frames PHOENIX-2014-T/features --out phoenix/manifest.jsonl
    """
    from slt_pipeline.corpora.phoenix14t import import_phoenix14t
    from slt_pipeline.corpora.phoenix14t_csv import import_phoenix14t_csv, lists_of

    options = {"frames": frames, "media_root": media_root}
    if lists := lists_of(annotations):
        report = import_phoenix14t_csv(lists, out, variant=variant or "plain", progress=progress_bar(), **options)
    else:
        report = import_phoenix14t(annotations, out, variant=variant or "cleaned", **options)
    _show(report)


@import_.command("csl-daily")
@_import_options
@click.option("--half-width", is_flag=True, help="Full-width ，？！： become half-width, as CV-SLT scores.")
def csl_daily(annotations, out, frames, media_root, half_width) -> None:
    """Import CSL-Daily from its annotation files.

    ANNOTATIONS is a folder with csl-daily.{train,dev,test}, or USTC's sentence_label, with split_1.txt and
    video_map.txt or csl2020ct_v2.pkl.

    \b
    Example:
      $ slt data import csl-daily annotations/ --half-width --out csl/manifest.jsonl
    """
    from slt_pipeline.corpora.csl_daily import import_csl_daily
    from slt_pipeline.corpora.csl_daily_text import import_csl_daily_text, labels_of

    options = {"half_width": half_width, "frames": frames, "media_root": media_root}
    if labels := labels_of(annotations):
        report = import_csl_daily_text(labels, out, progress=progress_bar(), **options)
    else:
        report = import_csl_daily(annotations, out, **options)
    _show(report)


def _isolated_options(command):
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    for option in (
        click.option("--strict", is_flag=True, help="Stop at the first video that cannot be read."),
        _MEDIA_ROOT,
        _OUT,
        click.argument("videos", type=folder),
    ):
        command = option(command)
    return command


@import_.command()
@_isolated_options
@click.option(
    "--dev-every", type=click.IntRange(min=0), default=10, show_default=True, help="Every n-th clip of a class is dev."
)
def isolated(videos, out, media_root, strict, dev_every) -> None:
    """Import isolated signs, a folder of clips a class.

    They lie in VIDEOS/CLASS/CLIP or VIDEOS/SPLIT/CLASS/CLIP, and are for visual-pretrain.

    \b
    Example:
      $ slt data import isolated signs/ --out signs/manifest.jsonl
    """
    from slt_pipeline.corpora.isolated import import_class_folders

    _show(
        import_class_folders(
            videos, out, media_root=media_root, dev_every=dev_every, strict=strict, progress=progress_bar()
        )
    )


@import_.command()
@click.argument("annotations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_isolated_options
@click.option("--num-glosses", type=click.IntRange(min=1), help="So many of the list, the first.  [default: all]")
def wlasl(annotations, videos, out, media_root, strict, num_glosses) -> None:
    """Import isolated signs from a WLASL list and its videos.

    VIDEOS holds them cut, by their video_id, or as downloaded, by the name that YouTube gave them: then the manifest
    says which frames are the sign. They are for visual-pretrain.

    \b
    Example:
      $ slt data import wlasl WLASL_v0.3.json wlasl/videos --out wlasl/manifest.jsonl
    """
    from slt_pipeline.corpora.wlasl import import_wlasl

    options = {"media_root": media_root, "num_glosses": num_glosses, "strict": strict, "progress": progress_bar()}
    _show(import_wlasl(annotations, videos, out, **options))


@import_.command()
@_isolated_options
@click.option(
    "--annotations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="A CSV list, of one or more splits; may be given several times.",
)
def kinetics(annotations, videos, out, media_root, strict) -> None:
    """Import the actions of Kinetics by its CSV lists.

    VIDEOS holds <youtube_id>_<start>_<end>.mp4, at any depth. They are for visual-pretrain. Without lists, `slt data
    import isolated` takes the folders of classes.

    \b
    Example:
      $ slt data import kinetics k400/ --annotations train.csv --annotations val.csv --out k400/manifest.jsonl
    """
    from slt_pipeline.corpora.kinetics import import_kinetics

    options = {"media_root": media_root, "strict": strict, "progress": progress_bar()}
    _show(import_kinetics(annotations, videos, out, **options))


for _command in (import_sentences.table, import_sentences.how2sign, import_sentences.elan):
    import_.add_command(_command)


@data.command(cls=Resuming)
@recipe_options
@click.option(
    "--out",
    type=OUT_FOLDER,
    help="Folder to write.  [default: that of the recipe's corpus.manifest]",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that draw.  [default: one a core]")
def synth(recipe_name, overrides, out, workers) -> None:
    """Render the recipe's synthetic corpus.

    That is videos, manifest.jsonl, isolated.jsonl and a contact sheet.

    \b
    Signs come from the built-in weather grammar, or from an imported manifest with glosses (synth.source=annotations).
    The same recipe and seed give the same frames. Interrupted and run again, it goes on.
    Example:
      $ slt data synth -r demo/mmtlb --out avatar -o synth.num_train=50
    """
    from slt_pipeline.avatar import synthesize
    from slt_pipeline.errors import SltError

    recipe = load(recipe_name, overrides)
    if recipe.synth is None:
        raise SltError(
            f"recipe {recipe.name} has no `synth` section; `slt recipe show demo/mmtlb` has one to start from"
        )
    folder = out or Path(recipe.corpus.manifest).parent
    report = synthesize(recipe.synth, folder, seed=recipe.seed, workers=workers)
    sentences = ", ".join(f"{count} {split}" for split, count in report.num_sentences.items())
    isolated = ", ".join(f"{count} {split}" for split, count in report.num_isolated.items())
    click.echo(f"{folder}: sentences {sentences}; isolated signs {isolated}; {report.num_glosses} glosses")
    click.echo(f"{report.num_rendered} clips drawn, {report.num_kept} kept; look at {folder / 'contact_sheet.png'}")
    for source, count in report.timing.items():
        click.echo(f"timing {source}: {count} clips")


@data.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option(
    "-r",
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE",
    help="Also check the texts as this recipe would train on them. Without MANIFEST: that of its corpus.",
)
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY.PATH=VALUE", help="Change the recipe.")
@click.option(
    "--media-root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that video references are relative to.  [default: that of MANIFEST]",
)
@click.option(
    "--vocabulary",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="glosses.json of a trained encoder: report glosses it does not know.",
)
@click.option("--no-video", is_flag=True, help="Do not open the videos.")
@click.option("--decode", is_flag=True, help="Decode every picture of frame folders and zips too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a problem.")
@click.option("--strict", is_flag=True, help="Stop at the first video that cannot be read; else all are named.")
def validate(manifest, recipe_name, overrides, media_root, vocabulary, no_video, decode, as_json, strict) -> None:
    """Check every line and every video of a manifest; change nothing. Exit status 1 if anything is wrong.

    \b
    With a recipe also: the best score that its tokenizer and spelling leave to a translator, the share of text that the
    tokenizer does not know, and texts that are too long for its mBART.
    Example:
      $ slt data validate my_corpus/manifest.jsonl
      $ slt data validate -r demo/mmtlb --no-video
    """
    from dataclasses import asdict

    from slt_pipeline.corpora.load import media_root as root_of
    from slt_pipeline.corpora.validate import validate as check
    from slt_pipeline.text.gloss_vocab import GlossVocabulary

    recipe = load(recipe_name, overrides) if recipe_name or overrides else None
    if recipe is None and manifest is None:
        raise click.UsageError("name a manifest, or a recipe with -r")
    if no_video and (decode or strict):
        raise click.UsageError(f"{'--decode' if decode else '--strict'} is of videos, which --no-video does not open")
    if recipe is not None and manifest is None:
        manifest, media_root = Path(recipe.corpus.manifest), media_root or root_of(recipe.corpus)
    report = check(
        manifest,
        media_root=media_root,
        vocabulary=GlossVocabulary.load(vocabulary) if vocabulary else None,
        open_videos=not no_video,
        decode=decode,
        strict=strict,
        sampling=recipe.video.sampling if recipe else None,
        progress=progress_bar(),
    )
    if recipe is not None:
        from slt_pipeline.systems.texts import add_texts

        add_texts(report, recipe)
    if as_json:
        for problem in report.problems:
            click.echo(json_line(asdict(problem)), nl=False)
    else:
        for line in report.lines():
            click.echo(line)
    if not report.ok:
        raise click.exceptions.Exit(1)


@data.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(manifest, as_json) -> None:
    """Count clips, frames, glosses, words and signers by split. Unseen tokens are counted too.

    \b
    Example:
      $ slt data stats my_corpus/manifest.jsonl
    """
    from slt_pipeline.corpora.manifest import read_manifest
    from slt_pipeline.corpora.stats import corpus_stats, stats_table

    counts = corpus_stats(read_manifest(manifest))
    if as_json:
        click.echo(json.dumps({split: count.as_dict() for split, count in counts.items()}, ensure_ascii=False))
    else:
        click.echo(stats_table(counts))
