"""Trimming: the kernel against plain Python, what a trimmed record may never lose, and the order of the four rules."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.manifest import fingerprint
from midtrain.mixtures.packs.pack_requests import VERSION
from midtrain.mixtures.text_spans import PARTS, TextSpans
from midtrain.mixtures.trimming import Text, joined, trim


@dataclass(frozen=True)
class Turn:
    """A turn as lengths in tokens: prompt and header before it, opening tag, reasoning, closing tag, content, end."""

    header: int
    opening: int
    reasoning: int
    closing: int
    content: int
    end: int

    @property
    def tokens(self):
        return self.header + self.block + self.content + self.end

    @property
    def block(self):
        """Tokens of the reasoning with its tags."""
        return self.opening + self.reasoning + self.closing if self.reasoning else 0


SMALL = st.integers(1, 3)
TURNS = st.builds(
    Turn,
    SMALL,
    st.integers(0, 2),
    st.integers(0, 40),
    st.integers(0, 2),
    st.one_of(st.just(0), st.integers(1, 20)),
    SMALL,
).filter(lambda turn: turn.reasoning or turn.content)
DOCUMENTS = st.lists(st.lists(TURNS, min_size=1, max_size=4), min_size=1, max_size=6)
WHOLE, INSIDE = 3, 9  # an id that begins with a character, and one that begins inside one
TABLE = np.packbits([number == INSIDE for number in range(12)], bitorder="little")


def laid_out(documents, seed=None):
    """Ends, spans, text, and for each document the roles of its tokens: (turn, what).

    With a seed half of the tokens begin inside a character, but for the first of each text.
    """
    draw = np.random.default_rng(seed)
    ends, mask, roles, ids = [], [], [], []
    offsets, turn, part, start, stop = [0], [], [], [], []
    for turns in documents:
        own, trained = [], []
        for number, one in enumerate(turns):
            for what in ("header", "opening", "reasoning", "closing", "content", "end"):
                count = getattr(one, what) if one.reasoning or what not in ("opening", "closing") else 0
                if count and what in PARTS:
                    turn.append(2 * number + 1)
                    part.append(PARTS[what])
                    start.append(len(own))
                    stop.append(len(own) + count)
                own += [(number, what)] * count
                parts = seed is not None and what in ("reasoning", "content")
                inside = draw.random(count) < 0.5 if parts else np.zeros(count, np.bool_)
                inside[:1] = False
                ids += np.where(inside, INSIDE, WHOLE).tolist()
                trained += [what != "header"] * count
        own.append((len(turns), "end"))
        trained.append(True)
        ids.append(WHOLE)
        roles.append(own)
        mask += trained
        ends.append(len(mask))
        offsets.append(len(turn))
    spans = TextSpans(
        np.array(offsets, np.int32),
        np.array(turn, np.uint32),
        np.array(part, np.uint8),
        np.array(start, np.uint32),
        np.array(stop, np.uint32),
    )
    text = Text(np.array(ids, np.uint16), np.packbits(np.array(mask, np.bool_), bitorder="little"), TABLE)
    return np.array(ends, np.int64), spans, text, roles


def kept_of(roles, ids, turns, limit, least):
    """The tokens of a document that stay by the four rules, as positions; None where it is dropped."""
    places = list(range(len(roles)))
    if len(places) <= limit:
        return places
    last = len(turns) - 1
    own = turns[last].reasoning
    floor = min(least, own)

    def without_tail(left):
        reasoning = [at for at in left if roles[at] == (last, "reasoning")]
        heads = [head for head in range(own) if ids[reasoning[head]] == WHOLE] + [own]
        fits = [head for head in heads if floor <= head and len(left) - own + head <= limit]
        return [at for at in left if at not in set(reasoning[max(fits) :])] if fits else None

    second = without_tail(places)
    if second is not None:
        return second

    def goes(at):
        turn, what = roles[at]
        tags = ("opening", "reasoning", "closing") if turn < last and turns[turn].content else ("reasoning",)
        return turn < last and what in tags

    return without_tail([at for at in places if not goes(at)])


@settings(deadline=None)
@given(DOCUMENTS, st.integers(1, 120), st.integers(0, 20), st.integers(0, 99))
def test_the_kernel_is_the_four_rules_in_plain_python(documents, limit, least, seed):
    ends, spans, text, roles = laid_out(documents, seed)
    found = trim(ends, spans, text, limit, least)
    begin = 0
    for number, turns in enumerate(documents):
        ranges = slice(found.offsets[number], found.offsets[number + 1])
        starts, stops = found.starts[ranges], found.stops[ranges]
        assert (starts < stops).all()
        assert (stops[:-1] < starts[1:]).all(), "ranges that touch are one"
        seen = [at - begin for a, b in zip(starts, stops, strict=True) for at in range(a, b)]
        expected = kept_of(roles[number], text.ids[begin:], turns, limit, least)
        assert seen == (expected or [])
        reasoning = [at for at in seen if roles[number][at][1] == "reasoning"]
        assert found.kept[number] == len(reasoning)
        assert found.reasoning[number] == sum(turn.reasoning for turn in turns)
        assert found.lengths[number] == len(seen)
        begin = int(ends[number])


@settings(deadline=None)
@given(DOCUMENTS, st.integers(1, 120), st.integers(0, 20), st.integers(0, 99))
def test_a_trimmed_record_fits_and_keeps_prompts_answers_and_the_head_of_its_reasoning(documents, limit, least, seed):
    ends, spans, text, roles = laid_out(documents, seed)
    found = trim(ends, spans, text, limit, least)
    assert (found.lengths <= limit).all()
    begin = 0
    for number, turns in enumerate(documents):
        own, last = roles[number], len(turns) - 1
        places = []
        for index in range(found.offsets[number], found.offsets[number + 1]):
            places += range(found.starts[index] - begin, found.stops[index] - begin)
        ids, begin = text.ids[begin:], int(ends[number])
        must = [at for at, (_, what) in enumerate(own) if what in ("header", "content", "end")]
        reasoning = [at for at, role in enumerate(own) if role == (last, "reasoning")]
        tags = [at for at, (turn, what) in enumerate(own) if turn == last and what in ("opening", "closing")]
        if not places:
            stays = {turn for turn in range(last) if not turns[turn].content}  # the tags of these
            tags += [at for at, (turn, what) in enumerate(own) if turn in stays and what in ("opening", "closing")]
            heads = [head for head, at in enumerate(reasoning) if ids[at] == WHOLE and head >= least]
            assert len(must) + len(tags) + min([*heads, len(reasoning)]) > limit, "it would have fitted"
            continue
        assert set(must + tags) <= set(places)
        stay = [at for at in reasoning if at in set(places)]
        assert stay == reasoning[: len(stay)]
        assert stay == reasoning or ids[reasoning[len(stay)]] == WHOLE, "a character is cut"
        assert len(stay) >= min(least, len(reasoning))


def test_the_ranges_are_those_of_this_version():
    """Other ranges must raise the version of packs, or runs would go on with other sequences."""
    draw = np.random.default_rng(5)
    documents = [
        [Turn(*(int(draw.integers(1, most)) for most in (9, 3, 200, 3, 30, 3))) for _ in range(draw.integers(1, 4))]
        for _ in range(300)
    ]
    ends, spans, text, _ = laid_out(documents, 5)
    found = [trim(ends, spans, text, limit, least) for limit, least in ((50, 0), (100, 0), (100, 40))]
    assert all(0 < (one.lengths == 0).sum() < 300 for one in found), "some are dropped"
    assert VERSION == 4
    assert (
        fingerprint([[one.starts.tolist(), one.stops.tolist()] for one in found]) == "00c1a72353b2a860bc8158e25d87248d"
    )


def one(turns, limit, least=0):
    ends, spans, text, roles = laid_out([turns])
    found = trim(ends, spans, text, limit, least)
    return [roles[0][at] for a, b in zip(found.starts, found.stops, strict=True) for at in range(a, b)]


def test_the_rules_are_tried_in_order():
    first, last = Turn(2, 1, 10, 1, 4, 1), Turn(2, 1, 20, 1, 4, 1)
    whole = first.tokens + last.tokens + 1  # 19 + 29 + 1
    count = lambda kept, turn: kept.count((turn, "reasoning"))  # noqa: E731
    assert len(one([first, last], whole)) == whole
    cut = one([first, last], whole - 15)
    assert (count(cut, 0), count(cut, 1)) == (10, 5), "the last tail goes before any earlier reasoning"
    all_but = one([first, last], whole - 20)
    assert (count(all_but, 0), count(all_but, 1)) == (10, 0)
    assert (1, "closing") in all_but
    third = one([first, last], whole - 21)
    assert (count(third, 0), count(third, 1)) == (0, 11), "12 of the earlier block make room for 11 again"
    assert (0, "opening") not in third
    assert (0, "closing") not in third
    assert len(one([first, last], whole - 32)) == whole - 32
    assert one([first, last], whole - 33) == []


def test_a_least_reasoning_takes_earlier_blocks_first_and_then_drops():
    first, last = Turn(2, 1, 10, 1, 4, 1), Turn(2, 1, 20, 1, 4, 1)
    whole = first.tokens + last.tokens + 1
    assert one([first, last], whole - 15, 5).count((0, "reasoning")) == 10
    kept = one([first, last], whole - 15, 6)
    assert kept.count((0, "reasoning")) == 0
    assert kept.count((1, "reasoning")) == 17
    assert one([first, last], whole - 27, 6) == []


def test_a_head_that_characters_make_too_short_goes_on_to_the_next_rule():
    first, last = Turn(2, 1, 10, 1, 4, 1), Turn(2, 1, 20, 1, 4, 1)
    ends, spans, text, roles = laid_out([[first, last]])
    whole = int(ends[0])
    reasoning = [at for at, role in enumerate(roles[0]) if role == (1, "reasoning")]

    def heads(inside, limit, least=0):
        """Tokens that stay of the two reasonings."""
        ids = text.ids.copy()
        ids[[reasoning[at] for at in inside]] = INSIDE
        found = trim(ends, spans, text._replace(ids=ids), limit, least)
        kept = [roles[0][at] for a, b in zip(found.starts, found.stops, strict=True) for at in range(a, b)]
        assert len(kept) <= limit
        return kept.count((0, "reasoning")), kept.count((1, "reasoning"))

    assert heads([], whole - 15) == (10, 5)
    assert heads([5, 4, 3], whole - 15) == (10, 2), "back to the character that the cut would split"
    assert heads([5, 4, 3], whole - 15, least=2) == (10, 2)
    assert heads([5, 4, 3], whole - 15, least=3) == (0, 17), "shorter than the least: the earlier block goes first"
    assert heads([1, 2, 3, 4, 5], whole - 15) == (10, 0), "an empty head is one where no least is named"
    assert heads([1, 2, 3, 4, 5], whole - 15, least=1) == (0, 17)
    assert heads(range(1, 20), whole - 13, least=1) == (0, 0), "one character of twenty tokens, of which 19 would fit"
    assert heads(range(1, 20), whole - 12, least=1) == (0, 20)


def test_a_table_that_is_too_short_is_an_error():
    ends, spans, text, _ = laid_out([[Turn(2, 1, 20, 1, 4, 1)]])
    with pytest.raises(RunError, match="table of ids"):
        trim(ends, spans, text._replace(inside=TABLE[:0]), 20)


def test_parts_that_are_joined_are_trimmed_as_each_alone():
    given_parts = [laid_out([[Turn(2, 1, size, 1, 4, 1)] for size in sizes])[:3] for sizes in ([5, 40], [30], [2, 50])]
    found = joined([trim(*part, 20) for part in given_parts])
    alone = [trim(*part, 20) for part in given_parts]
    assert found.lengths.tolist() == [length for one in alone for length in one.lengths]
    assert found.of(np.array([4, 1])).lengths.tolist() == [alone[2].lengths[1], alone[0].lengths[1]]
    assert found.kept.tolist() == [kept for one in alone for kept in one.kept]
