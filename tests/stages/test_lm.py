"""An mBART folder of any source becomes one for a corpus: pruned, imported, with gloss vectors; and generates alike."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, MBartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from whole_mbart import TEXTS, clips_of, prune, published, slt

from slt_pipeline.config.names import LANGUAGE_CODES
from slt_pipeline.config.translator import MBartConfig
from slt_pipeline.corpora.clip import Clip
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.models.mbart import TIED_NAMES, build_mbart
from slt_pipeline.models.mbart_files import read_weights
from slt_pipeline.text.gloss_vocab import GlossVocabulary
from slt_pipeline.text.tokenizer import Tokenizer


def _model(folder: Path) -> MBartForConditionalGeneration:
    tokenizer = Tokenizer.load(folder)
    return build_mbart(MBartConfig(folder=folder, dropout=0, attention_dropout=0), tokenizer.vocab_size).eval()


def test_new_ids_are_special_tokens_then_languages_then_the_mask_then_pieces_by_first_appearance(theirs, tmp_path):
    tokenizer = prune(theirs, tmp_path / "all", "--split", "train", "--split", "dev", "--split", "test").tokenizer
    added = ["<s>", "<pad>", "</s>", "<unk>", *LANGUAGE_CODES, "<mask>"]
    assert tokenizer.added_tokens == {name: number for number, name in enumerate(added)}
    assert (tokenizer.added_tokens["de_DE"], tokenizer.added_tokens["zh_CN"]) == (6, 28)
    said = [part for split in TEXTS for clip in clips_of(split) for part in (clip.text, *(clip.gloss or ()))]
    pieces = dict.fromkeys(piece for part in said for piece in theirs.tokenizer.encode(part.lower()))
    ids = json.loads((tmp_path / "all" / "map_ids.json").read_text())
    assert [ids[str(piece)] for piece in pieces] == list(range(30, 30 + len(pieces)))
    assert tokenizer.vocab_size == len(ids) == 30 + len(pieces) < theirs.tokenizer.vocab_size


def test_train_alone_is_the_default_and_what_it_never_says_is_unknown(theirs, pruned):
    for text in TEXTS["train"]:
        assert pruned.tokenizer.round_trip(text) == text
        old = {new: int(old) for old, new in json.loads((pruned.folder / "map_ids.json").read_text()).items()}
        assert [old[new] for new in pruned.tokenizer.encode(text)] == theirs.tokenizer.encode(text)
    assert pruned.tokenizer.gloss_pieces("neg-viel") == pruned.tokenizer.encode("neg-viel")
    assert pruned.tokenizer.unk_id not in pruned.tokenizer.encode("neg-viel")
    assert pruned.tokenizer.unk_id in pruned.tokenizer.encode("the quick brown fox")


def test_gloss_vectors_are_kept(theirs, tmp_path):
    inputs, folder = tmp_path / "inputs.json", shutil.copytree(theirs.folder, tmp_path / "whole")
    slt("vocab", "build", "--manifest", theirs.manifest, "--kind", "inputs", "--to", inputs)
    slt("lm", "gloss-embed", folder, "--vocab", inputs)
    run = slt("lm", "prune", folder, "--manifest", theirs.manifest, "--to", tmp_path / "to")
    assert ", 12 gloss vectors; " in run.output
    assert json.loads((tmp_path / "to" / "slt_mbart.json").read_text())["gloss_vectors"] == 12
    was, now = (load_file(place / "gloss_embeddings.safetensors") for place in (folder, tmp_path / "to"))
    assert was.keys() == now.keys() and all(torch.equal(was[name], now[name]) for name in was)


def test_texts_whose_pieces_the_folder_lacks_are_counted(pruned, theirs, tmp_path):
    texts = ["明天下雨", *TEXTS["train"]]
    clips = [Clip(str(n), "x.mp4", 9, 25.0, "a", None, text, "train") for n, text in enumerate(texts)]
    write_manifest(tmp_path / "m.jsonl", clips)
    found = slt("lm", "prune", pruned.folder, "--manifest", tmp_path / "m.jsonl", "--to", tmp_path / "to").output
    assert "1 texts and glosses hold <unk>" in found


def test_settings_that_name_a_token_are_numbered_anew(pruned):
    config = pruned.config
    assert config["vocab_size"] == pruned.tokenizer.vocab_size
    assert (config["decoder_start_token_id"], config["eos_token_id"]) == (6, 2)
    assert config["task_specific_params"] == {"x": {"num_beams": 4}}  # its start was pruned away


def test_a_split_that_is_named_twice_counts_once(theirs, pruned, tmp_path):
    twice = prune(theirs, tmp_path / "out", "--split", "train", "--split", "train")
    for name in ("slt_mbart.json", "model.safetensors"):
        assert (twice.folder / name).read_bytes() == (pruned.folder / name).read_bytes()
    run = slt("vocab", "build", "--manifest", theirs.manifest, *2 * ("--split", "train"), "--to", tmp_path / "v.json")
    assert "special ones included, of train;" in run.output


def test_what_was_done_is_written_beside_the_weights(theirs, pruned):
    account = json.loads((pruned.folder / "slt_mbart.json").read_text())
    assert set(account["source"]) == {"config.json", "model.safetensors", "sentencepiece.bpe.model"}
    assert account["splits"] == ["train"]
    assert (account["texts"], account["glosses"]) == (3, 3)
    assert (account["vocab_size_before"], account["vocab_size"]) == (
        theirs.tokenizer.vocab_size,
        pruned.tokenizer.vocab_size,
    )
    assert len(account["corpus"]) == 64


def test_logits_are_those_of_the_whole_model_at_the_pieces_that_are_kept(theirs, pruned):
    old = [int(number) for number in json.loads((pruned.folder / "map_ids.json").read_text())]
    ours = torch.tensor([[*pruned.tokenizer.encode(TEXTS["train"][0]), 2, 6]])
    whole, small = _model(theirs.folder), _model(pruned.folder)
    expected = whole(input_ids=torch.tensor(old)[ours], decoder_input_ids=torch.tensor(old)[ours]).logits[..., old]
    torch.testing.assert_close(small(input_ids=ours, decoder_input_ids=ours).logits, expected)


@pytest.mark.parametrize("others", ["may not be written", "are most unlikely"])
def test_beam_search_finds_what_the_whole_model_finds_where_other_pieces_are_out_of_the_question(
    theirs, pruned, others
):
    old = torch.tensor([int(number) for number in json.loads((pruned.folder / "map_ids.json").read_text())])
    whole, small = _model(theirs.folder), _model(pruned.folder)
    gone = torch.ones(theirs.tokenizer.vocab_size, dtype=torch.bool).index_fill(0, old, False)
    whole.final_logits_bias[:, gone] = -1e9 if others == "may not be written" else -30
    heard = torch.randn(4, 5, 16, generator=torch.Generator().manual_seed(1))
    options = {"num_beams": 4, "num_return_sequences": 4, "max_length": 12, "attention_mask": torch.ones(4, 5).long()}
    starts = {whole: theirs.tokenizer.language_id, small: pruned.tokenizer.language_id}
    expected, found = (
        model.generate(encoder_outputs=BaseModelOutput(heard), decoder_start_token_id=start, **options)
        for model, start in starts.items()
    )
    assert old[found].tolist() == expected.tolist()


def test_greedy_search_finds_what_the_whole_model_finds_wherever_that_needs_no_other_piece(theirs, pruned):
    old = torch.tensor([int(number) for number in json.loads((pruned.folder / "map_ids.json").read_text())])
    whole, small = _model(theirs.folder), _model(pruned.folder)
    heard = torch.randn(30, 5, 16, generator=torch.Generator().manual_seed(2))
    options = {"num_beams": 1, "max_length": 6, "attention_mask": torch.ones(30, 5).long()}
    starts = {whole: theirs.tokenizer.language_id, small: pruned.tokenizer.language_id}
    free, found = (
        model.generate(encoder_outputs=BaseModelOutput(heard), decoder_start_token_id=start, **options)
        for model, start in starts.items()
    )
    inside = torch.isin(free, old).all(dim=1)
    assert 2 < inside.sum() < 30
    assert torch.equal(old[found[inside]], free[inside])


def test_transformers_reads_the_folder_with_the_same_ids(pruned):
    model = MBartForConditionalGeneration.from_pretrained(pruned.folder)
    assert model.get_input_embeddings().weight.shape[0] == pruned.tokenizer.vocab_size
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ours = _model(pruned.folder).state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in model.state_dict().items())
    reader = AutoTokenizer.from_pretrained(pruned.folder)
    for text in [*TEXTS["train"], "  am \t MONTAG".lower(), "re\u0067en ."]:
        assert reader(text)["input_ids"] == [*pruned.tokenizer.encode(text), 2, 6]
    ids = pruned.tokenizer.encode(TEXTS["train"][2])
    assert reader.decode(ids) == TEXTS["train"][2]
    assert (reader.pad_token_id, reader.unk_token_id, reader.mask_token_id, len(reader)) == (
        *(1, 3, 29),
        pruned.tokenizer.vocab_size,
    )


def _sharded(theirs, folder: Path, form: str) -> Path:
    """The same folder in another of the forms that there are."""
    folder.mkdir()
    for name in ("config.json", "sentencepiece.bpe.model"):
        (folder / name).write_bytes((theirs.folder / name).read_bytes())
    state = load_file(theirs.folder / "model.safetensors")
    names = sorted(state)
    if form == "bin":
        torch.save({**state, **dict.fromkeys(TIED_NAMES, state["model.shared.weight"])}, folder / "pytorch_model.bin")
    elif form == "old bin":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    else:
        stem, end = ("model", "safetensors") if form == "shards" else ("pytorch_model", "bin")
        parts = {f"{stem}-0000{1 + part}-of-00002.{end}": names[part::2] for part in range(2)}
        for file, own in parts.items():
            part = {name: state[name] for name in own}
            save_file(part, folder / file) if form == "shards" else torch.save(part, folder / file)
        placed = {name: file for file, own in parts.items() for name in own}
        (folder / f"{stem}.{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


@pytest.mark.parametrize("form", ["bin", "old bin", "shards", "bin shards"])
def test_weights_in_every_form_that_there_is_give_the_same_folder(theirs, pruned, tmp_path, form):
    folder = _sharded(theirs, tmp_path / "theirs", form)
    prune(theirs, tmp_path / "out", folder=folder)
    same = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert same == (pruned.folder / "model.safetensors").read_bytes()
    assert _model(folder).state_dict().keys() == _model(pruned.folder).state_dict().keys()


def test_a_shard_that_is_missing_is_named(theirs, tmp_path):
    folder = _sharded(theirs, tmp_path / "theirs", "shards")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(SltError, match=r"index\.json names model-00002-of-00002\.safetensors, which is not beside it"):
        read_weights(folder)


def test_a_pruned_folder_is_pruned_again(theirs, pruned, tmp_path):
    wide = prune(theirs, tmp_path / "wide", "--split", "dev", "--split", "train")
    again = prune(theirs, tmp_path / "again", folder=wide.folder)
    for name in ("map_ids.json", "model.safetensors", "tokenizer.json", "sentencepiece.bpe.model"):
        assert (again.folder / name).read_bytes() == (pruned.folder / name).read_bytes(), name


def test_a_folder_that_is_there_is_kept_unless_told_otherwise(theirs, pruned, tmp_path, monkeypatch):
    to = tmp_path / "out"
    prune(theirs, to)
    with pytest.raises(SltError, match=r"is there and is not empty; name another folder with --to, or add --overwrite"):
        prune(theirs, to)
    before = {path.name: path.read_bytes() for path in to.iterdir()}
    with monkeypatch.context() as broken:
        broken.setattr("slt_pipeline.systems.mbart_folder.write_bytes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prune(theirs, to, "--overwrite", "--split", "test")
    assert {path.name: path.read_bytes() for path in to.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert prune(theirs, to, "--overwrite", "--split", "test").tokenizer.vocab_size != pruned.tokenizer.vocab_size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_folder_of_somebody_elses_is_replaced(theirs, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(SltError, match=r"has no slt_mbart\.json, so that `slt lm` has not made it"):
        prune(theirs, tmp_path, "--overwrite")
    for to in (theirs.folder, theirs.root):
        with pytest.raises(SltError, match="which is read, or holds it"):
            prune(theirs, to, "--overwrite")


def test_what_somebody_has_put_into_a_folder_is_not_lost_with_it(theirs, tmp_path):
    to, inputs = tmp_path / "out", tmp_path / "gloss_inputs.json"
    prune(theirs, to)
    slt("vocab", "build", "--manifest", theirs.manifest, "--kind", "inputs", "--to", inputs)
    assert slt("lm", "gloss-embed", to, "--vocab", inputs).exit_code == 0  # what `slt lm` writes is its own
    manifest = Path(shutil.copy(theirs.manifest, to / "manifest.jsonl"))
    run = ("lm", "prune", theirs.folder, "--to", to, "--overwrite", "--manifest")
    with pytest.raises(SltError, match=r"out holds manifest\.jsonl, which `slt lm` has not written and which would be"):
        slt(*run, manifest)
    assert slt(*run, manifest.rename(tmp_path / "manifest.jsonl")).exit_code == 0


def test_what_does_not_belong_together_is_refused_with_the_numbers(theirs, tmp_path):
    folder = _sharded(theirs, tmp_path / "theirs", "bin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 250027}))
    size = theirs.tokenizer.vocab_size
    with pytest.raises(SltError, match=rf"weights have {size} pieces, its config\.json 250027, its tokenizer {size}"):
        prune(theirs, tmp_path / "out", folder=folder)
    with pytest.raises(SltError, match="has no clips of split valid"):
        prune(theirs, tmp_path / "out", "--split", "valid")
    assert not (tmp_path / "out").exists()


def test_a_published_folder_becomes_one_like_a_pruned_one(theirs, pruned, tmp_path):
    folder, to = published(theirs, pruned, tmp_path / "published"), tmp_path / "ours"
    run = slt("lm", "import", folder, "--to", to)
    assert f"{pruned.tokenizer.vocab_size} ids, 6 gloss ids, 6 gloss vectors" in run.output
    for name in ("map_ids.json", "model.safetensors", "tokenizer.json", "config.json"):
        assert (to / name).read_bytes() == (pruned.folder / name).read_bytes(), name
    assert GlossVocabulary.load(to / "gloss2ids.json").names[4:] == ("regen", "montag")
    assert load_file(to / "gloss_embeddings.safetensors")["montag"].tolist() == [5.0] * 16
    assert not (folder / "map_ids.json").exists()
    assert {"made_by": "slt lm import"}.items() <= json.loads((to / "slt_mbart.json").read_text()).items()


@pytest.mark.parametrize("name", ["gloss2ids.json", "gloss2ids.pkl"])
def test_rows_of_a_gloss_table_stay_what_they_are_when_pieces_are_taken_away(theirs, pruned, tmp_path, name):
    folder, to = shutil.copytree(theirs.folder, tmp_path / "with glosses"), tmp_path / "pruned"
    rows = {name: number for number, name in enumerate(("<s>", "<pad>", "</s>", "<unk>", "regen", "montag"))}
    (folder / name).write_bytes(pickle.dumps(rows) if name.endswith("pkl") else json.dumps(rows).encode())
    prune(theirs, to, folder=folder)
    assert json.loads((to / "gloss2ids.json").read_text()) == rows
    (folder / name).write_bytes(pickle.dumps({"regen": "5"}) if name.endswith("pkl") else b'{"regen": "5"}')
    with pytest.raises(SltError, match=name):
        prune(theirs, tmp_path / "damaged", folder=folder)


def test_a_language_without_a_folder_to_write_is_a_mistake_that_is_told(theirs, pruned, tmp_path):
    folder = published(theirs, pruned, tmp_path / "published")
    run = slt("lm", "import", folder, "--language", "de_DE")
    assert run.exit_code == 2 and "--language is of the folder that --to names" in run.output
    assert not (folder / "map_ids.json").exists()
    (folder / "map_ids.json").write_text("{}")
    with pytest.raises(SltError, match=r"map_ids\.json is there and says something else"):
        slt("lm", "import", folder)
    assert "gloss2ids.json: 6 ids" in slt("lm", "import", folder, "--overwrite").output


def test_the_old_name_says_the_new_one(tmp_path):
    run = slt("data", "import", "mbart", tmp_path, "--out", tmp_path)
    assert run.exit_code == 2 and "data import mbart` is now `slt lm import`" in run.output


def test_gloss_vectors_are_means_of_unscaled_rows_and_a_gloss_table_starts_from_them(theirs, pruned, tmp_path):
    from slt_pipeline.models.gloss_table import read_gloss_embeddings

    to = tmp_path / "folder"
    prune(theirs, to)
    inputs = tmp_path / "gloss_inputs.json"
    slt("vocab", "build", "--manifest", theirs.manifest, "--kind", "inputs", "--to", inputs)
    run = slt("lm", "gloss-embed", to, "--vocab", inputs)
    assert "12 vectors, 0 names without pieces" in run.output
    embedding = load_file(to / "model.safetensors")["model.shared.weight"]
    found = read_gloss_embeddings(to, 16)
    assert found is not None and list(found) != []
    pieces = pruned.tokenizer.encode("neg-viel")
    assert len(pieces) > 1
    torch.testing.assert_close(found["neg-viel"], embedding[pieces].mean(0))
    assert torch.equal(found["de_DGS"], embedding[6]) and torch.equal(found["de_DE"], embedding[6])
    assert torch.equal(found["zh_CSL"], embedding[28]) and torch.equal(found["</s>"], embedding[2])
    with pytest.raises(SltError, match=r"gloss_embeddings\.safetensors is there; .* or add --overwrite"):
        slt("lm", "gloss-embed", to, "--vocab", inputs)
    slt("vocab", "build", "--manifest", theirs.manifest, "--split", "test", "--kind", "inputs", "--to", tmp_path / "t")
    assert "2 glosses hold <unk>" in slt("lm", "gloss-embed", to, "--vocab", tmp_path / "t", "--overwrite").output


def test_a_gloss_has_a_vector_however_its_list_writes_it(theirs, tmp_path):
    lists = {"small": ["regen", "neg-viel", "en_ASL"], "large": ["REGEN", "regen", " NEG-VIEL ", "en_ASL"]}
    for name, glosses in lists.items():
        inputs, vectors = tmp_path / f"{name}.json", tmp_path / f"{name}.safetensors"
        inputs.write_text(json.dumps(["<s>", "<pad>", "</s>", "<unk>", *glosses]))
        told = slt("lm", "gloss-embed", theirs.folder, "--vocab", inputs, "--to", vectors)
        assert "7 vectors, 0 names without pieces" in told.output and "<unk>" not in told.output
    small, large = (load_file(tmp_path / f"{name}.safetensors") for name in lists)
    assert small.keys() == large.keys() and all(torch.equal(small[name], large[name]) for name in small)


def test_gloss_classes_are_those_of_visual_train_and_gloss_inputs_those_of_the_published_table(theirs, tmp_path):
    file = tmp_path / "glosses.json"
    run = slt("vocab", "build", "--manifest", theirs.manifest, "--split", "train", "--split", "dev", "--to", file)
    assert "9 classes, special ones included, of train, dev" in run.output
    names = GlossVocabulary.load(file).names
    assert names == ("<si>", "<unk>", "<pad>", "</s>", "montag", "neg-viel", "regen", "stark", "wind")
    with pytest.raises(SltError, match="is there"):
        slt("vocab", "build", "--manifest", theirs.manifest, "--to", file)
    more = ("--kind", "inputs", "--gloss-language", "en_ASL", "--overwrite")
    slt("vocab", "build", "--manifest", theirs.manifest, "--to", file, *more)
    assert GlossVocabulary.load(file).names == (
        *("<s>", "<pad>", "</s>", "<unk>", "<mask>", "zh_CN", "de_DE", "zh_CSL", "de_DGS", "en_ASL"),
        *("regen", "montag", "neg-viel"),
    )
    assert (
        "--gloss-language is of --kind inputs"
        in slt(
            *("vocab", "build", "--manifest", theirs.manifest, "--to", tmp_path / "x", "--gloss-language", "en_ASL")
        ).output
    )
    with pytest.raises(SltError, match="--gloss-language asl: a sign language is written like de_DGS"):
        slt(
            "vocab",
            "build",
            "--manifest",
            theirs.manifest,
            "--to",
            tmp_path / "x",
            *more[:2],
            "--gloss-language",
            "asl",
        )
