from slt_pipeline.report.demo_page import demo_page
from slt_pipeline.report.tables import markdown_table


def row(system: str, task: str, split: str, **scores: float) -> dict[str, object]:
    return {"system": system, "task": task, "split": split, "protocol": "plain-word", **scores}


def test_the_page_has_one_table_of_every_system_by_task_and_the_bound_last():
    scored = [
        row("mmtlb", "sign2gloss", "dev", wer=6.48),
        row("mmtlb", "gloss2text", "dev", bleu4=75.96, rouge=92.52),
        row("mmtlb", "sign2gloss2text", "dev", bleu4=67.83, rouge=88.93),
        row("mmtlb", "sign2text", "dev", bleu4=72.21, rouge=90.39),
        row("mmtlb", "sign2text", "test", bleu4=67.76, rouge=88.13),
        row("cvslt", "sign2text", "dev", bleu4=72.36, rouge=90.56),
        row("joint", "sign2gloss", "dev", wer=5.0),
        row("joint", "sign2text", "dev", bleu4=73.0, rouge=91.0),
    ]
    summary = {
        "recipe": "demo/mmtlb",
        "seed": 1,
        "clips": {"train": 400, "dev": 60},
        "seconds": {"extract": 20.4, "sweep": 1.2},
        "seconds_total": 18.0,
        "scores": {str(number): row for number, row in enumerate(scored)},
        "sweep": [{"translator.mapper.input": "s3d", "dev bleu4": 68.18}],
        "translations": [
            {"glosses": [{"gloss": "REGEN"}], "text": "regen .", "reference": "es regnet ."}
            | {"confidence": 0.256, "warnings": ["unlike anything in the training data: steps 2, 7 is the least"]},
            {"glosses": [], "text": "sonne .", "reference": "sonne .", "confidence": None, "warnings": []},
        ],
        "plots": ["timeline.png"],
    }
    assert demo_page(summary, markdown_table) == (
        "# demo/mmtlb, seed 1: 400 train, 60 dev clips, 18 s\n"
        "\n"
        "| system                   | task            | split |  WER | BLEU-4 | ROUGE-L |\n"
        "| ------------------------ | --------------- | ----- | ---: | -----: | ------: |\n"
        "| encoder                  | Sign2Gloss      | dev   | 6.48 |      - |       - |\n"
        "| joint                    | Sign2Gloss      | dev   | 5.00 |      - |       - |\n"
        "| encoder, then mBART      | Sign2Gloss2Text | dev   |    - |  67.83 |   88.93 |\n"
        "| MMTLB                    | Sign2Text       | dev   |    - |  72.21 |   90.39 |\n"
        "| MMTLB                    | Sign2Text       | test  |    - |  67.76 |   88.13 |\n"
        "| CV-SLT                   | Sign2Text       | dev   |    - |  72.36 |   90.56 |\n"
        "| joint                    | Sign2Text       | dev   |    - |  73.00 |   91.00 |\n"
        "| mBART, from true glosses | Gloss2Text      | dev   |    - |  75.96 |   92.52 |\n"
        "\n"
        "Sign2Text by what else the mapper may read:\n"
        "\n"
        "| translator.mapper.input | dev bleu4 |\n"
        "| ----------------------- | --------: |\n"
        "| s3d                     |     68.18 |\n"
        "\n"
        "Videos of sentences that are in no split:\n"
        "\n"
        "- REGEN\n"
        "  - translated: regen .\n"
        "  - reference:  es regnet .\n"
        "  - confidence: 0.26\n"
        "  - warning:    unlike anything in the training data: steps 2, 7 is the least\n"
        "- \n"
        "  - translated: sonne .\n"
        "  - reference:  sonne .\n"
        "\n"
        "Seconds of each step, some of them side by side: extract 20, sweep 1\n"
        "Plots: timeline.png\n"
    )
