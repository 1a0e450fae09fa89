"""A sweep of named variants is a paper's table: its rows in order, compared with the first, each what its name says."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cache_tools import files
from stage_tools import KilledError, refusal

from slt_pipeline.config.recipe import save_recipe
from slt_pipeline.config.variants import runs_of
from slt_pipeline.errors import SltError
from slt_pipeline.files import read_json, read_json_lines
from slt_pipeline.metrics.bleu import bleu_of_statistics, sentence_statistics
from slt_pipeline.metrics.significance import NUM_DRAWS, Sums, bootstrap
from slt_pipeline.stages import sweep as sweep_stage
from slt_pipeline.systems.paired import PairedTest

OBJECTIVE = "{prior: 1, posterior: 1, gaussian_kl: 1, output_kl: {to: 3, over: 4}, recognition: 0}"
CVSLT = {
    "translator__system": "cvslt",
    "translator__latent": 4,
    "translate_train__objective": OBJECTIVE,
    "translate_train__training__epochs": 1,
    "translate_train__training__validate_every": 1,
}
MMTLB = "{translator.system: mmtlb, translate_train.objective: {translation: 1, recognition: 0}}"
KL = "translate_train.objective.output_kl.to"
THREE = f"{{full: {{}}, 'no/KL ..': {{translate_train.objective.output_kl: 0}}, MMTLB: {MMTLB}}}"


class Sweeping:
    """Sweeps a CV-SLT over the toy system's store, each run of one epoch, into folders of its own."""

    def __init__(self, toy, stage, folder: Path):
        self.toy, self.stage, self.folder = toy, stage, folder

    def recipe(self, variants: str = "{full: {}}", seeds: str = "[3, 4]", **values: Any):
        uses = self.toy.root / "runs" / "toy"
        where = {"runs_dir": self.folder, "uses__encoder": uses, "uses__language": uses}
        table = {"sweeps": f"{{table: {{variants: {variants}, seeds: {seeds}, oracle: true}}}}"}
        return self.toy.recipe(**{**CVSLT, **where, **table, **values})

    def __call__(self, *arguments: str, **values: Any):
        return self.stage(self.recipe(*arguments, **values), "table", device="cpu")


@pytest.fixture
def sweeping(toy, stages, tmp_path) -> Sweeping:
    return Sweeping(toy, stages["sweep"], tmp_path / "runs")


@pytest.fixture(scope="module")
def swept(toy, stages, tmp_path_factory):
    """A table of three variants and two seeds, made once; tests read it."""
    sweeping = Sweeping(toy, stages["sweep"], tmp_path_factory.mktemp("swept"))
    return sweeping, sweeping(THREE)


def table(report) -> str:
    return (Path(report["folder"]) / "table.md").read_text()


def decoded(report, variant: str, seed: int, split: str = "test") -> list[dict[str, str]]:
    (run,) = [run for run in report["results"] if (run["variant"], run["seed"]) == (variant, seed)]
    return read_json_lines(Path(report["folder"]) / run["folder"] / "evaluate" / f"sign2text-{split}.jsonl")


def statistics(clips):
    return sentence_statistics([clip["hypothesis"] for clip in clips], [clip["reference"] for clip in clips])


# --- what the table says


def test_rows_stand_in_the_recipes_order_with_mean_and_spread(swept):
    _, report = swept
    assert [row["variant"] for row in report["rows"]] == ["full", "no/KL ..", "MMTLB"]
    assert [row["seeds"] for row in report["rows"]] == [2, 2, 2]
    for row in report["rows"]:
        runs = [run for run in report["results"] if run["variant"] == row["variant"]]
        first, second = (run["scores"]["dev"]["rouge"] for run in runs)
        assert row["dev rouge"] == pytest.approx((first + second) / 2)
        assert row["dev rouge sd"] == pytest.approx(abs(first - second) / 2**0.5)


def test_order_is_the_recipes_whatever_the_scores(sweeping, monkeypatch):
    figures = iter(range(20))
    monkeypatch.setattr(sweep_stage, "translate_train", lambda *_, **__: None)
    monkeypatch.setattr(sweep_stage, "_oracle_scores", lambda *_: {})
    monkeypatch.setattr(sweep_stage, "_scores", lambda *_: {"dev": {"bleu4": float(next(figures))}})
    assert [row["variant"] for row in sweeping(THREE)["rows"]] == ["full", "no/KL ..", "MMTLB"]
    other = f"{{MMTLB: {MMTLB}, full: {{}}}}"
    assert [row["variant"] for row in sweeping(other)["rows"]] == ["MMTLB", "full"]  # and what is no row any more goes


def test_p_is_that_of_the_sentences_of_all_seeds_against_the_first_row(swept):
    _, report = swept
    assert not any(name.endswith(" p") for name in report["rows"][0])
    for row in report["rows"][1:]:
        for split in ("dev", "test"):
            mine, first = (
                sum(statistics(decoded(report, name, seed, split)) for seed in (3, 4))
                for name in (row["variant"], "full")
            )
            assert (
                row[f"{split} bleu4 p"]
                == bootstrap(Sums(mine, bleu_of_statistics), Sums(first, bleu_of_statistics)).p_value
            )
    assert f"two-sided, {NUM_DRAWS} draws" in table(report)


