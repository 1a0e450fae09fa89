import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.report.tables import markdown_table, text_table

ROWS = [
    {"task": "sign2text", "bleu4": 41.234, "clips": 60},
    {"task": "gloss2text", "bleu4": 9.0, "wer": None, "clips": 7},
]


def test_text_table_aligns_words_left_and_numbers_right():
    assert text_table(ROWS) == (
        "task        bleu4  clips  wer\n"
        "----------  -----  -----  ---\n"
        "sign2text   41.23     60  -\n"
        "gloss2text   9.00      7  -"
    )


def test_markdown_table_aligns_its_source_too():
    assert markdown_table(ROWS, {"task": "Task", "clips": "Clips"}) == (
        "| Task       | Clips |\n| ---------- | ----: |\n| sign2text  |    60 |\n| gloss2text |     7 |"
    )


def test_columns_select_order_and_leave_out_what_no_row_has():
    assert text_table(ROWS, ("clips", "rouge", "task")).splitlines()[0] == "clips  task"


def test_missing_numbers_keep_a_column_on_the_right():
    assert text_table([{"wer": None}, {"wer": 123.456}]).splitlines()[2:] == ["     -", "123.46"]


def test_decimals_and_truth_values():
    lines = text_table([{"loss": 1.23456, "done": True}, {"loss": 2.0, "done": False}], decimals=4).splitlines()
    assert lines[2:] == ["1.2346  yes", "2.0000  no"]


def test_chinese_takes_two_places():
    lines = text_table([{"gloss": "今天", "n": 1}, {"gloss": "abcd", "n": 2}]).splitlines()
    assert lines[2:] == ["今天   1", "abcd   2"]


def test_markdown_cells_cannot_break_the_table():
    assert markdown_table([{"text": "a|b\nc"}]).splitlines()[-1] == "| a\\|b c |"


def test_table_of_no_rows_is_refused():
    with pytest.raises(SltError, match="no columns to show: 0 rows"):
        text_table([])
    with pytest.raises(SltError, match="no columns to show: 2 rows with 4 keys"):
        markdown_table(ROWS, ("nothing",))
