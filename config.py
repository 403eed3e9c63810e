"""YAML files read strictly into frozen pydantic sections, with line numbers kept.

A mistyped key that becomes a default is the field's most expensive silent error, so every key, type and unit is checked
before anything starts, and every complaint names file:line, the key's path, the value, and the nearest key. Costs one
parse in pure Python (about 1 ms per 100 lines); torch, pyarrow and ray are never imported here.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from .errors import ConfigError
from .remote import STORES, wrong_address
from .yaml_document import Document, KeyPath, override, parse, write

T = TypeVar("T", bound=BaseModel)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBGT]i?|)")
_BYTES = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMGT]i?|)B?")
_SHARE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*%")
_LARGEST = 2**63 - 1

# What YAML calls the types that pydantic complains of: its own names (a tuple, a dictionary) mean nothing there.
_SHAPES = {"model_type": "a mapping of keys to values", "dict_type": "a mapping of keys to values"}
_SHAPES |= {"tuple_type": "a list", "list_type": "a list", "string_type": "text", "bool_type": "true or false"}
_SHAPES |= {"int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number"}

MOST_COMPLAINTS = 8  # of one file that are shown at once


class Section(BaseModel):
    """A part of a configuration: frozen, no key that it does not know, the nearest key suggested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _know_every_key(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        known = {info.alias or name for name, info in cls.model_fields.items()}
        for key in value:
            if key not in known:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key {key}",
                    {"key": str(key), "known": sorted(known), "nearest": nearest(str(key), known)},
                )
        return {key: _frozen(below) for key, below in value.items()}


def _frozen(value: Any) -> Any:
    """Lists as tuples: strict validation takes no list for a tuple, and sections are frozen."""
    if isinstance(value, list):
        return tuple(_frozen(below) for below in value)
    if isinstance(value, dict):
        return {key: _frozen(below) for key, below in value.items()}
    return value


def nearest(word: str, known: set[str] | Sequence[str]) -> str:
    """The entry of `known` most like `word`, or an empty string where nothing is close."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return close[0] if close else ""


def did_you_mean(word: str, known: set[str] | Sequence[str], otherwise: str = "") -> str:
    """How to mend a name that is not known: the nearest one that is, `otherwise` where nothing is close."""
    close = nearest(word, known)
    return f"did you mean {close}?" if close else otherwise


def parse_count(value: object) -> object:
    """`10M`, `64Ki`, `1_000`, `3` to an int; decimal units K M B (or G) T, binary units Ki Mi Gi Ti."""
    if not isinstance(value, str):
        return value
    match = _COUNT.fullmatch(value.strip())
    unit = match[2] if match else None
    if match is None or unit not in _UNITS:
        raise PydanticCustomError("count", "not a count: a whole number with K M B T or Ki Mi Gi Ti")
    whole, _, decimals = match[1].replace("_", "").partition(".")
    scale = 10 ** len(decimals)
    scaled = int(whole + decimals) * _UNITS[unit]
    if scaled % scale:
        raise PydanticCustomError("count", "not a whole number")
    if scaled // scale > _LARGEST:
        raise PydanticCustomError("count", "too large for 64 bits")
    return scaled // scale


def parse_bytes(value: object) -> object:
    """`8GiB`, `500MB`, `1.5G`, `4096` to a number of bytes; decimal units KB MB GB TB, binary units KiB MiB GiB TiB."""
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value.strip())
    if match is None:
        raise PydanticCustomError("bytes", "not a size in bytes: a number with KB MB GB TB or KiB MiB GiB TiB")
    return parse_count(match[1] + match[2])


def parse_share_or_count(value: object) -> object:
    """`0.5%` to the share 0.005, a number with a point to itself (both from 0 to below 1); else a count."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        value = float(Decimal(match[1]) / 100)
    if not isinstance(value, float):
        return parse_count(value)
    if not 0 <= value < 1:
        raise PydanticCustomError("share", "a share is from 0 to below 1 (100 %); a count is a whole number")
    return value


def _local(path: str) -> str:
    """An output folder on this machine: `Path` would make a folder called `s3:` of a remote address."""
    if "://" in path:
        raise ValueError("an output is a folder on this machine, not a remote address")
    return path


def _without_secret(path: str) -> str:
    """A path or an address with nothing secret in it; the complaint does not show it."""
    if "://" in path and (problem := wrong_address(path)):
        raise PydanticCustomError("hidden", "{problem}", {"problem": problem})
    return path


def _local_or_store(path: str) -> str:
    """A folder on this machine or in a store whose bucket is named."""
    if "://" not in path:
        return path
    protocol, _, inside = path.partition("://")
    if protocol not in STORES:
        known = " ".join(f"{name}://" for name in STORES)
        raise PydanticCustomError("protocol", "an output cannot be made there", {"expected": f"a folder, or {known}"})
    if set("*?[]#") & set(inside):
        raise ValueError("an output is one folder: the address holds one of * ? [ ] #")
    return path.rstrip("/")


