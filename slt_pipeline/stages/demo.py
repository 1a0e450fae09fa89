"""`slt demo`: the whole system once, from rendered video to scored and translated text."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from slt_pipeline import __version__
from slt_pipeline.avatar import synthesize
from slt_pipeline.config.recipe import Recipe, opened_as
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.corpora.times import reference_times
from slt_pipeline.corpora.validate import validate
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines, write_json, write_json_lines, write_text
from slt_pipeline.report.demo_page import demo_page
from slt_pipeline.report.plots import plot_gloss_timeline, plot_losses, plot_wer
from slt_pipeline.report.tables import markdown_table, text_table
from slt_pipeline.stages.confidence import confidence
from slt_pipeline.stages.evaluate import evaluate, own_tasks
from slt_pipeline.stages.extract import extract
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.stages.joint_train import joint_train
from slt_pipeline.stages.sweep import sweep, sweep_jobs
from slt_pipeline.stages.translate import Translate
from slt_pipeline.stages.translate_train import translate_train
from slt_pipeline.stages.visual_pretrain import visual_pretrain
from slt_pipeline.stages.visual_train import visual_train
from slt_pipeline.training.checkpoint import RESULT
from slt_pipeline.training.run import Plan
from slt_pipeline.training.side_by_side import Ended, Job, side_by_side
from slt_pipeline.training.threads import num_cores
from slt_pipeline.video.reader import open_video

NUM_FRESH = 3
MOST_AT_ONCE = 4
"""Steps of phase two that go side by side, where there are as many cores: each takes half a GB of memory."""
TOTAL = "total"
REFERENCE_TIMES = "reference_times"
log = logging.getLogger(__name__)


def plan(recipe: Recipe, others: Sequence[Recipe] = ()) -> Plan:
    """What the stage would read and write."""
    runs = {f"runs of {other.name}": other.run_folder("") for other in others}
    corpus = Path(recipe.corpus.manifest).parent
    return {}, {"corpus": corpus, "runs": recipe.run_folder(""), **runs, "summary": _home(recipe)}


def demo(recipe: Recipe, others: Sequence[Recipe] = (), *, device: str = "auto") -> str:
    """Run every stage, write summary.json, summary.md and plots, and return the summary as text.

    Phase two goes side by side on the cores that there are. Every stage keeps what it has finished, so a demo that was
    killed goes on where it was.

    Args:
        recipe: the experiment, with a synthetic corpus.
        others: further translators on its store, or trained together with its encoder.
        device: where it computes.

    Raises:
        SltError: the recipe has no synthetic corpus, or a stage refuses it.
    """
    if recipe.synth is None:
        raise SltError(f"recipe {recipe.name} has no `synth` section, which the demo renders")
    home = _home(recipe)
    home.mkdir(parents=True, exist_ok=True)
    clock = _Clock(home / "steps.json")
    clock.run("synth", lambda: _synth(recipe))
    clock.run("validate", lambda: _validate(recipe))
    if recipe.visual_train.init == "visual_pretrain":
        clock.run("visual-pretrain", lambda: visual_pretrain(recipe, device=device))
    clock.run("visual-train", lambda: visual_train(recipe, device=device))
    side_by_side(_jobs(recipe, others, device), min(MOST_AT_ONCE, num_cores()), 1, clock.keep)
    swept = clock.run("sweep", lambda: sweep(recipe, device=device))  # of runs that are made by now
    scored = clock.run("evaluate", lambda: _evaluate(recipe, others, device))
    fresh = clock.run("translate", lambda: _translate_fresh(recipe, home, device))
    plots = clock.run("plots", lambda: _plots(recipe, others, home, fresh))
    summary = _summary(recipe, clock, swept["rows"], scored, fresh, plots)
    write_json(home / "summary.json", summary)
    write_text(home / "summary.md", demo_page(summary, markdown_table))
    return demo_page(summary, text_table)


class _Clock:
    """Runs the steps and remembers the seconds that each took, and all of them, over restarts."""

    def __init__(self, path: Path):
        self.path, self.started = path, time.monotonic()
        self.seconds: dict[str, float] = read_json(path) if path.is_file() else {}
        self.before = self.seconds.pop(TOTAL, sum(self.seconds.values()))

    @property
    def total(self) -> float:
        """What a clock on the wall would say, which is less than the sum where steps went side by side."""
        return round(self.before + time.monotonic() - self.started, 1)

    def run(self, name: str, step: Callable[[], Any]) -> Any:
        log.info("demo: %s", name)
        started = time.monotonic()
        try:
            return step()
        finally:
            self._add(name, time.monotonic() - started)

    def keep(self, ended: Ended) -> None:
        """Take in a step that had a process of its own.

        Raises:
            SltError: it came to nothing.
        """
        self._add(ended.job.name, ended.seconds)
        if ended.error is not None:
            raise SltError(f"{ended.job.name}: {ended.error}")

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 1)
        write_json(self.path, {**self.seconds, TOTAL: self.total})


def _jobs(recipe: Recipe, others: Sequence[Recipe], device: str) -> list[Job]:
    """Phase two, and the extraction before it: what takes longest first, so that the last ones end together.

    Each has one thread, with which it is as fast as with two, and its numbers do not depend on the machine.
    """

    def training(name: str, stage: Callable[..., Any], of: Recipe, needs: Sequence[str]) -> Job:
        done = (of.run_folder(stage.__name__) / RESULT).is_file()
        return Job(name, partial(stage, device=device), (of,), tuple(needs), here=done)

    basis = [
        Job("extract", partial(_extract, device=device), (recipe,)),
        training("gloss2text-train", gloss2text_train, recipe, ()),
    ]
    needs = tuple(job.name for job in basis)
    names = {recipe.name: "translate-train"}
    names |= {other.name: f"{_stage(other).__name__.replace('_', '-')} {other.name}" for other in others}
    translators = []
    for of in (recipe, *others):
        first = names.get(of.uses.translator or "")  # a run that is named by its folder is there
        translators.append(training(names[of.name], _stage(of), of, (*needs, first) if first else needs))
        if of.uses.translator:
            given = partial(_extract_tuned, device=device)
            translators.append(Job(f"extract {of.name}", given, (of,), (names[of.name],)))
    runs = [replace(run, name=f"sweep {run.name}", needs=needs) for run in sweep_jobs(recipe, device=device)]
    return [*basis, *translators, *runs]


def _stage(recipe: Recipe) -> Callable[..., Any]:
    """What trains a recipe's translator: on the store, or together with the encoder, starting from another's."""
    return joint_train if recipe.uses.translator else translate_train


def _synth(recipe: Recipe) -> None:
    assert recipe.synth is not None
    synthesize(recipe.synth, Path(recipe.corpus.manifest).parent, seed=recipe.seed)


def _validate(recipe: Recipe) -> None:
    report = validate(Path(recipe.corpus.manifest), sampling=recipe.video.sampling)
    if not report.ok:
        raise SltError("; ".join(report.lines(limit=1)))


def _extract(recipe: Recipe, *, device: str) -> None:
    report = extract(recipe, device=device)
    if report.rejected:
        raise SltError(f"{report.rejected} clips could not be encoded; see {report.rejected_file}")


def _extract_tuned(joint: Recipe, *, device: str) -> None:
    """Encode the clips with the encoder of a joint run, which its translator is scored on, and fit its confidence."""
    run = joint.run_folder(joint_train.__name__)
    opened = opened_as(joint, run)
    _extract(opened, device=device)
    confidence(opened, device=device, run=run)


def _evaluate(recipe: Recipe, others: Sequence[Recipe], device: str) -> list[dict[str, Any]]:
    """Scores of the recipe's tasks, and of what the other translators do by themselves."""
    rows = [{"system": _label(recipe), **row} for row in evaluate(recipe, device=device)["rows"]]
    for other in others:
        run = other.run_folder(_stage(other).__name__) if other.uses.translator else None
        opened = opened_as(other, run) if run else other
        scored = evaluate(opened, device=device, run=run, tasks=own_tasks(opened, run))["rows"]
        rows += [{"system": _label(other), **row} for row in scored]
    return rows


