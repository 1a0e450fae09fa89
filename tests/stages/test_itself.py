"""A Gloss2Text that learns its glosses and to write backward beside, and judges its own texts by them."""

import shutil

import pytest
from stage_tools import CPU, batch_of, change_json, refusal, trainable_of

from slt_pipeline.corpora.gloss_text import turned
from slt_pipeline.corpora.manifest import write_manifest
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.models.translator import CLOSED
from slt_pipeline.stages.gloss2text_train import gloss2text_train
from slt_pipeline.systems.rerank import Reranked
from slt_pipeline.systems.translator import open_gloss2text
from slt_pipeline.systems.vocabularies import Vocabularies

ALSO = {"translator__gloss_input": "pieces", "gloss2text_train__also": "[text2gloss, backward]"}
BEAMS = {"evaluate__generation": "{num_beams: 4, max_length: 12}"}
BOTH = {"evaluate__rerank": "{itself: [text2gloss, backward], weights: [0.5, 0.25], per_piece: 0.5}"}
ROWS = [("MORGEN", "REGEN"), ("NORD",)]


@pytest.fixture(scope="module")
def learned(toy, tmp_path_factory):
    """The recipe of a run that learned both beside."""
    recipe = toy.recipe(runs_dir=tmp_path_factory.mktemp("learned"), **ALSO, **BEAMS)
    gloss2text_train(recipe, device="cpu")
    return recipe


def overrides(**values):
    return [part for key, value in values.items() for part in ("-o", f"{key.replace('__', '.')}={value}")]


def test_every_clip_is_learned_in_each_way_and_a_mark_says_in_which(own, monkeypatch, tmp_path):
    recipe = own.recipe(runs_dir=tmp_path, gloss2text_train__regularise="{}", **ALSO)
    trainable = trainable_of(monkeypatch, lambda: gloss2text_train(recipe, device="cpu"))
    clips = [clip for clip in own.of("train") if clip.gloss]
    assert trainable.num_items == 3 * len(clips)
    assert list(trainable.names or ())[:: len(clips)] == [
        clips[0].id + mark for mark in ("", " (text2gloss)", " (backward)")
    ]
    batch = batch_of(trainable, *(n * len(clips) for n in range(3)))
    text = Vocabularies.build(recipe.corpus, recipe.text, "pieces").text
    words, glosses = turned(clips[0].gloss, clips[0].text)
    pieces = [
        [id for name in row for id in text.encode(name)] for row in ([gloss.lower() for gloss in clips[0].gloss], words)
    ]
    begin = 0  # `<s>`
    assert [row[row != text.pad_id].tolist() for row in batch["gloss_piece_ids"]] == [
        pieces[0],
        [begin, *pieces[1]],
        [begin, begin, *pieces[0]],
    ]
    written = [text.encode(clips[0].text), text.encode(glosses)]
    written = [*written, written[0][::-1]]
    assert [row[row != text.pad_id].tolist()[:-1] for row in batch["labels"]] == written


def test_one_run_writes_and_judges(learned, slt):
    folder = learned.run_folder("gloss2text_train")
    assert slt("evaluate", "--run", folder, "--split", "dev").status == 0
    ended = slt("evaluate", "--run", folder, "--split", "dev", *overrides(**BOTH, evaluate__num_best=3))
    assert ended.status == 0, ended.err
    (row,) = read_json(folder / "evaluate" / "reranked" / "scores.json")
    assert row["rerank"] == {"weights": [0.5, 0.25], "per_piece": 0.5}
    assert row["checkpoints"].keys() == {"language"}
    assert read_json(folder / "evaluate" / "reranked" / "judges.json") == ["itself: text2gloss", "itself: backward"]
    assert len(read_json(folder / "evaluate" / "scores.json")) == 1
    system = open_gloss2text(learned, CPU)
    asked = [system, system.doing("text2gloss"), system.doing("backward")]
    lines = read_json_lines(folder / "evaluate" / "reranked" / "gloss2text-dev.jsonl")
    assert any(len(line["nbest"]) > 1 for line in lines)
    for line in lines:
        texts = [each["text"] for each in line["nbest"]]
        known = [each.log_probs([line["gloss_reference"]] * len(texts), texts, 3) for each in asked]
        pieces = [len(system.vocabularies.text.encode(text)) for text in texts]
        points = [a + 0.5 * b + 0.25 * c + 0.5 * n for a, b, c, n in zip(*known, pieces, strict=True)]
        assert points == pytest.approx([each["score"] for each in line["nbest"]], abs=1e-3)
    alone = overrides(evaluate__rerank="{itself: [backward], weights: [1], per_piece: 0}")
    assert slt("evaluate", "--run", folder, "--split", "dev", *alone).status == 0
    assert (folder / "evaluate" / "reranked-2" / "scores.json").is_file()


