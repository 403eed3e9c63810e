"""The checker of final answers: finds the one in a reply and says whether it is the gold one, or that nobody can tell.

Filters, generated problems and evaluation judge replies by the same rules, so that a number means the same in each.
Costs a microsecond for plain numbers; formulas go to processes of their own, with limits of time and memory.
"""

from .checker import Checker
from .compare import agree
from .extract import Extracted, extract
from .suspicion import Suspicion, suspect
from .verdict import Verdict

__all__ = ["Checker", "Extracted", "Suspicion", "Verdict", "agree", "extract", "suspect"]