Count = Annotated[int, BeforeValidator(parse_count)]
ShareOrCount = Annotated[int | float, BeforeValidator(parse_share_or_count)]
LocalFolder = Annotated[str, Field(min_length=1), AfterValidator(_local)]
Address = Annotated[str, Field(min_length=1), AfterValidator(_without_secret)]
OutputFolder = Annotated[Address, AfterValidator(_local_or_store)]


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated section with the document it came from, for errors that are found later."""

    value: T
    document: Document

    def error(
        self, path: KeyPath, what: str, *, seen: object = None, expected: object = None, fix: str = ""
    ) -> ConfigError:
        """A ConfigError at a key path: file:line, the path, what was seen (by default the value that stands there)."""
        return _at(self.document, path, what, expected, fix, seen)


def _at(
    document: Document, path: KeyPath, what: str, expected: object = None, fix: str = "", seen: object = None
) -> ConfigError:
    full = document.full(path)
    return ConfigError(
        f"{full}: {what}" if full else what,
        where=document.place(path),
        seen=_seen(document, path) if seen is None else seen,
        expected=expected,
        fix=fix,
    )


def _seen(document: Document, path: KeyPath) -> object:
    """The value that stands at the path, shortened; None (nothing is shown) for a file's root and a missing key."""
    value = document.value(path)
    if value is None and (path in document.lines or path in document.overridden):
        return "nothing"
    text = repr(value)
    return None if not path else value if len(text) <= 200 else text[:200] + "…"


def load(path: str | Path, model: type[T], overrides: Sequence[str] = ()) -> Loaded[T]:
    """Reads a YAML file into a section.

    Args:
        path: the file.
        model: the section to validate into.
        overrides: `a.b=value` each, applied over the file; the value is read as YAML.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not validate.
    """
    return validate(read(path, overrides), model)


def read(path: str | Path, overrides: Sequence[str] = ()) -> Document:
    """Reads a YAML file, with `a.b=value` applied over it.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    file = Path(path)
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), fix="check the path") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", where=str(path)) from None
    return override(parse(text, str(path)), overrides)


def validate(document: Document, model: type[T]) -> Loaded[T]:
    """Validates a parsed document into a section.

    Raises:
        ConfigError: with every complaint of pydantic, each with its file:line and key path.
    """
    try:
        value = model.model_validate(document.data, strict=True)
    except pydantic.ValidationError as invalid:
        complaints = _complaints(document, [dict(error) for error in invalid.errors()])
        if len(complaints) == 1:
            raise complaints[0] from None
        shown = [complaint.render() for complaint in complaints[:MOST_COMPLAINTS]]
        more = len(complaints) - len(shown)
        raise ConfigError("\n".join([*shown, *([f"and {more} more"] if more else [])])) from None
    return Loaded(value, document)


def _complaints(document: Document, errors: Sequence[dict[str, Any]]) -> list[ConfigError]:
    """One complaint a key path: the types that a union would take are named together, or not at all where another
    branch of it looked further in."""
    located = [(_target(document, error), error) for error in errors]
    complaints: list[ConfigError] = []
    shaped: set[KeyPath] = set()
    for path, error in located:
        # A list is also called too short where an entry of it is wrong.
        unsure = error["type"] in _SHAPES or error["type"] == "too_short"
        if unsure and any(len(other) > len(path) and other[: len(path)] == path for other, _ in located):
            continue
        if error["type"] not in _SHAPES:
            complaints.append(_complaint(document, path, error))
        elif path not in shaped:
            shaped.add(path)
            shapes = [_SHAPES[one["type"]] for other, one in located if other == path and one["type"] in _SHAPES]
            complaints.append(_at(document, path, "must be " + " or ".join(dict.fromkeys(shapes))))
    return complaints


def _target(document: Document, error: dict[str, Any]) -> KeyPath:
    """The key path that an error is about, the missing or unknown key included."""
    path = _existing(document, error["loc"])
    if error["type"] == "unknown_key":
        return (*path, error["ctx"]["key"])
    return (*path, error["loc"][-1]) if error["type"] == "missing" else path


def _complaint(document: Document, path: KeyPath, error: dict[str, Any]) -> ConfigError:
    context: Mapping[str, Any] = error.get("ctx", {})
    if error["type"] == "unknown_key":
        suggestion = f"did you mean {context['nearest']}?" if context["nearest"] else "remove the key"
        known = "one of " + ", ".join(context["known"])
        return _at(document, path, f"unknown key {context['key']}", known, suggestion)
    if error["type"] == "missing":
        return _at(document, path, f"the key {path[-1]} is missing")
    if error["type"] == "union_tag_invalid":
        key, tags = context["discriminator"].strip("'"), re.findall(r"'([^']*)'", context["expected_tags"])
        where = (*path, key) if (*path, key) in document.lines else path
        what = f"there is no {key} {context['tag']}"
        return _at(document, where, what, "one of " + ", ".join(tags), did_you_mean(str(context["tag"]), tags))
    if error["type"] == "too_short" and context["actual_length"] == 0:
        return _at(document, path, "must not be empty")
    seen, expected, fix = document.value(path), context.get("expected"), ""
    if error["type"] in ("literal_error", "enum") and isinstance(seen, str):
        fix = did_you_mean(seen, set(re.findall(r"'([^']*)'", str(expected))))
    shown = "not shown here" if error["type"] == "hidden" else None
    return _at(document, path, error["msg"].removeprefix("Value error, "), expected, fix, shown)


def _existing(document: Document, loc: Sequence[str | int]) -> KeyPath:
    """The part of a pydantic location that stands in the document: names of union branches are left out."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in document.lines or (*path, part) in document.overridden:
            path = (*path, part)
    return path


def dump(section: BaseModel) -> str:
    """The section as YAML with every default written out, for the record beside an output."""
    return write(section.model_dump(mode="json", by_alias=True))
