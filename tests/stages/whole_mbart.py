"""A whole mBART folder as one has it from a hub, small, and a manifest: what `slt lm` makes its folders of."""

import io
import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import sentencepiece
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from slt_pipeline.cli.main import cli
from slt_pipeline.config.translator import MBartConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.models.mbart import TIED_NAMES, build_mbart
from slt_pipeline.text.tokenizer import Tokenizer

SIZE = MBartConfig(d_model=16, num_layers=1, num_heads=2, ffn_dim=32, max_positions=40)
TEXTS = {
    "train": ["am montag regnet es im norden .", "am dienstag scheint die sonne .", "regen und schnee im süden ."],
    "dev": ["der wind weht stark aus dem westen ."],
    "test": ["morgen wird es kälter ."],
}
GLOSSES = {"train": "REGEN  MONTAG neg-VIEL", "dev": "STARK WIND", "test": "KÄLTER MORGEN"}
OTHERS = [
    "zwölf boxkämpfer jagen viktor quer über den großen sylter deich",
    "the quick brown fox jumps over a lazy dog",
]


def clips_of(split: str) -> list[Clip]:
    glosses = tuple(GLOSSES[split].split())
    return [
        Clip(f"{split}/{number}", "x.mp4", 9, 25.0, "a", glosses if number == 0 else None, text, split)
        for number, text in enumerate(TEXTS[split])
    ]


def _spm() -> bytes:
    """A unigram model as mBART's is: NFKC, one piece for each character at least, and many more."""
    out = io.BytesIO()
    lines = [text for texts in TEXTS.values() for text in texts] + [g.lower() for g in GLOSSES.values()] + OTHERS
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=out,
        model_type="unigram",
        vocab_size=160,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return out.getvalue()


def whole_mbart(root: Path) -> SimpleNamespace:
    """Make both; `tokenizer` is that of the folder."""
    folder, model = root / "whole", _spm()
    folder.mkdir()
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    tokenizer = Tokenizer(model)
    torch.manual_seed(3)
    mbart = build_mbart(SIZE, tokenizer.vocab_size).eval()
    for parameter in mbart.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(mbart.final_logits_bias, std=0.5)
    _save(mbart, folder)
    settings = {"model_type": "mbart", "vocab_size": tokenizer.vocab_size, "d_model": 16, "scale_embedding": True}
    for side in ("encoder", "decoder"):
        settings |= {f"{side}_layers": 1, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 32}
    gone = tokenizer.encode("quick")[0]
    settings |= {"max_position_embeddings": 40, "decoder_start_token_id": tokenizer.language_id, "eos_token_id": 2}
    settings |= {"task_specific_params": {"x": {"forced_bos_token_id": gone, "num_beams": 4}}}
    (folder / "config.json").write_text(json.dumps(settings))
    write_manifest(root / "manifest.jsonl", [clip for split in TEXTS for clip in clips_of(split)])
    return SimpleNamespace(folder=folder, manifest=root / "manifest.jsonl", tokenizer=tokenizer, root=root)


def _save(mbart, folder: Path) -> None:
    state = {name: value.contiguous() for name, value in mbart.state_dict().items() if name not in TIED_NAMES}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def slt(*arguments: str | Path) -> Result:
    """Run a command in this process; an exception that is not click's comes out as it is."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def prune(theirs: SimpleNamespace, to: Path, *more: str, folder: Path | None = None) -> SimpleNamespace:
    """`slt lm prune`, and what it has made."""
    slt("lm", "prune", folder or theirs.folder, "--manifest", theirs.manifest, "--to", to, *more)
    return SimpleNamespace(folder=to, tokenizer=Tokenizer.load(to), config=json.loads((to / "config.json").read_text()))


def published(theirs, pruned, folder: Path) -> Path:
    """The folder as the published code keeps one: pickles, and weights for torch.load."""
    folder.mkdir()
    ids = {int(old): new for old, new in json.loads((pruned.folder / "map_ids.json").read_text()).items()}
    for name in ("config.json", "sentencepiece.bpe.model"):
        (folder / name).write_bytes((pruned.folder / name).read_bytes())
    torch.save(load_file(pruned.folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "map_ids.pkl").write_bytes(pickle.dumps(ids))
    names = ["<s>", "<pad>", "</s>", "<unk>", "regen", "montag"]
    (folder / "gloss2ids.pkl").write_bytes(pickle.dumps({name: number for number, name in enumerate(names)}))
    torch.save({name: torch.full((16,), float(number)) for number, name in enumerate(names)}, folder / "g.bin")
    (folder / "g.bin").rename(folder / "gloss_embeddings.bin")
    return folder