def test_oracle_scores_are_columns_of_their_own_and_those_of_mmtlb_are_empty(swept):
    _, report = swept
    names = ["dev rouge (oracle)", "test rouge (oracle)", "test bleu4 (oracle)"]
    assert [[name in row for name in names] for row in report["rows"]] == [[True] * 3, [True] * 3, [False] * 3]
    for run in report["results"][:4]:
        for split in ("dev", "test"):
            (found,) = [
                row
                for row in read_json(Path(report["folder"]) / run["folder"] / "evaluate" / "oracle.json")
                if row["split"] == split
            ]
            assert run["oracle"][split]["rouge"] == found["rouge"]
    assert "knows the right text" in table(report)
    assert not any("(oracle)" in name and name.endswith(" p") for row in report["rows"] for name in row)


def test_a_row_with_other_seeds_is_compared_on_those_that_both_have(swept):
    _, report = swept
    folder = Path(report["folder"])
    runs = {name: [run for run in report["results"] if run["variant"] == name] for name in ("full", "MMTLB")}
    found = PairedTest(folder).p_values(runs["MMTLB"][1:], runs["full"])
    mine, first = (statistics(decoded(report, name, 4)) for name in ("MMTLB", "full"))
    assert found["test"] == bootstrap(Sums(mine, bleu_of_statistics), Sums(first, bleu_of_statistics)).p_value
    assert PairedTest(folder).p_values(runs["MMTLB"][1:], runs["full"][:1]) == {}
    assert PairedTest(folder).p_values([{"seed": 4, "error": "x"}], runs["full"]) == {}


def test_what_was_decoded_anew_since_it_was_scored_is_not_compared(swept, tmp_path):
    _, report = swept
    folder = shutil.copytree(report["folder"], tmp_path / "copy")
    first, other = report["results"][0], report["results"][2]
    assert set(PairedTest(folder).p_values([other], [first])) == {"dev", "test"}
    path = folder / other["folder"] / "evaluate" / "sign2text-test.jsonl"
    path.write_text(path.read_text().replace('"hypothesis": "', '"hypothesis": "another '))
    assert set(PairedTest(folder).p_values([other], [first])) == {"dev"}
    path.unlink()
    assert set(PairedTest(folder).p_values([other], [first])) == {"dev"}


def test_the_command_prints_a_narrow_table_and_what_it_wrote(swept, slt, tmp_path):
    sweeping, report = swept
    before = files(Path(report["folder"]))
    run = slt("sweep", "table", "-r", save_recipe(sweeping.recipe(THREE), tmp_path), "--device", "cpu")
    assert run.status == 0
    assert " ".join(run.out.splitlines()[0].split()) == "variant seeds dev bleu4 p oracle test bleu4 p oracle"
    assert max(map(len, run.out.splitlines())) <= 80
    assert f"wrote {report['folder']}/table.md" in run.err
    assert f"best run: {report['best']} (open it with --run)" in run.err and Path(report["best"]).is_dir()
    after = files(Path(report["folder"]))
    trained = [path for path in before if path.suffix == ".safetensors" or path.name == "scored.json"]
    assert {path: after[path] for path in trained} == {path: before[path] for path in trained}
    assert after.keys() == before.keys()


def test_a_grid_of_one_number_is_plotted(sweeping):
    report = sweeping(sweeps=f"{{table: {{grid: {{{KL}: [0, 2]}}, oracle: true}}}}")
    plot = Path(report["folder"]) / "plot.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert str(plot) in report["written"]
    assert {row[KL] for row in report["rows"]} == {"0", "2"}
    assert [name for name in report["rows"][1] if name.endswith(" p")] == ["dev bleu4 p", "test bleu4 p"]


# --- what a variant is


def test_a_table_grows_goes_on_after_a_kill_and_keeps_to_what_its_names_say_now(sweeping, monkeypatch):
    first = sweeping("{full: {}}", "[3]")

    def killed(*_, **__):
        raise KilledError

    more = "{full: {}, less: {translator.latent: 3}}"
    monkeypatch.setattr(sweep_stage, "_scores", killed)
    with pytest.raises(KilledError):
        sweeping(more, "[3]")
    monkeypatch.undo()
    second = sweeping(more, "[3]")
    assert second["folder"] == first["folder"]
    assert second["results"][0] == first["results"][0]
    assert [row["variant"] for row in second["rows"]] == ["full", "less"]

    third = sweeping("{less: {translator.latent: 2}, full: {}}", "[3]")
    assert [row["variant"] for row in third["rows"]] == ["less", "full"]
    old, new = (
        Path(report["folder"]) / row["folder"]
        for report, row in ((second, second["results"][1]), (third, third["results"][0]))
    )
    assert read_json(new / "inputs.json")["translator.latent"] == 2
    assert read_json(old / "inputs.json")["translator.latent"] == 3  # another run, and it is still there
    assert sweeping(more, "[3]")["results"] == second["results"]