def test_what_it_is_asked_for_is_what_it_learned_in_that_way(learned):
    system = open_gloss2text(learned, CPU)
    backward, glosses = system.doing("backward"), system.doing("text2gloss")
    assert (system.writes_texts, backward.writes_texts, glosses.writes_texts) == (True, True, False)
    assert backward.vocabularies.text.order == "backward"
    assert backward.vocabularies.text.language_id == system.vocabularies.text.language_id
    generation = learned.evaluate.generation
    found = Reranked(system, (glosses, backward)).judged(ROWS, generation, 2)
    searches = [each.beams(ROWS, generation, 2) for each in (system, backward)]
    for place, judged in enumerate(found):
        texts = [text for search in searches for text in search[place]]
        assert [each.text for each in judged] == list(dict.fromkeys(texts))
    texts = ["morgen regen .", "im norden ."]
    assert system.log_probs(ROWS, texts, 2) != backward.log_probs(ROWS, texts, 2)
    assert backward.steps(ROWS[0]) == glosses.steps(ROWS[0]) + 1 == system.steps(ROWS[0]) + 2


def test_several_write_together_and_judge_together(learned, slt, tmp_path):
    first = learned.run_folder("gloss2text_train")
    second = shutil.copytree(first, tmp_path / "second")
    for which in (["--run", first], ["--ensemble", f"{first},{second}"]):
        assert slt("evaluate", *which, "--split", "dev", *overrides(**BOTH)).status == 0
    texts = [
        [line["hypothesis"] for line in read_json_lines(path / "gloss2text-dev.jsonl")]
        for path in (first / "evaluate").iterdir()
        if path.name.startswith("reranked") and "language 2" in str(read_json(path / "scores.json"))
    ]
    assert len(texts) == 1  # two of the same mind write and judge as one does
    alone = read_json_lines(first / "evaluate" / "reranked" / "gloss2text-dev.jsonl")
    assert texts[0] == [line["hypothesis"] for line in alone]


def test_nothing_judges_by_what_it_has_not_learned(own, learned, slt):
    first, other = own.recipe().run_folder("gloss2text_train"), learned.run_folder("gloss2text_train")
    asked = overrides(**BEAMS, evaluate__rerank="{itself: [backward]}")
    for which in (["--run", first], ["-r", own.file]):
        ended = slt("evaluate", *which, *asked)
        assert ended.status == 2
        assert "itself names backward, and gloss2text_train.also is empty: a run judges by what it has" in ended.err
    assert not (first / "evaluate").exists()
    saved = (other / "recipe.yaml").read_text(encoding="utf-8")
    for left, told in (("", "it learned nothing beside texts"), ("  - text2gloss\n", "also is text2gloss")):
        part = shutil.copytree(other, own.root / "part", dirs_exist_ok=True)
        learned_so = f"  also:\n{left}" if left else "  also: []\n"
        (part / "recipe.yaml").write_text(
            saved.replace("  also:\n  - text2gloss\n  - backward\n", learned_so), encoding="utf-8"
        )
        ended = slt("evaluate", "--ensemble", f"{other},{part}", *asked)
        assert ended.status == 2 and f"names backward, which {part} has not learned: " in ended.err
        assert told in ended.err
    turned_round = saved.replace("  also:\n  - text2gloss\n  - backward\n", "  also: []\n")
    turned_round = turned_round.replace("direction: gloss2text", "direction: text2gloss")
    (part / "recipe.yaml").write_text(turned_round, encoding="utf-8")
    ended = slt("evaluate", "--ensemble", f"{other},{part}", "--task", "text2gloss", *overrides(**BEAMS))
    assert "has not learned: its translator.direction is text2gloss, and it writes no texts" in ended.err


