"""Rows of cells -> lines of text whose columns line up."""

from typing import Collection, List, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = (), indent: str = "") -> List[str]:
    """A line for each row: two spaces between columns, each as wide as its longest cell, and none at the end.

    Args:
        rows: all of the same length.
        right: indices of columns that are aligned at their right ends, as numbers are.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        indent
        + "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