def _translate_fresh(recipe: Recipe, home: Path, device: str) -> list[dict[str, Any]]:
    """Three videos of sentences that are in no split, rendered for this and translated without their labels."""
    assert recipe.synth is not None
    if recipe.synth.source == "grammar":
        counts = {"num_train": 0, "num_dev": 0, "num_test": 4 * NUM_FRESH, "isolated_per_gloss": 0}
        config = recipe.synth.model_copy(update={**counts, "isolated_dev_per_gloss": 0})
        synthesize(config, home / "fresh", seed=recipe.seed + 1)
        root = home / "fresh"
        known = {clip.text for clip in read_manifest(recipe.corpus.manifest)}
        clips = [clip for clip in read_manifest(root / "manifest.jsonl") if clip.text not in known][:NUM_FRESH]
    else:
        root, clips = media_root(recipe.corpus), load_clips(recipe.corpus.manifest, "test")[:NUM_FRESH]
    system = Translate(recipe, device=device)
    results = []
    for clip in clips:
        result = system.video(str(root / clip.video))
        right = {"reference": clip.text, "reference_glosses": list(clip.gloss or ())}
        results.append({**result, **right, REFERENCE_TIMES: reference_times(clip)})
    write_json_lines(home / "translations.jsonl", results)
    return results


