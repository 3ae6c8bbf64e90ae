"""Rows of cells as lines of text."""

from pomt_trt.core.text_table import aligned


def test_columns_are_as_wide_as_their_longest_cell_and_lines_end_without_spaces():
    assert aligned([("id", "why"), ("r000", ""), ("r9", "won")]) == ["id    why", "r000", "r9    won"]


def test_columns_of_numbers_are_aligned_at_the_right():
    assert aligned([("a", "ms"), ("b", "10.5"), ("c", "9.0")], right=[1], indent="  ") == [
        "  a    ms",
        "  b  10.5",
        "  c   9.0",
    ]
