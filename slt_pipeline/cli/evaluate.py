"""`slt evaluate`."""

import json
from pathlib import Path

import click

from slt_pipeline.cli.options import Command, load, run_option, run_options, show_plan


class _Runs(click.ParamType):
    """Several run folders, with commas between them."""

    name = "RUN,RUN"

    def convert(self, value, param, ctx) -> list[Path]:
        """Return the folders.

        Raises:
            click.BadParameter: there is one alone, or one twice.
        """
        if not isinstance(value, str):
            return value
        folders = [Path(part.strip()) for part in value.split(",") if part.strip()]
        if twice := next(
            (folder for n, folder in enumerate(folders) if folder.resolve() in _resolved(folders[:n])), None
        ):
            self.fail(f"{value!r} names the run {twice} twice; name other runs.", param, ctx)
        if len(folders) < 2:
            self.fail(f"{value!r} is one run; name two or more, with commas between them, or use --run.", param, ctx)
        return folders


def _resolved(folders: list[Path]) -> set[Path]:
    return {folder.resolve() for folder in folders}


@click.command(cls=Command)
@run_options
@run_option
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="TASK",
    help="sign2gloss, gloss2text, sign2gloss2text, sign2text, text2gloss; several times.  [default: the recipe's]",
)
@click.option("--split", "splits", multiple=True, help="dev, test, ...; several times.  [default: the recipe's]")
@click.option(
    "--oracle",
    is_flag=True,
    help="CV-SLT: also decode from the posterior, which knows the right text: an upper bound.",
)
@click.option(
    "--ensemble",
    type=_Runs(),
    metavar="RUN,RUN",
    help="Runs that write every text together, by the mean of their probabilities; in place of --run.",
)
def evaluate(recipe_name, overrides, device, dry_run, run, tasks, splits, oracle, ensemble) -> None:
    """Decode and score splits: WER, BLEU-1..4, ROUGE-L, chrF. WER is for Sign2Gloss, the others for translation.

    \b
    Reads the store and the trained models, writes hypotheses and scores to runs/<recipe>/evaluate/. With --run, scores
    that translator, or Gloss2Text, with its own recipe, and writes into its folder; with --ensemble, several together,
    searched as the first of them says, into evaluate/ensemble/ of its folder, other members into ensemble-2/, ...
    Where evaluate.rerank names judges, the beams of Gloss2Text are judged by them, into evaluate/reranked/; a run that
    learned more beside its texts (gloss2text_train.also) may be its own judge.
    Below the table stands by which protocol, and what is odd: empty outputs, the same one again and again, loops;
    sentences of the training split.
    Example:
      $ slt evaluate --task sign2text --split test
      $ slt evaluate --run runs/demo/mmtlb/translate_train
      $ slt evaluate --ensemble runs/g2t/phoenix14t/gloss2text_train,runs2/g2t/phoenix14t/gloss2text_train
      $ slt evaluate --run runs/g2t/a/gloss2text_train -o evaluate.rerank.runs=[runs/g2t/b/gloss2text_train]
    """
    from slt_pipeline.stages import evaluate as stage

    chosen = [f"evaluate.{name}={json.dumps(given)}" for name, given in (("tasks", tasks), ("splits", splits)) if given]
    if run and ensemble:
        raise click.UsageError("--ensemble names all its runs: leave out --run")
    if recipe_name and ensemble:
        raise click.UsageError("--ensemble brings the recipe of its first run: leave out --recipe")
    run, *others = ensemble or (run,)
    recipe = load(recipe_name, (*overrides, *chosen), run)
    if dry_run:
        show_plan(recipe, *stage.plan(recipe, run, others))
        return
    asked = recipe.evaluate.tasks if tasks or not run else stage.own_tasks(recipe, run)
    found = stage.evaluate(recipe, device=device, run=run, others=others, tasks=asked, oracle=oracle)
    click.echo("\n".join([found["table"], "", *found["notes"]]))
