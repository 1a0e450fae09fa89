"""What a sweep names: keys that are apart from each other, and of a search no key that decides nothing."""

import pytest
from recipe_refusals import LR, demo_refusal

from slt_pipeline.config.recipe import load_recipe

SEARCH = "keys: {translator.label_smoothing: {low: 0.0, high: 0.3}}, runs: 9"  # the demo: 30 epochs, each 5th validated


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (
            "{grid: {translator.mapper.input: [gloss_rep], translator.mapper: [{input: s3d}]}}",
            "sweep.grid names translator.mapper and translator.mapper.input, a part of it; leave one of them out",
        ),
        (
            "{variants: {a: {translator.mapper: {input: s3d}, translator.mapper.input: gloss_rep}}}",
            "sweep.variants.a names translator.mapper and translator.mapper.input, a part of it",
        ),
        (
            "{variants: {a: {translator.mapper: {input: s3d}}}, grid: {translator.mapper.input: [gloss_rep]}}",
            "sweep.variants.a names translator.mapper, and grid translator.mapper.input, a part of it",
        ),
        (
            "{variants: {a: {translator.mapper.input: s3d}}, grid: {translator.mapper: [{input: gloss_rep}]}}",
            "sweep.grid names translator.mapper, and variants.a translator.mapper.input, a part of it",
        ),
        (
            f"{{search: {{runs: 2, keys: {{{LR}: {{choices: [{{default: 1}}, {{default: 2}}]}}, "
            f"{LR}.default: {{low: 1, high: 2}}}}}}}}",
            f"sweep.search.keys names {LR} and {LR}.default, a part of it",
        ),
        (
            f"{{grid: {{{LR}.default: [1.0e-3], {LR.replace('optimiser', 'optimizer')}.default: [1.0e-2]}}}}",
            "optimizer.lr.default, which is the same; leave one of them out",
        ),
    ],
)
def test_no_run_of_a_sweep_is_given_a_key_and_a_part_of_it(sweep, told):
    assert told in demo_refusal(f"sweep={sweep}")


@pytest.mark.parametrize("stage", ["translate_train", "gloss2text_train"])
@pytest.mark.parametrize(
    ("which", "tried"),
    [
        ("grid", "grid: {corpus.protocol: [plain-word, plain-char]}"),
        ("variants", "variants: {a: {}, b: {corpus.protocol: plain-char}}"),
        ("search.keys", "search: {runs: 2, keys: {corpus.protocol: {choices: [plain-word, plain-char]}}}"),
    ],
)
def test_no_sweep_ranks_numbers_of_two_protocols(stage, which, tried):
    told = demo_refusal(f"sweep={{stage: {stage}, {tried}}}")
    assert f"sweep.{which} names corpus.protocol" in told
    assert "numbers of two protocols are not compared; `slt score --protocol ...` counts by another" in told


def test_judges_of_gloss2text_tell_no_two_translators_of_signs_apart():
    tried = "evaluate.rerank: [null, {runs: [runs/a], weights: [1], per_piece: 0}]"
    assert "no translator of signs" in demo_refusal(f"sweep={{grid: {{{tried}}}}}")


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ("prune: false, prune_after: 5", "prune_after = 5 does nothing: {0}.prune is false; leave it out, or 0"),
        ("startup: 10, prune_after: 40", ""),  # a short try of a long search: told, not refused
        ("startup: 3, prune: false", ""),
    ],
)
@pytest.mark.parametrize("where", ["sweep.search", "sweeps.mine.search"])
def test_a_key_of_a_search_that_cannot_matter_is_refused_where_it_is_set(search, told, where, tmp_path):
    path, said = tmp_path / "mine.yaml", f"{{{SEARCH}, {search}}}"
    nested = said
    for name in reversed(where.split(".")):
        nested = f"{{{name}: {nested}}}"
    path.write_text(f"extends: demo/mmtlb\n{nested[1:-1]}\n")
    for name, overrides in ((str(path), []), ("demo/mmtlb", [f"{where}={said}"])):
        if told:
            assert told.format(where) in demo_refusal(*overrides, name=name)
        else:
            load_recipe(name, overrides)
