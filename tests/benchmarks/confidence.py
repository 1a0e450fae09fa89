"""How well `slt translate` tells what it knows: test clips beside other signing, noise, stills and spoiled clips.

    python tests/benchmarks/confidence.py --real ../shared/data/videos            (a demo has been made: `make demo`)
    python tests/benchmarks/confidence.py --run runs/demo/cvslt/translate_train --clips 5

Prints Markdown: for every kind of video how many of them carry a warning, the area under the curve by which confidence
tells them from the test clips, and mean confidence beside mean sentence chrF where the words are still those of the
clip; then, of the test clips, correlation and calibration.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import odd_videos
from sklearn.datasets import load_sample_images
from sklearn.metrics import roc_auc_score

from slt_pipeline.avatar import synthesize
from slt_pipeline.config.recipe import Recipe, load_recipe, recipe_of_run
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.corpora.manifest import read_manifest
from slt_pipeline.metrics.correlation import spearman
from slt_pipeline.metrics.protocols import get_protocol
from slt_pipeline.report.tables import markdown_table
from slt_pipeline.stages.translate import Translate
from slt_pipeline.video.reader import open_video

SAME_WORDS = ("spoiled clips", "other lengths", "nothing odd", "other signers")
BINS = 4


@dataclass(frozen=True)
class Case:
    """One video."""

    group: str
    kind: str
    path: Path
    reference: str | None = None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo/mmtlb")
    parser.add_argument("--run", type=Path, help="folder of a translator; by default the recipe's own")
    parser.add_argument("--real", type=Path, help="folder of real signing videos")
    parser.add_argument("--clips", type=int, default=15, help="of each kind that is made of test clips")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recipe = recipe_of_run(options.run) if options.run else load_recipe(options.recipe)
    system = Translate(recipe, run=options.run)
    with tempfile.TemporaryDirectory() as folder:
        cases = [*_test(recipe), *_odd(recipe, options.clips, options.seed, Path(folder))]
        cases += [*_signers(recipe, options.clips, Path(folder)), *_pictures(Path(folder))]
        cases += _real(options.real, Path(folder)) if options.real else []
        found = [(case, system.video(str(case.path))) for case in cases]
    rules = get_protocol(recipe.corpus.protocol)
    rows = [{"case": case, "chrf": _quality(rules, result["text"], case.reference), **result} for case, result in found]
    print(markdown_table(_kinds(rows)), "", _of_test(rows), sep="\n")


def _quality(rules: Any, text: str, reference: str | None) -> float | None:
    return None if reference is None else rules.sentence_chrf([text], [reference])[0]


def _test(recipe: Recipe) -> Iterator[Case]:
    for clip in load_clips(recipe.corpus.manifest, "test"):
        yield Case("", "test clips", media_root(recipe.corpus) / clip.video, clip.text)


def _odd(recipe: Recipe, number: int, seed: int, folder: Path) -> Iterator[Case]:
    """Yield the kinds that are made of test clips."""
    clips = load_clips(recipe.corpus.manifest, "test")
    clips = clips[:: max(1, len(clips) // number)][:number]
    frames = [open_video(str(media_root(recipe.corpus) / clip.video), None).read() for clip in clips]
    draw = np.random.default_rng(seed)
    for group, kinds in odd_videos.KINDS.items():
        for kind, odd in kinds.items():
            for clip, of_clip in zip(clips, frames, strict=True):
                made, fps = odd(of_clip, frames, draw)
                path = odd_videos.write_video(folder / group / kind / f"{clip.id}.mp4", made, fps)
                words = group in SAME_WORDS and kind != "six clips in one"
                yield Case(group, kind, path, clip.text if words else None)


def _signers(recipe: Recipe, number: int, folder: Path) -> Iterator[Case]:
    """Yield sentences of the same grammar by signers whom the corpus has not."""
    if recipe.synth is None or recipe.synth.source != "grammar":
        return
    counts = {"num_train": 0, "num_dev": 0, "num_test": number, "isolated_per_gloss": 0, "isolated_dev_per_gloss": 0}
    for seed in (recipe.seed + 1, recipe.seed + 4):
        root = folder / f"signers-{seed}"
        synthesize(recipe.synth.model_copy(update=counts), root, seed=seed, workers=1, progress=False)
        for clip in read_manifest(root / "manifest.jsonl"):
            yield Case("other signers", f"drawn with seed {seed}", root / clip.video, clip.text)


def _pictures(folder: Path) -> Iterator[Case]:
    """Yield two photographs, still and with the camera moving over them."""
    for number, picture in enumerate(load_sample_images().images):
        for corner in ((0, 0), (100, 100), (200, 300), (50, 200)):
            cut = [picture[corner[0] : corner[0] + 200, corner[1] + t : corner[1] + t + 200] for t in range(60)]
            for kind, frames in (("a photograph", [cut[0]] * 60), ("moving over a photograph", cut)):
                name = f"{number}-{corner[0]}-{corner[1]}.mp4"
                yield Case("still pictures", kind, odd_videos.write_video(folder / kind / name, np.stack(frames)))


def _real(real: Path, folder: Path) -> Iterator[Case]:
    for path in sorted(real.glob("*.*")):
        yield Case("other signing", "real clips, whole", path)
    for name, frames, fps in odd_videos.real_pieces(real):
        path = odd_videos.write_video(folder / "pieces" / f"{name}.mp4", frames, fps)
        yield Case("other signing", "the same in pieces of 3 s", path)
        still = np.repeat(frames[len(frames) // 2][None], 60, axis=0)
        path = odd_videos.write_video(folder / "frozen" / f"{name}.mp4", still)
        yield Case("still pictures", "a frame of a real clip", path)


def _kinds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a kind."""
    kinds = dict.fromkeys((row["case"].group, row["case"].kind) for row in rows)
    known = [row["confidence"] for row in rows if not row["case"].group]
    table = []
    for group, kind in kinds:
        mine = [row for row in rows if (row["case"].group, row["case"].kind) == (group, kind)]
        confidence = [row["confidence"] for row in mine]
        labels = [0] * len(known) + [1] * len(mine)
        chrf = [row["chrf"] for row in mine if row["chrf"] is not None]
        table.append(
            {
                "group": group,
                "kind": kind,
                "videos": len(mine),
                "warned, %": round(100 * np.mean([bool(row["warnings"]) for row in mine])),
                "AUC": roc_auc_score(labels, [-c for c in (*known, *confidence)]) if group else None,
                "confidence": float(np.mean(confidence)),
                "chrF / 100": float(np.mean(chrf)) if chrf else None,
            }
        )
    return table


def _of_test(rows: Sequence[dict[str, Any]]) -> str:
    """Return correlation and calibration of the test clips."""
    known = sorted((row["confidence"], row["chrf"]) for row in rows if not row["case"].group)
    confidence, chrf = np.array(known).T
    rank = spearman(confidence, chrf)
    bins = [
        {"clips": len(part), "confidence": float(part[:, 0].mean()), "chrF / 100": float(part[:, 1].mean())}
        for part in np.array_split(np.array(known), BINS)
    ]
    pearson = np.corrcoef(confidence, chrf)[0, 1]
    return f"Pearson {pearson:.2f}, Spearman {rank:.2f}\n\n{markdown_table(bins)}"


if __name__ == "__main__":
    main()
