import pytest

from slt_pipeline.errors import SltError
from slt_pipeline.text.gloss_cleanup import clean_phoenix14, clean_phoenix14t


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("X A B C Y", "X A+B+C+Y"),
        ("MEHR A B", "MEHR A+B"),
        ("A B", "A B"),
        ("S H", "S H"),
        ("K R E T A", "K R+E+T+A"),
        ("E R Z GEBIRGE", "E R+Z GEBIRGE"),
        ("A+B C", "A+B+C"),
        ("HAUSRAUM RAUM", "HAUS RAUM"),
        ("REGEN REGEN WIND WIND WIND", "REGEN WIND"),
        ("IM-MOMENT IM-MOMENT", "IM-MOMENT"),
        ("__EPENTHESIS__ REGEN __OFF__", "REGEN"),
        ("loc-NORD cl-KOMMEN REGEN-PLUSPLUS", "NORD KOMMEN REGEN"),
        ("  ", ""),
    ],
)
def test_published_examples_of_phoenix_2014t(raw, cleaned):
    assert clean_phoenix14t(raw) == cleaned


def test_rules_of_phoenix_2014_go_further():
    assert clean_phoenix14("poss-MEIN HABEN2 S0NNE ZEIGEN") == "MEIN HABEN SONNE ZEIGEN-BILDSCHIRM"
    assert clean_phoenix14("__ON__ REGEN") == "__ON__ REGEN"


def test_marker_that_phoenix_2014_cannot_clean_is_refused():
    with pytest.raises(SltError, match="__EPENTHESIS__ is left after"):
        clean_phoenix14("REGEN __EPENTHESIS__ WIND")
