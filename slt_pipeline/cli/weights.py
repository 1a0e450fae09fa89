"""`slt weights`: weights of others in, the S3D of a run out."""

from pathlib import Path

import click

from slt_pipeline.cli.options import OUT_FILE, Group, load, overwrite_option, recipe_options, show_plan
from slt_pipeline.config.names import WEIGHTS_KINDS

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Numbers(click.ParamType):
    """Numbers with something between them, such as `0.5,0.5,0.5` or `210x260`."""

    def __init__(self, form: str, between: str, kind: type, *, zero: bool = False):
        self.name, self.between, self.kind, self.zero = form, between, kind, zero
        self.count = form.count(between) + 1

    def convert(self, value, param, ctx):
        try:
            found = tuple(self.kind(part) for part in value.split(self.between))
        except ValueError:
            found = ()
        if len(found) != self.count:
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        if not all(0 <= number < 1e6 and (number or self.zero) for number in found):
            self.fail(f"{value!r} is out of range; each is {'0 or more' if self.zero else 'more than 0'}", param, ctx)
        return found


@click.group(cls=Group)
def weights() -> None:
    """Take weights that others have trained, and give ours.

    \b
    Example:
      $ slt weights import S3D_kinetics400.pt --to weights/s3d_k400.safetensors
      $ slt weights import s2g_best.ckpt -r mmtlb/phoenix14t --gloss-classes gloss2ids.pkl
      $ slt weights import weights/cvslt_phoenix14t.ckpt -r cvslt/phoenix14t
      $ slt weights export runs/demo/mmtlb/visual_train --to s3d.safetensors
    """


@weights.command("import")
@click.argument("checkpoint", metavar="FILE", type=_FILE)
@recipe_options
@click.option("--to", type=OUT_FILE, metavar="FILE", help="Of an S3D: the safetensors file that it becomes.")
@click.option("--as", "kind", type=click.Choice(WEIGHTS_KINDS), help="What FILE is, where it may be one of two.")
@click.option(
    "--gloss-classes",
    type=_FILE,
    metavar="FILE",
    help="Published table gloss -> class, a pickle or JSON.  [default: of Sign2Gloss visual_train.vocabulary, of a "
    "translator the classes of the recipe's encoder]",
)
@click.option(
    "--color-order", type=click.Choice(["bgr", "rgb"]), help="Channel order of its frames.  [default: its kind's]"
)
@click.option(
    "--mean",
    type=_Numbers("A,B,C", ",", float, zero=True),
    help="Mean of its frames, by channel.  [default: its kind's]",
)
@click.option(
    "--std", type=_Numbers("A,B,C", ",", float), help="Standard deviation of its frames.  [default: its kind's]"
)
@click.option(
    "--frame-size",
    type=_Numbers("WIDTHxHEIGHT", "x", int),
    help="Of Sign2Gloss: size of the videos that it was trained on.  [default: of the recipe's corpus]",
)
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Of Sign2Gloss: their frames per second.")
@click.option(
    "--report", type=OUT_FILE, metavar="FILE", help="Write all names by kind as JSON, whether they fit or not."
)
@overwrite_option
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and what would be read and written.")
def import_(checkpoint, recipe_name, overrides, to, kind, gloss_classes, report, overwrite, dry_run, **known) -> None:
    """Make a run of published weights, or of an S3D a file to start from.

    What FILE is, it says by what it holds. An S3D (`torchvision`; `kylemin`, of Kinetics-400; `glosscls`, of isolated
    signs) becomes a file for visual_train.init and visual_pretrain.init, which says for which frames it is: a recipe
    that makes others is refused. A published `sign2gloss`, `gloss2text`, `sign2text` or `cvslt` becomes a finished run
    of visual-train, gloss2text-train or translate-train; the recipe says with which sizes and vocabularies.

    \b
    What a run needs: of Sign2Gloss the table of gloss classes; of the others a manifest (slt data import) and the
    published mBART folder (weights/mbart_de of the recipe); of a translator of signs the table too, and a store. That
    is the recipe's own, or one of published features: `uses={}` says that there is no encoder to compare it with.
    Names and shapes have to match, one to one; what is knowingly of no use is left out, and told.
    It may be packed by gzip. Nothing in it is carried out: what asks for more than plain data and tensors is refused.
    Example:
      $ slt weights import s3d-d76dad2f.pth --to weights/s3d_k400.safetensors
      $ slt weights import wlasl.pth.tar --to weights/s3d_wlasl.safetensors
      $ slt weights import s2g.ckpt -r mmtlb/phoenix14t --gloss-classes gloss2ids.pkl --frame-size 210x260 --fps 25
      $ slt weights import g2t.ckpt -r mmtlb/phoenix14t
      $ slt weights import cvslt.ckpt -r cvslt/phoenix14t --gloss-classes gloss2ids.pkl
      $ slt weights import cvslt.ckpt -r cvslt/phoenix14t -o uses={} -o extract.store=features --gloss-classes g.pkl
    """
    from slt_pipeline.stages import weights_import as stage

    recipe = load(recipe_name, overrides)
    frames = {name: known[name] for name in ("color_order", "mean", "std") if known[name] is not None}
    width, height = known["frame_size"] or (None, None)
    sizes = {"width": width, "height": height, "fps": known["fps"]}
    shape = {name: value for name, value in sizes.items() if value}
    said = stage.Said(kind, gloss_classes, frames, shape)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, checkpoint, said, to))
        return
    result = stage.weights_import(recipe, checkpoint, said=said, to=to, report=report, overwrite=overwrite)
    click.echo(f"weights import: {checkpoint} is {result['kind']}; {result['told']}")
    if "frames" in result:
        click.echo(f"weights import: {result['blocks']} blocks, {_frames(result['frames'])}; {result['where']}")
    else:
        score = f"{result['score']} {result['best_score']} at step {result['best_step']}"
        click.echo(f"weights import: {score}; {result['where']}")


@weights.command()
@click.argument("run", metavar="RUN", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--to", type=OUT_FILE, metavar="FILE", required=True, help="A .safetensors file, or .pt or .pth for torch.load."
)
@click.option("--overwrite", is_flag=True, help="Replace what this command has written there before.")
def export(run, to, overwrite) -> None:
    """Write the S3D of a run as a state dict of torchvision.

    RUN is the folder of visual-train, visual-pretrain or joint-train. The classifier comes with it where RUN has five
    blocks and one. How frames are made for it is told, and written: into a safetensors file, or beside FILE as JSON.

    \b
    Example:
      $ slt weights export runs/demo/mmtlb/visual_train --to s3d.safetensors
      $ slt weights export runs/demo/mmtlb/visual_pretrain --to s3d.pt
    """
    from slt_pipeline.stages.weights_export import weights_export

    told = weights_export(run, to, overwrite=overwrite)
    click.echo(f"weights export: {told['blocks']} blocks, {_frames(told['frames'])}; {to}")
    if told["lacks"]:
        click.echo(f"weights export: torchvision's S3D has more: {', '.join(told['lacks'])}; load with strict=False")


def _frames(frames) -> str:
    mean, std = (", ".join(f"{number:g}" for number in frames[name]) for name in ("mean", "std"))
    return f"frames in [0, 1], {frames['color_order']}, mean {mean}, std {std}"
