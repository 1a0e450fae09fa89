"""Ratios of phase two to the plain loop (`translate_plain.py`), each measured in one run, in turns.

    make demo
    python tests/benchmarks/translate.py epoch decoding sweep ablation memory

Parts: `epoch`, training and validation, at the demo's size and at width 512; `decoding`, of a split, in file order at
the size of training batches, and as `slt evaluate` does; `sweep`, eight runs, one process after the other, and
`slt sweep --jobs 2`; `ablation`, an epoch on the store, and on clips that are encoded anew; `memory`, of validation
with the whole vocabulary of mBART. They read the demo's store and models, which stay as they are.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from translate_plain import Plain, read_features, write_features

from slt_pipeline.cli.options import load
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.translator import GenerationConfig, MBartConfig, MMTLBConfig
from slt_pipeline.corpora.features import FeatureDataset, as_it_is
from slt_pipeline.corpora.labels import TextLabels, no_labels
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.mmtlb import MMTLB
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.systems.decoding import Sign2Text
from slt_pipeline.systems.features import open_features, widths_of
from slt_pipeline.systems.scores import score_texts
from slt_pipeline.systems.start import Start
from slt_pipeline.training.loop import train
from slt_pipeline.training.objective import Objective
from slt_pipeline.training.trainable import Trainable

WIDE = (
    "translator.mbart.d_model=512",
    "translator.mbart.num_layers=6",
    "translator.mbart.num_heads=8",
    "translator.mbart.ffn_dim=2048",
    "translate_train.init_language=null",
)
SHORT = ("translate_train.training.epochs=5", "translate_train.training.gate=null")


class Ours:
    """The same model, trained and decoded by the project's own loop."""

    def __init__(self, recipe: Recipe, model: SignToText):
        """Read the recipe's store."""
        self.recipe, self.model, self.start = recipe, model, Start.of(recipe)
        plain = Plain(recipe, {}, model)
        self.train_clips, self.dev_clips = plain.train_clips, plain.dev_clips
        self.store = open_features(recipe)

    def decode(self, clips) -> list[str]:
        """Return the texts of clips."""
        features = FeatureDataset(self.store, self.recipe.translator.stream, clips, no_labels)
        system = Sign2Text(self.model.eval(), self.start.vocabularies)
        found = system.translate_features(
            features, self.recipe.translate_train.generation, self.recipe.evaluate.batch_size
        )
        return found[0]

    def epoch_and_validation(self) -> None:
        """One epoch of `slt translate-train`, its checkpoint and its validation."""
        config = self.recipe.translate_train.training.model_copy(
            update={"epochs": 1, "validate_every": 1, "bucket": True}
        )
        stream, clips = self.recipe.translator.stream, self.train_clips
        dataset = FeatureDataset(self.store, stream, clips, TextLabels(self.start.vocabularies.text))

        def validate(_: torch.nn.Module) -> dict[str, float]:
            return score_texts(self.recipe.corpus.protocol, self.decode(self.dev_clips), self.dev_clips)

        objective = Objective({"translation": 1.0})
        trainable = Trainable(
            model=self.model,
            parameter_groups=self.model.parameter_groups(objective.parts),
            dataset=dataset,
            num_items=len(clips),
            collate=as_it_is,
            losses=lambda model, batch: model(batch, objective.parts),
            objective=objective,
            validate=validate,
            score="bleu4",
            higher_is_better=True,
            lengths=[dataset.length(clip) for clip in clips],
        )
        with tempfile.TemporaryDirectory() as folder:
            train(trainable, config, Path(folder), seed=1, device=torch.device("cpu"), title="epoch")


def epoch(recipe_name: str, rounds: int, folder: Path) -> None:
    """Training epoch and validation."""
    for size, changes in (("demo size", ()), ("width 512", WIDE)):
        recipe = load(recipe_name, changes)
        model = _started(recipe)
        plain, ours = _both(recipe, model, folder)
        if changes:
            plain.epoch(), plain.epoch()  # a model that has learned nothing never ends a sentence

        def loop(plain: Plain = plain, folder: Path = folder) -> None:
            plain.epoch(), plain.validate()
            torch.save(plain.model.state_dict(), folder / "plain.pt")

        _told(f"epoch and validation, {size}", _turns({"plain": loop, "ours": ours.epoch_and_validation}, rounds))


def decoding(recipe_name: str, rounds: int, folder: Path) -> None:
    """Decoding of dev and test."""
    recipe = load(recipe_name, ())
    plain, ours = _both(recipe, _started(recipe), folder)
    clips = [*plain.dev_clips, *_test(recipe)]
    seconds = _turns({"plain": lambda: plain.decode(clips), "ours": lambda: ours.decode(clips)}, rounds)
    _told(f"decoding of {len(clips)} clips", seconds)


