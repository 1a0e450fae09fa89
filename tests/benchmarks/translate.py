"""Ratios of phase two to the plain loop (`translate_plain.py`), each measured in one run, in turns.

    make demo
    python tests/benchmarks/translate.py epoch passes wide decoding sweep ablation published memory

Parts: `epoch`, training and validation at the demo's size; `passes`, the plain loop beside an epoch's forward and
backward passes alone, which is what any loop could gain at most; `wide`, as `epoch` at width 512; `decoding`, of a
split, in file order at the size of training batches, and as `slt evaluate` does; `sweep`, eight runs, one process after
the other, and `slt sweep --jobs 2`; `ablation`, an epoch on the store, and on clips that are encoded anew; `published`,
the same with S3D of the published width; `memory`, of validation with the whole vocabulary of mBART.
They read the demo's store and models, which stay as they are.

Each loop has a process of its own, which lives through all rounds, and begins each from the same weights. Beside the
seconds on the wall stand those of the processor, which say more where a machine has other things to do.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType

import torch
from process_status import kibibytes
from translate_plain import RATE, Plain, read_features, write_features

from slt_pipeline.cli.options import load
from slt_pipeline.config.recipe import Recipe
from slt_pipeline.config.training import OptimiserConfig
from slt_pipeline.config.translator import GenerationConfig, MBartConfig, MMTLBConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.features import FeatureDataset, as_it_is
from slt_pipeline.corpora.labels import TextLabels, no_labels
from slt_pipeline.corpora.load import load_clips, media_root
from slt_pipeline.models.language import EncoderInput
from slt_pipeline.models.mmtlb import MMTLB
from slt_pipeline.models.sign_to_text import SignToText
from slt_pipeline.models.visual_encoder import VisualEncoder
from slt_pipeline.systems.decoding import Sign2Text
from slt_pipeline.systems.encoding import ClipEncoder, Encoded, FrameReader
from slt_pipeline.systems.features import open_features, widths_of
from slt_pipeline.systems.recogniser import shape_of
from slt_pipeline.systems.scores import score_texts
from slt_pipeline.systems.start import Start
from slt_pipeline.training.devices import pick_device
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
ENCODED = 8
"""Clips that S3D of the published width encodes."""
SHORT = ("translate_train.training.epochs=5", "translate_train.training.gate=null")
BF16 = ("translate_train.training.precision=bf16",)
SPLITS = ("train", "dev")
Seconds = tuple[float, float]
"""On the wall, and of the processor."""


class Ours:
    """The same model, trained and decoded by the project's own loop."""

    def __init__(self, recipe: Recipe, model: SignToText):
        """Read the recipe's store."""
        self.recipe, self.model, self.start = recipe, model, Start.of(recipe)
        self.train_clips, self.dev_clips = (load_clips(recipe.corpus.manifest, s, needs=["text"]) for s in SPLITS)
        self.store = open_features(recipe)

    def decode(self, clips: Sequence[Clip]) -> list[str]:
        """Return the texts of clips."""
        features = FeatureDataset(self.store, self.recipe.translator.stream, clips, no_labels)
        system = Sign2Text(self.model.eval(), self.start.vocabularies)
        found = system.translate_features(
            features, self.recipe.translate_train.generation, self.recipe.evaluate.batch_size
        )
        return found[0]

    def passes(self) -> None:
        """Forward and backward of an epoch's batches, of clips of like lengths, and nothing else: no loop has less."""
        self.model.train()
        for batch in self._batches:
            self.model(batch, ("translation",))["translation"].backward()
        self.model.zero_grad()

    @cached_property
    def _batches(self) -> list[dict[str, torch.Tensor]]:
        labels, size = TextLabels(self.start.vocabularies.text), self.recipe.translate_train.training.batch_size
        dataset = FeatureDataset(self.store, self.recipe.translator.stream, self.train_clips, labels)
        clips = sorted(self.train_clips, key=lambda clip: (dataset.length(clip), len(clip.text or "")))
        return [dataset.batch(clips[start : start + size]) for start in range(0, len(clips), size)]

    def epoch_and_validation(self) -> None:
        """One epoch of `slt translate-train`, its checkpoint and its validation."""
        config = self.recipe.translate_train.training.model_copy(
            update={
                "epochs": 1,
                "validate_every": 1,
                "bucket": True,
                "optimiser": OptimiserConfig(lr={"default": RATE}),
            }
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
            lengths=[dataset.length(c) + len(self.start.vocabularies.text.encode(c.text or "")) for c in clips],
        )
        with tempfile.TemporaryDirectory() as folder:
            train(trainable, config, Path(folder), seed=1, device=pick_device("cpu"), title="epoch")