def test_weights_are_chosen_on_a_dev_split_or_nothing_is_decoded(own, learned, slt):
    clips = [clip for clip in own.of("test") if clip.gloss]
    write_manifest(own.root / "test.jsonl", clips)
    clean = shutil.ignore_patterns("evaluate")
    folder = shutil.copytree(learned.run_folder("gloss2text_train"), own.root / "learned", ignore=clean)
    on_test = ["evaluate", "--run", folder, "--split", "test", "-o", f"corpus.manifest={own.root}/test.jsonl"]
    ended = slt(*on_test, *overrides(evaluate__rerank="{itself: [backward]}"))
    assert ended.status == 2 and "has no clips of split dev" in ended.err
    assert not (folder / "evaluate").exists()
    assert slt(*on_test, *overrides(evaluate__rerank="{itself: [backward], weights: [1], per_piece: 0}")).status == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"translator__gloss_input": "vectors"}, "translator.gloss_input vectors: what is learned beside needs pieces"),
        ({"translator__direction": "text2gloss"}, "translator.direction text2gloss: .* needs gloss2text"),
        ({"text__order": "backward"}, "text.order backward: .* needs forward"),
        ({"gloss2text_train__also": "[backward, backward]"}, "backward twice"),
        ({"gloss2text_train__also": "[forward]"}, "text2gloss"),
        (
            {"gloss2text_train__teachers": "[other]", "gloss2text_train__regularise__distillation": 1},
            "leave out also or teachers",
        ),
        (
            {"evaluate__rerank": "{itself: [backward], weights: [1, 2], per_piece: 0}"},
            "there are 1 judges and 2 weights",
        ),
        ({"evaluate__rerank": "{itself: [backward, backward]}"}, "backward twice"),
        ({"evaluate__rerank": "{itself: []}"}, "runs and itself name no judge"),
    ],
)
def test_what_cannot_be_learned_beside_is_refused_when_a_recipe_loads(own, values, message):
    with pytest.raises(SltError, match=message):
        own.recipe(**{**ALSO, **BEAMS, **values})


def test_a_source_that_has_no_room_with_its_mark_is_named(own, tmp_path):
    recipe = own.recipe(**ALSO)
    text = Vocabularies.build(recipe.corpus, recipe.text, "pieces").text
    longest = max(len(text.encode(clip.text)) for split in ("train", "dev") for clip in own.of(split)) + CLOSED
    stages = ("gloss2text_train", "translate_train", "joint_train", "evaluate", "translate")
    short = {f"{stage}__generation": "{max_length: 4}" for stage in stages} | ALSO
    small = own.recipe(runs_dir=tmp_path / "small", translator__mbart__max_positions=longest, **short)
    assert f"(text2gloss) has {longest + 1} steps" in refusal(gloss2text_train, small)
    assert not list((tmp_path / "small").rglob("*.safetensors"))


def test_a_run_of_before_learned_nothing_beside(own):
    folder = own.recipe().run_folder("gloss2text_train")
    change_json(folder / "inputs.json", lambda data: data.pop("also"))
    assert gloss2text_train(own.recipe(), device="cpu") == own.results["gloss2text_train"]
    assert "also = [], but now it is ['backward']" in refusal(
        gloss2text_train, own.recipe(translator__gloss_input="pieces", gloss2text_train__also="[backward]")
    )


def test_the_glosses_of_texts_are_a_task_of_a_run_that_learned_them_beside(own, learned, slt):
    folder = learned.run_folder("gloss2text_train")
    tasks = [word for task in ("gloss2text", "text2gloss") for word in ("--task", task)]
    assert slt("evaluate", "--run", folder, "--split", "test", *tasks, *overrides(**BOTH)).status == 0
    found = next(path for path in (folder / "evaluate").rglob("text2gloss-test.jsonl"))
    row = {row["task"]: row for row in read_json(found.with_name("scores.json"))}
    assert "rerank" in row["gloss2text"] and "rerank" not in row["text2gloss"]
    asked, lines = open_gloss2text(learned, CPU).doing("text2gloss"), read_json_lines(found)
    words = [tuple(line["source"].split()) for line in lines]
    assert [line["hypothesis"] for line in lines] == asked.translate(words, learned.evaluate.generation, 8)
    assert all(line["reference"] == line["reference"].lower() for line in lines)
    ended = slt("evaluate", "-r", own.file, "--task", "text2gloss")
    assert ended.status == 2 and "it learned nothing beside texts" in ended.err