def test_another_recipe_under_the_same_table_is_refused_though_a_variant_sets_what_changed(swept):
    sweeping, report = swept
    before = files(Path(report["folder"]))
    changed = {"translate_train__objective": OBJECTIVE.replace("to: 3", "to: 2")}
    message = refusal(lambda recipe, device: sweeping(THREE, **changed), None)
    assert f"{report['folder']} holds runs with {KL} = 3" in message and "which now is 2" in message
    assert files(Path(report["folder"])) == before


def test_any_name_is_a_folder_of_its_own(sweeping):
    names = ["with/slash", "with-slash", "with slash", "..", "手语翻译" * 50, "x" * 200, "a|b", "'q'"]
    variants = {name: {"translator.latent": number} for number, name in enumerate(names, 5)}
    recipe = sweeping.recipe(json.dumps(variants, ensure_ascii=False))
    slugs = [run.slug for run in runs_of(recipe, recipe.sweeps["table"])]
    assert len(set(slugs)) == 2 * len(names)
    for slug in slugs:
        (sweeping.folder / slug).mkdir(parents=True)  # made where it says, and nowhere else
    assert {path.name for path in sweeping.folder.iterdir()} == set(slugs)


@pytest.mark.parametrize(
    ("variants", "reason"),
    [
        ("{full: {}, a: {translator.latnt: 3}}", "did you mean translator.latent?"),
        ("{full: {}, a: {translator.mapper.freeze: true}}", "variant a: recipe toy: translator.mapper.freeze = true"),
        ("{full: {}, a: {translate_train.training.num_workers: 1}}", "not what comes out of it"),
        (
            "{full: {}, a: {seed: 5}}",
            "variants names seed, which tells no two runs apart: list seeds under sweep.seeds",
        ),
        ("{full: {}, a: {translator.system: mmtlb}}", "variant a: recipe toy: translate_train.objective names prior"),
        ("{a: {}, b: {}}", "variants lists {} twice: the same run"),
        ("{full: {}, a: {translator.attention: shared}}", "variants full and a are the same run"),
        ("{'': {}}", "variants names ''; the name of a row is words on one line"),
        ('{"a\\nb": {}}', "the name of a row is words on one line"),
        ("{full: {}, a: {translator.latent: -1}}", "variant a: recipe toy: translator.latent = -1"),
    ],
)
def test_a_variant_that_is_none_is_refused_before_the_first_run(sweeping, variants, reason):
    with pytest.raises(SltError) as found:
        sweeping(variants)
    assert reason in str(found.value)
    assert not sweeping.folder.exists()


def test_an_oracle_that_no_run_has_is_refused_before_the_first_run(sweeping):
    with pytest.raises(SltError, match=r"sweeps\.table\.oracle is true, and no run has translator\.system = cvslt"):
        sweeping(f"{{one: {MMTLB}}}")
    assert not sweeping.folder.exists()


@pytest.mark.parametrize("unnamed", ["{variants: {one: {}, two: {translator.latent: 3}}}", "{variants: {one: {}}}"])
def test_variants_of_the_sweep_without_a_name_have_no_grid_unless_another_is_given(sweeping, unnamed):
    recipe = sweeping.recipe(sweep=unnamed)
    assert [run.values for run in runs_of(recipe, recipe.sweep)] == list(recipe.sweep.variants.values())


def test_what_a_sweep_is_sorted_by_is_not_asked_of_its_single_runs(sweeping):
    heads = "{table: {metric: wer, variants: {trained: {}, stored: {translator.head: stored}}}}"
    recipe = sweeping.recipe(sweeps=heads, translator__head="trained")
    assert [run.error for run in runs_of(recipe, recipe.sweeps["table"])] == ["", ""]


def test_every_combination_of_a_grid_is_run_in_each_variant(sweeping):
    table = f"{{table: {{variants: {{full: {{}}, less: {{translator.latent: 3}}}}, grid: {{{KL}: [1, 2]}}}}}}"
    recipe = sweeping.recipe(sweeps=table)
    found = [(run.name, run.shown[KL], run.values) for run in runs_of(recipe, recipe.sweeps["table"])]
    less = {"translator.latent": 3}
    assert found == [
        *[("full", number, {KL: number}) for number in (1, 2)],
        *[("less", number, {**less, KL: number}) for number in (1, 2)],
    ]
    with pytest.raises(
        SltError, match=r"grid names translator\.latent, and variants\.less translator\.latent, which is"
    ):
        sweeping.recipe(sweeps=table.replace(f"{KL}: [1, 2]", "translator.latent: [1, 2]"))


def test_a_first_row_that_fails_is_a_row_with_which_nothing_is_compared(sweeping):
    report = sweeping("{big: {translator.mbart.num_layers: 2}, full: {}}", "[3]")
    assert [row["variant"] for row in report["rows"]] == ["big", "full"]
    assert report["rows"][0]["failed"].startswith("1: ")
    assert report["rows"][1]["seeds"] == 1
    assert not any(name.endswith(" p") for name in report["rows"][1])
    assert not (Path(report["folder"]) / "plot.png").exists()