class Loop:
    """One of the loops in a process of its own."""

    def __init__(self, kind: str, recipe_name: str, changes: Sequence[str], folder: Path):
        """Start it; the first one of a size and folder makes the weights that all begin from."""
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, kind, recipe_name, tuple(changes), folder))
        self.process.start()
        self.pipe.recv()

    def __call__(self, what: str) -> Seconds:
        """Do something and return how long it took."""
        self.pipe.send(what)
        return self.pipe.recv()

    def end(self) -> None:
        """Take its memory back."""
        self.pipe.send(None)
        self.process.join()


def _serve(pipe: Connection, kind: str, recipe_name: str, changes: Sequence[str], folder: Path) -> None:
    recipe, begin = load(recipe_name, tuple(changes)), folder / "begin.pt"
    model = _started(recipe)
    plain = Plain(recipe, read_features(folder / "features.pkl.gz"), model) if kind == "plain" else None
    ours = None if plain else Ours(recipe, model)
    if not begin.exists():
        assert plain is not None
        for _ in range(2 if recipe.translate_train.init_language is None else 0):
            plain.epoch()  # a model that has learned nothing never ends a sentence
        torch.save(model.state_dict(), begin)
    weights = torch.load(begin, mmap=True)

    def epoch_and_validation() -> None:
        if ours is not None:
            return ours.passes() if kind == "passes" else ours.epoch_and_validation()
        assert plain is not None
        plain.epoch(), plain.validate()
        return torch.save(plain.model.state_dict(), folder / "plain.pt")

    loop = ours or plain
    assert loop is not None
    clips = [*loop.dev_clips, *load_clips(recipe.corpus.manifest, "test", needs=["text"])]
    pipe.send(None)
    while (what := pipe.recv()) is not None:
        model.load_state_dict(weights)
        pipe.send(_timed(epoch_and_validation if what == "epoch" else lambda: loop.decode(clips)))


def epoch(recipe_name: str, rounds: int, folder: Path) -> None:
    """Training epoch and validation at the demo's size."""
    _in_turns("epoch", "epoch and validation, demo size", recipe_name, rounds, folder)


def passes(recipe_name: str, rounds: int, folder: Path) -> None:
    """What a loop could gain at most, at the demo's size and at width 512."""
    for size, changes, turns in (("demo size", (), rounds), ("width 512", WIDE, 1)):
        with tempfile.TemporaryDirectory(dir=folder) as own:
            _in_turns(
                "epoch", f"no less than its passes, {size}", recipe_name, turns, Path(own), changes, {"passes": ()}
            )


def wide(recipe_name: str, _: int, folder: Path) -> None:
    """Training epoch and validation at width 512, where one round takes a minute."""
    _in_turns("epoch", "epoch and validation, width 512", recipe_name, 1, folder, WIDE, {"ours, bf16": BF16})


def decoding(recipe_name: str, rounds: int, folder: Path) -> None:
    """Decoding of dev and test."""
    _in_turns("decode", "decoding of dev and test", recipe_name, rounds, folder)


