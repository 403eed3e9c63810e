"""The table of a mixture: what each phase takes of each source, as it was planned and as it came to be.

`plan` and `build` print the same rows, so that the one can be laid beside the other. Costs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

HEADS = ["phase", "source", "share", "available", "requested", "realised", "error", "sequences", "epochs"]
HEADS += ["cut", "dropped", "padding"]


def table_rows(rows: Sequence[Mapping[str, Any]], realised: bool) -> list[list[str]]:
    """The rows of a plan as a table: with `realised` also what was drawn and how far it is from what was asked for.

    A phase of several sources ends with what they come to.
    """
    found = [HEADS]
    for phase in dict.fromkeys(row["phase"] for row in rows):
        own = [row for row in rows if row["phase"] == phase]
        found += [_cells(row) for row in own]
        if len(own) > 1:
            found.append(_cells(_sum(own)))
    kept = [number for number, head in enumerate(HEADS) if realised or head not in ("realised", "error")]
    return [[row[number] for number in kept] for row in found]


def _sum(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("planned_tokens", "tokens", "sequences", "padding")
    total = {name: sum(row[name] for row in rows) for name in names}
    of = {"share": sum(row["share"] for row in rows), "estimated": any(row["estimated"] for row in rows)}
    of["stopped"] = rows[0].get("stopped", False)
    return {"phase": rows[0]["phase"], "source": "", **total, **of}


def _cells(row: Mapping[str, Any]) -> list[str]:
    about, of_source = "~" if row["estimated"] else "", bool(row["source"])
    stored = row["tokens"] + row["padding"]
    return [
        row["phase"],
        row["source"],
        f"{row['share']:.4g}",
        about + _number(row["available"], about) if of_source else "",
        f"{row['planned_tokens']:,}",
        about + f"{row['tokens']:,}",
        "cut short" if row.get("stopped") else f"{row['tokens'] - row['planned_tokens']:+,}",
        about + f"{row['sequences']:,}",
        about + f"{row['epochs']:.3f}" if of_source else "",
        about + _number(row["cut_documents"], about) if of_source else "",
        about + _number(row["dropped_documents"], about) if of_source else "",
        f"{about}{100 * row['padding'] / stored:.2f} %" if stored else "",
    ]


def loss_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For every phase and source that trims records: how many, what they keep, and the tokens lost by cause.

    They are of the index that the phase draws from at its end: all records, or those that the epoch had not drawn.
    """
    return [_losses(row) for row in rows if row.get("trimmed_documents")]


def _losses(row: Mapping[str, Any]) -> str:
    about = "~" if row["estimated"] else ""
    trimmed, dropped = row["trimmed_tokens"], row["dropped_tokens"]
    given = row["index_tokens"] + trimmed + dropped
    lost = [
        f"trimmed {about}{_number(trimmed, about)} ({trimmed / given:.2%})",
        f"dropped as answer_too_long {about}{_number(dropped, about)} ({dropped / given:.2%})",
        "cut 0",
    ]
    records = f"{about}{_number(row['trimmed_documents'], about)} records trimmed"
    kept = f"{row['kept_reasoning']:.1%} of their reasoning kept in the mean"
    of = f"of {about}{_number(given, about)} tokens lost"
    return f"phase {row['phase']}, {row['source']}: {records}, {kept}; {of}: {', '.join(lost)}"


def _number(count: int, about: str) -> str:
    """An estimate to three digits: it has no more."""
    return f"{round(count, min(0, 3 - len(str(count)))) if about else count:,}"
