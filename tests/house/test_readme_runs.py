"""What README.md and `--help` show is run, at toy size, line by line in one folder, as a reader would."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import command_lines
import pytest
import yaml
from click.testing import CliRunner
from phone_corpus import make_phone_corpus

from slt_pipeline.cli.main import cli
from slt_pipeline.config import recipe as recipes

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What makes the demo's recipe as small as a system can be; whatever is not named here is as it ships.
TRAINING = {"batch_size": 6, "validate_every": 100, "num_workers": 0}
GENERATION = {"num_beams": 2, "max_length": 12}
TOY = {
    "synth": {"num_train": 6, "num_dev": 2, "num_test": 2, "isolated_per_gloss": 1, "isolated_dev_per_gloss": 1}
    | {"signers": 2, "width": 32, "height": 32, "stroke_frames": [3, 4], "transition_frames": [1.5, 2.0]},
    "video": {"transform": {"image_size": 32}},
    "encoder": {"s3d": {"width": 0.03}, "head": {"hidden": 16, "feedforward": 16}},
    "text": {"vocab_size": 80},
    "translator": {"mbart": {"d_model": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 16}},
    "visual_pretrain": {"training": {"epochs": 3, **TRAINING}},  # as many as its help shows
    "visual_train": {"training": {"epochs": 2, **TRAINING}},
    "gloss2text_train": {"training": {"epochs": 2, **TRAINING}, "generation": GENERATION},
    "translate_train": {"training": {"epochs": 2, **TRAINING}, "generation": GENERATION},
    "sweep": {"grid": {"translator.mapper.input": ["gloss_rep", "s3d"]}, "seeds": [1]},
    "evaluate": {"beam_size": 1, "generation": GENERATION},
    "translate": {"beam_size": 1, "generation": GENERATION},
}

# First words of lines that are not run, with the reason.
NOT_RUN = {
    f"data import {data}": "the data sets are not given away; tests/corpora imports small ones in their formats"
    for data in (
        *("phoenix14t", "csl-daily", "how2sign", "kinetics", "wlasl"),
        *("isolated", "elan", "table mine.csv"),
    )
}
NOT_RUN |= dict.fromkeys(
    ("lm", "gloss2text-train -r my.yaml -o text.tokenizer=weights/mbart_my"),
    "mBART's weights are not given away; tests/stages prunes and imports one in its form",
)
NOT_RUN |= dict.fromkeys(
    ("gloss2text-train -r g2t/", "evaluate --ensemble runs/g2t/"),
    "needs PHOENIX-2014T; tests/stages trains Gloss2Text and evaluates an ensemble at toy size",
)
NOT_RUN["evaluate --run runs/g2t/a/gloss2text_train"] = "needs PHOENIX-2014T; tests/stages judges at toy size"
NOT_RUN["compare runs/my/evaluate/sign2text-test.jsonl theirs.jsonl"] = "needs what others made; tests/cli has some"
NOT_RUN["weights import"] = "published weights are not given away; tests/stages imports some in their format"
NOT_RUN["sweep -r cvslt/phoenix14t components"] = "needs PHOENIX-2014T; tests/stages runs one in its shape"
NOT_RUN["visual-train -r demo/mmtlb --device cuda"] = "needs a GPU"
NOT_RUN["visual-train -r my.yaml --processes 2"] = "starts this program anew; tests/distributed does so"
# What a reader of a line does not have yet, where others have made it with other settings. Such lines come last.
STARTS_WITHOUT = {
    "extract --split all --backend hdf5 --dtype float32": "runs/demo/mmtlb/features",
    "cache export-pickle runs/demo/mmtlb/features head_rgb_input/train.pkl --split train": "head_rgb_input",
    "cache import-pickle head_rgb_input/train.pkl head_rgb_input/dev.pkl head_rgb_input/test.pkl features": "features",
    "cache merge part1 part2 features": "features",
    "cache merge part1 part2 features_h5 --backend hdf5 --single-file": "features_h5",
}
# First words of commands that say something by another status than 0.
STATUSES = {"cache diff": {0, 1}}  # 1 where the stores differ, as those of two corpora do


@dataclass(frozen=True)
class Ended:
    """How a line ended."""

    status: int
    said: str


def _lines_of_readme() -> list[str]:
    return [f"slt {_joined(line)}" for line in command_lines.slt_commands(command_lines.shell_lines(README))]


def _examples() -> list[str]:
    texts = list(_help_texts(cli))
    return [line for text in texts for line in re.findall(r"^\s*\$ (slt .*?)(?:   .*)?$", text, re.MULTILINE)]


def _in_order(lines: list[str]) -> list[str]:
    """Those that start without what others need come last, and then those that delete."""
    last = [line for words in STARTS_WITHOUT for line in lines if line == f"slt {words}"]
    last += [line for line in lines if line.startswith("slt cache rm")]
    return [*(line for line in lines if line not in last), *last]


def _help_texts(command: click.Command) -> Iterator[str]:
    yield command.help or ""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _help_texts(child)


def _joined(arguments: list[str]) -> str:
    return " ".join(
        argument if re.fullmatch(r"[\w./:=,@%+-]+", argument) else f"'{argument}'" for argument in arguments
    )


def _skipped(line: str) -> bool:
    return any(line.startswith(f"slt {words}") for words in NOT_RUN)


def _allowed(line: str) -> set[int]:
    return next((statuses for words, statuses in STATUSES.items() if line.startswith(f"slt {words}")), {0})


# `make demo` comes first in README.md, and is this.
FIRST = "slt demo"
LINES = [FIRST, *_lines_of_readme()]
EXAMPLES = _in_order([line for line in dict.fromkeys(_examples()) if line not in LINES])


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """Where the reader is, with the recipes at toy size."""
    shipped, folder = tmp_path / "recipes", tmp_path / "reader"
    folder.mkdir()
    shutil.copytree(ROOT / "recipes", shipped)
    demo = shipped / "demo" / "mmtlb.yaml"
    demo.write_text(yaml.safe_dump(_merged(yaml.safe_load(demo.read_text(encoding="utf-8")), TOY)), encoding="utf-8")
    monkeypatch.setattr(recipes, "_root", lambda: shipped)
    monkeypatch.setenv("SLT_DEBUG", "0")
    monkeypatch.chdir(folder)
    logger = logging.getLogger("slt_pipeline")
    before = logger.handlers[:], logger.level, logger.propagate
    yield folder
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.timeout(900)
def test_every_line_that_is_shown_runs(folder):
    """One test, as each line needs what those before it have made; all that fail are told."""
    ended = {line: _run(line) for line in [*LINES, *EXAMPLES] if not _skipped(line)}
    faults = {line: end.said for line, end in ended.items() if end.status not in _allowed(line)}
    assert not faults, "\n".join(f"$ {line}\n{said}" for line, said in faults.items())
    rejected = (folder / "my" / "manifest.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in rejected] == ["clip 19"]  # the one that is broken
    for runs, seed in (("runs", 1), ("runs2", 2)):  # the second demo is beside the first, not in it
        summary = (folder / runs / "demo" / "summary.md").read_text(encoding="utf-8")
        assert summary.startswith(f"# demo/mmtlb, seed {seed}")


def _merged(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    inner = {k: _merged(data.get(k) or {}, v) if isinstance(v, dict) and k != "grid" else v for k, v in changes.items()}
    return {**data, **inner}


def _run(line: str) -> Ended:
    try:
        _prepare(line)
    except (OSError, AssertionError) as error:
        return Ended(-1, f"what the line needs is not there: {error}")
    return _invoke(line)


def _invoke(line: str) -> Ended:
    (arguments,) = command_lines.slt_commands([line])
    result = CliRunner().invoke(cli, arguments, prog_name="slt", input="y\n")
    return Ended(result.exit_code, f"{result.output}\n{result.exception!r}")


def _prepare(line: str) -> None:
    """What a reader has before a line: videos, the recipe that README.md shows, files that a line before has made."""
    data, made = Path("runs/demo/data"), Path("runs/demo/mmtlb/features")
    if not_there := STARTS_WITHOUT.get(line.removeprefix("slt ")):
        shutil.rmtree(not_there, ignore_errors=True)
    for word in line.split():
        path = Path(word)
        if path.exists():
            continue
        if word == "my/clips.csv":
            make_phone_corpus(data, Path("my"))
        elif word == "my.yaml":
            path.write_text(_yaml_of_readme(0), encoding="utf-8")
        elif word == "variant.yaml":
            path.write_text(_yaml_of_readme(1), encoding="utf-8")
        elif word == "bridge.yaml":
            path.write_text(_yaml_of_readme(2), encoding="utf-8")
        elif word == "joint.yaml":
            path.write_text(_yaml_of_readme(3), encoding="utf-8")
        elif path.suffix == ".mp4" and len(path.parts) == 1:
            shutil.copy(data / "videos" / "test" / "test-00000.mp4", path)
        elif word in ("runs/other/features", "runs/old/features"):
            shutil.copytree(made, path)
        elif word in ("part1", "part2"):
            split = {"part1": "train", "part2": "dev"}[word]
            assert _invoke(f"slt cache subset {made} {word} --split {split} -r demo/mmtlb").status == 0
        elif word.startswith("head_rgb_input/") and "import-pickle" in line:
            assert _invoke(f"slt cache export-pickle {made} {word} --split {path.stem}").status == 0
        elif word == "ids.txt":
            path.write_text("train-00000\ntrain-00001\n", encoding="utf-8")
        elif word in ("hypotheses.txt", "references.txt"):
            path.write_text("morgen regen\nheute sonne\n", encoding="utf-8")
        elif word == "my_corpus/manifest.jsonl":
            shutil.copytree(data, "my_corpus")
        elif word == "M.jsonl":
            shutil.copytree(data / "videos", "videos")
            shutil.copy(data / "manifest.jsonl", word)


def _yaml_of_readme(number: int) -> str:
    return re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[number]


def test_every_exception_is_about_a_line_that_is_shown():
    shown = [*LINES, *_examples()]
    assert [
        words
        for words in (*NOT_RUN, *STATUSES, *STARTS_WITHOUT)
        if not any(line.startswith(f"slt {words}") for line in shown)
    ] == []
