"""Cells of tables: names and words of others go in, and what no spreadsheet takes for a formula comes out.

A cell that begins with one of `=+-@` is computed by a spreadsheet when the table is opened, and can fetch or send.
"""

from .errors import printable

FORMULA_STARTS = ("=", "+", "-", "@")


def name_cell(name: str) -> str:
    """Return the path of a file as a cell: still a path, in one line."""
    text = printable(name)
    return f"./{text}" if text.startswith(FORMULA_STARTS) else text


def word_cell(word: str) -> str:
    """Return a word of somebody else's, such as a label, as a cell in one line: behind ' it is text."""
    text = printable(word)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
