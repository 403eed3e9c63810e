"""Statements of problems: their normal form, and what makes two of them one problem.

Corpora copy problems from each other and spell them anew: other LaTeX, other delimiters, 1,000 for 1000, a synonym.
Words may differ a little between two spellings of a problem; its numbers and formulas may not, nor a word that says the
opposite. Costs about 100 microseconds a statement, in plain Python, and 300 a pair that is looked at.
"""

from typing import Final

from .contrast import told_apart
from .requests import stated
from .statement import Statement, normal, units

VERSION: Final = 4  # of forms, units and what tells them apart: raise it when one changes

__all__ = ["VERSION", "Statement", "normal", "stated", "told_apart", "units"]