def _in_turns(
    what: str,
    title: str,
    recipe_name: str,
    rounds: int,
    folder: Path,
    changes: Sequence[str] = (),
    options: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> None:
    write_features(load(recipe_name, ()), folder / "features.pkl.gz")
    kinds = {"plain": (), "ours": (), **options}
    loops = {name: Loop(name.partition(",")[0], recipe_name, (*changes, *more), folder) for name, more in kinds.items()}
    _told(title, _turns({name: partial(loop, what) for name, loop in loops.items()}, rounds))
    for loop in loops.values():
        loop.end()


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

    seconds = {name: [_timed(call)] for name, call in (("plain", plain), ("ours", ours))}
    _told("a sweep of 8 runs", seconds, processor=False)  # nobody here waits for its workers, and is told theirs


def ablation(recipe_name: str, _: int, folder: Path) -> None:
    """One epoch of training that reads the store, and one that encodes its clips first."""
    recipe = load(recipe_name, ())
    ours = Ours(recipe, _started(recipe))
    given = [part for each in (f"extract.store={folder / 'again'}",) for part in ("-o", each)]

    def encode() -> None:
        _call("-m", "slt_pipeline.cli.main", "extract", "--split", "train", "-r", recipe_name, *given)

    ours.epoch_and_validation()
    from_store, encoding = _timed(ours.epoch_and_validation), _timed(encode)
    both = (from_store[0] + encoding[0], from_store[1] + encoding[1])
    _told("an epoch of another mapper input", {"encoded anew": [both], "from the store": [from_store]})


def published(recipe_name: str, _: int, folder: Path) -> None:
    """The same where S3D has its published width and 224x224 pixels: some clips are encoded, all take in proportion."""
    recipe = load(recipe_name, ())
    large = load(recipe_name, ("encoder.s3d.width=1", "video.transform.image_size=224"))
    clips = load_clips(recipe.corpus.manifest, "train", needs=["text"])
    reader = FrameReader(large.video, shape_of(recipe.encoder_folder), torch.device("cpu"))
    encoder = ClipEncoder(VisualEncoder(large.encoder, 100).eval(), reader)  # what it has learned costs nothing

    def encode() -> None:
        for _, found in encoder.clips(clips[:ENCODED], media_root(recipe.corpus)):
            assert isinstance(found, Encoded)

    ours = Ours(recipe, _started(recipe))
    ours.epoch_and_validation()
    from_store, encoding = _timed(ours.epoch_and_validation), _timed(encode)
    both = tuple(a + b * len(clips) / ENCODED for a, b in zip(from_store, encoding, strict=True))
    _told("the same, S3D as published", {"encoded anew": [(both[0], both[1])], "from the store": [from_store]})


def memory(*_: object) -> None:
    """What validation takes above the model: 250,027 pieces, 32 clips, 5 beams, 100 steps."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_peak, args=(sender,))
    process.start()
    print(f"memory of validation above the model: {receiver.recv():.2f} GB", flush=True)
    process.join()


class _Whole:
    """The vocabulary of mBART as it was published."""

    language_id, vocab_size, byte_pieces = 250_003, 250_027, 0

    def gloss_pieces(self, name: str) -> list[int]:
        raise NotImplementedError(name)


def _peak(sender) -> None:
    mbart = MBartConfig(d_model=1024, num_layers=1, num_heads=16, ffn_dim=4096)
    model = MMTLB(MMTLBConfig(mbart=mbart, suffix="txt"), _Whole(), None, in_features=512).eval()
    source = EncoderInput(torch.randn(32, 60, 1024), torch.ones(32, 60, dtype=torch.int64))
    model.states(source)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: building the model took more
    before = kibibytes("VmRSS")
    model.generate(source, **GenerationConfig(num_beams=5, max_length=100).model_dump())
    sender.send((kibibytes("VmHWM") - before) / 2**20)


def _started(recipe: Recipe) -> SignToText:
    torch.manual_seed(recipe.seed)
    model = Start.of(recipe).build(widths_of(open_features(recipe)))
    if recipe.translate_train.init_language is None:
        return model
    return _trained(recipe)


def _trained(recipe: Recipe) -> SignToText:
    from slt_pipeline.systems.tasks import Systems

    return Systems(recipe, torch.device("cpu")).sign2text.model


def _call(*arguments: object) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def _timed(call: Callable[[], object]) -> Seconds:
    since, before = time.perf_counter(), os.times()
    call()
    now = os.times()
    return time.perf_counter() - since, sum(now[:4]) - sum(before[:4])


def _turns(calls: dict[str, Callable[[], Seconds]], rounds: int) -> dict[str, list[Seconds]]:
    found: dict[str, list[Seconds]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            seconds = call()
            if number:  # the first round warms up
                found[name].append(seconds)
    return found


def _told(what: str, seconds: dict[str, list[Seconds]], *, processor: bool = True) -> None:
    (plain, before), *others = seconds.items()
    for ours, now in others:
        told = []
        for place in (0, 1)[: 1 + processor]:
            pairs = [(a[place], b[place]) for a, b in zip(before, now, strict=True)]
            ratios = sorted(a / b for a, b in pairs)
            spread = f" ({ratios[0]:.2f} to {ratios[-1]:.2f})" if len(ratios) > 1 else ""
            was, is_now = (statistics.median(each) for each in zip(*pairs, strict=True))
            told.append(f"{plain} {was:.2f} s, {ours} {is_now:.2f} s: {statistics.median(ratios):.2f}x{spread}")
        print(f"{what}: {'; of the processor '.join(told)}", flush=True)


PARTS = {part.__name__: part for part in (epoch, passes, wide, decoding, sweep, ablation, published, memory)}


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
