"""The punctuation mapping of CSL-Daily texts against the published one."""

from slt_pipeline.text.normalise import to_half_width


def test_every_recorded_text(parity_json):
    rows = parity_json("csl_text_mapping.jsonl")
    assert rows and [to_half_width(row["raw"]) for row in rows] == [row["mapped"] for row in rows]