def sweep(recipe_name: str, _: int, folder: Path) -> None:
    """Eight runs of five epochs, scored on dev and test."""
    write_features(load(recipe_name, ()), folder / "features.pkl.gz")
    script = Path(__file__).with_name("translate_plain.py")

    def plain() -> None:
        for seed in range(8):
            _call(script, folder / "features.pkl.gz", recipe_name, 5, seed, *SHORT)

    def ours() -> None:
        recipe = load(recipe_name, ())
        own = [
            f"runs_dir={folder / 'runs'}",
            f"corpus.manifest={Path(recipe.corpus.manifest).resolve()}",
            f"extract.store={Path(recipe.store).resolve()}",
            f"uses.encoder={recipe.encoder_folder.resolve()}",
            f"uses.language={recipe.language_folder.resolve()}",
        ]
        grid = ["sweep.grid={translator.mapper.input: [gloss_rep]}", f"sweep.seeds={list(range(8))}"]
        given = [part for each in (*SHORT, *grid, *own) for part in ("-o", each)]
        _call("-m", "slt_pipeline.cli.main", "sweep", "--jobs", 2, "-r", recipe_name, *given)

    _told("a sweep of 8 runs", {name: [_timed(call)] for name, call in (("plain", plain), ("ours", ours))})


def ablation(recipe_name: str, _: int, folder: Path) -> None:
    """One epoch of training that reads the store, and one that encodes its clips first."""
    recipe = load(recipe_name, ())
    _, ours = _both(recipe, _started(recipe), folder)
    given = [part for each in (f"extract.store={folder / 'again'}",) for part in ("-o", each)]

    def encode() -> None:
        _call("-m", "slt_pipeline.cli.main", "extract", "--split", "train", "-r", recipe_name, *given)

    ours.epoch_and_validation()
    from_store, encoding = _timed(ours.epoch_and_validation), _timed(encode)
    _told("an epoch of another mapper input", {"encoded anew": [encoding + from_store], "from the store": [from_store]})


def memory(*_: object) -> None:
    """What validation takes above the model: 250,027 pieces, 32 clips, 5 beams, 100 steps."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_peak, args=(sender,))
    process.start()
    print(f"memory of validation above the model: {receiver.recv():.2f} GB", flush=True)
    process.join()


class _Whole:
    """The vocabulary of mBART as it was published."""

    language_id, vocab_size = 250_003, 250_027

    def gloss_pieces(self, name: str) -> list[int]:
        raise NotImplementedError(name)


def _peak(sender) -> None:
    mbart = MBartConfig(d_model=1024, num_layers=1, num_heads=16, ffn_dim=4096)
    model = MMTLB(MMTLBConfig(mbart=mbart, suffix="txt"), _Whole(), None, in_features=512).eval()
    source = EncoderInput(torch.randn(32, 60, 1024), torch.ones(32, 60, dtype=torch.int64))
    model.states(source)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model.generate(source, **GenerationConfig(num_beams=5, max_length=100).model_dump())
    sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)


def _started(recipe: Recipe) -> SignToText:
    torch.manual_seed(recipe.seed)
    model = Start.of(recipe).build(widths_of(open_features(recipe)))
    if recipe.translate_train.init_language is None:
        return model
    return _trained(recipe)


def _trained(recipe: Recipe) -> SignToText:
    from slt_pipeline.systems.tasks import Systems

    return Systems(recipe, torch.device("cpu")).sign2text.model


def _both(recipe: Recipe, model: SignToText, folder: Path) -> tuple[Plain, Ours]:
    path = folder / "features.pkl.gz"
    write_features(recipe, path)
    return Plain(recipe, read_features(path), model), Ours(recipe, model)


def _test(recipe: Recipe):
    from slt_pipeline.corpora.load import load_clips

    return load_clips(recipe.corpus.manifest, "test", needs=["text"])


def _call(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def _timed(call: Callable[[], object]) -> float:
    since = time.perf_counter()
    call()
    return time.perf_counter() - since


def _turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            seconds = _timed(call)
            if number:  # the first round warms up
                found[name].append(seconds)
    return found


def _told(what: str, seconds: dict[str, list[float]]) -> None:
    (plain, before), (ours, now) = seconds.items()
    ratios = sorted(a / b for a, b in zip(before, now, strict=True))
    spread = f" ({ratios[0]:.2f} to {ratios[-1]:.2f})" if len(ratios) > 1 else ""
    print(
        f"{what}: {plain} {statistics.median(before):.2f} s, {ours} {statistics.median(now):.2f} s: "
        f"{statistics.median(ratios):.2f}x{spread}",
        flush=True,
    )


PARTS = {part.__name__: part for part in (epoch, decoding, sweep, ablation, memory)}


def main() -> None:
    """Print one line for every ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--recipe", default="demo/mmtlb")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"torch {torch.__version__} ({capability}), {torch.get_num_threads()} threads of {os.cpu_count()} cores")
    for part in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](options.recipe, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