def _plots(recipe: Recipe, others: Sequence[Recipe], home: Path, fresh: list[dict[str, Any]]) -> list[str]:
    stages = ("visual_pretrain", "visual_train", "gloss2text_train", "translate_train")
    records = {stage: read_json_lines(recipe.run_folder(stage) / "metrics.jsonl") for stage in stages}
    for other in others:
        stage = _stage(other).__name__
        name = stage if stage not in records else f"{stage}_{_label(other)}"
        records[name] = read_json_lines(other.run_folder(stage) / "metrics.jsonl")
    paths = []
    for stage, found in records.items():
        if found:
            paths.append(home / f"loss_{stage}.png")
            plot_losses(found, paths[-1])
    paths.append(home / "wer_visual_train.png")
    plot_wer(records["visual_train"], paths[-1])
    sample = fresh[0]
    frames = open_video(sample["video"], None)
    spans = [(g["gloss"], g["start"], g["end"]) for g in sample["glosses"]]
    reference = None
    if sample[REFERENCE_TIMES]:
        reference = [(g, *t) for g, t in zip(sample["reference_glosses"], sample[REFERENCE_TIMES], strict=True)]
    paths.append(home / "timeline.png")
    plot_gloss_timeline(frames.read(), spans, reference, paths[-1], fps=frames.fps)
    return [path.name for path in paths]


def _summary(recipe: Recipe, clock: _Clock, swept: list, scored: list, fresh: list, plots: list) -> dict[str, Any]:
    own = _label(recipe)
    scores = {
        f"{row['task']} {row['split']}" + ("" if row["system"] == own else f" {row['system']}"): row for row in scored
    }
    return {
        "recipe": recipe.name,
        "slt": __version__,
        "seed": recipe.seed,
        "clips": {split: len(read_manifest(recipe.corpus.manifest, split)) for split in ("train", "dev", "test")},
        "seconds": clock.seconds,
        "seconds_total": clock.total,
        "scores": scores,
        "sweep": swept,
        "translations": [{k: v for k, v in result.items() if k != REFERENCE_TIMES} for result in fresh],
        "plots": plots,
    }


def _label(recipe: Recipe) -> str:
    """What the summary calls a recipe: `mmtlb` for demo/mmtlb."""
    return recipe.name.rpartition("/")[2]


def _home(recipe: Recipe) -> Path:
    """Folder of the summary: runs/demo for demo/mmtlb."""
    return Path(recipe.runs_dir) / recipe.name.split("/")[0]
