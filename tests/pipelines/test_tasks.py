"""Tasks: every byte, row group and file once and in order, and all tasks about equal."""

from itertools import accumulate, groupby

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.pipelines import tasks
from midtrain.pipelines.inputs import EXPANSION, SourceFiles, Split
from midtrain.pipelines.recipe import SourceSpec
from midtrain.pipelines.tasks import Piece

SIZE = 1000
WEB = SourceSpec(name="web", path="x")


def files(*entries):
    """The files of a source: name and size, and the sizes of row groups where there are any."""
    names, sizes, groups = zip(*((name, size, tuple(more)) for name, size, *more in entries), strict=True)
    return SourceFiles("web", "/data/", names, sizes, ("h",) * len(entries), groups)


def cut(own, pieces=None, spec=WEB, size=SIZE):
    """The splits of each task."""
    made = tasks.stretches(spec, own, size, pieces or {})
    return [tasks.splits(stretch, spec, own, pieces or {}) for stretch in made]


def shown(found):
    return [[(split.relative, split.start, split.stop) for split in task] for task in found]


def units(split, number, own, pieces):
    """The bytes of text of a split, by what cannot be cut; a stretch of a plain file is one."""
    if own.row_groups[number]:
        return own.row_groups[number][split.start : None if split.stop < 0 else split.stop]
    if (split.source, split.relative) in pieces:
        return [next(one.size for one in pieces[split.source, split.relative] if one.path == split.path)]
    if split.relative.endswith((".gz", ".zst")):
        return [own.sizes[number] * EXPANSION]
    return [(own.sizes[number] if split.stop < 0 else split.stop) - split.start]


def weights(found, own, pieces):
    """For each task the bytes of its units."""
    numbers = {relative: number for number, relative in enumerate(own.relatives)}
    return [[one for split in task for one in units(split, numbers[split.relative], own, pieces)] for task in found]


@st.composite
def sources(draw, largest):
    """Files of every kind in any order, and the pieces of those that were cut; units of up to `largest` bytes."""
    entries, pieces = [], {}
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["tiny", "plain", "gz", "cut", "parquet"]))
        name = f"{number:03d}"
        sizes = draw(st.lists(st.integers(1, largest), min_size=1, max_size=6))
        match kind:
            case "tiny":
                entries += [(f"{name}-{one}.jsonl", draw(st.integers(1, 20))) for one in range(sizes[0] % 50)]
            case "plain":
                entries.append((f"{name}.jsonl", draw(st.integers(1, 12 * SIZE))))
            case "gz":
                entries.append((f"{name}.jsonl.gz", max(sizes[0] // EXPANSION, 1)))
            case "cut":
                starts = [0, *accumulate(sizes)]
                entries.append((f"{name}.jsonl.zst", 1 + sum(sizes) // 3))
                pieces["web", f"{name}.jsonl.zst"] = [
                    Piece(f"/cut/{name}-{one}", *place)
                    for one, place in enumerate(zip(starts[:-1], sizes, strict=True))
                ]
            case "parquet":
                entries.append((f"{name}.parquet", 1 + sum(sizes) // 2, *sizes))
    entries.append(("zzz.jsonl", 1))
    return files(*entries), pieces


def check_once_and_in_order(found, own, pieces):
    flat = [split for task in found for split in task]
    assert all(found)
    by_file = {relative: list(group) for relative, group in groupby(flat, lambda split: split.relative)}
    assert list(by_file) == list(own.relatives)
    for number, (relative, mine) in enumerate(by_file.items()):
        if ("web", relative) in pieces:
            assert mine == [Split("web", one.path, relative, 0, -1, one.start) for one in pieces["web", relative]]
            continue
        assert {split.path for split in mine} == {own.root + relative}
        assert [mine[0].start, mine[-1].stop] == [0, -1]
        assert [split.stop for split in mine[:-1]] == [split.start for split in mine[1:]]
        assert [split.start for split in mine] == sorted({split.start for split in mine})
        assert mine[-1].start < (len(own.row_groups[number]) or own.sizes[number])


@settings(max_examples=300, deadline=None)
@given(st.one_of(sources(largest=SIZE // 4), sources(largest=SIZE), sources(largest=8 * SIZE)))
def test_everything_is_in_one_task_and_tasks_are_about_equal(drawn):
    own, pieces = drawn
    found = cut(own, pieces)
    check_once_and_in_order(found, own, pieces)
    sizes = weights(found, own, pieces)
    assert len(found) == 1 or min(map(sum, sizes)) >= SIZE // 2
    assert all(sum(task) <= 2 * SIZE or max(task) > SIZE for task in sizes)


@pytest.mark.parametrize(
    "entries",
    [
        [("one.jsonl", 400 * SIZE + 77)],
        [(f"{number:05d}.jsonl", 2) for number in range(20_000)],
        [("0.jsonl", 40 * SIZE), *((f"{number:05d}.jsonl", 2) for number in range(1, 20_000)), ("9.jsonl", 7 * SIZE)],
        [(f"{number:03d}.jsonl", 300 + 37 * (number % 20)) for number in range(500)],
    ],
)
def test_plain_files_of_all_sizes_make_tasks_within_half_and_one_and_a_half(entries):
    own = files(*entries)
    found = cut(own)
    check_once_and_in_order(found, own, {})
    sizes = [sum(task) for task in weights(found, own, {})]
    assert sum(sizes) == sum(own.sizes)
    assert SIZE // 2 <= min(sizes) <= max(sizes) <= 3 * SIZE // 2
    assert len(sizes) == pytest.approx(sum(own.sizes) / SIZE, rel=0.02, abs=1)


def test_a_cut_near_the_edge_of_a_file_goes_to_the_edge():
    assert shown(cut(files(("a.jsonl", 1100), ("b.jsonl", 900)))) == [[("a.jsonl", 0, -1)], [("b.jsonl", 0, -1)]]
    assert shown(cut(files(("a.jsonl", 1300), ("b.jsonl", 700)))) == [
        [("a.jsonl", 0, 1000)],
        [("a.jsonl", 1000, -1), ("b.jsonl", 0, -1)],
    ]


def test_a_task_may_be_a_tail_some_small_files_and_a_head():
    own = files(("a.jsonl", 1500), ("b.jsonl", 100), ("c.jsonl", 100), ("d.jsonl", 1300))
    assert shown(cut(own)) == [
        [("a.jsonl", 0, 1000)],
        [("a.jsonl", 1000, -1), ("b.jsonl", 0, -1), ("c.jsonl", 0, -1), ("d.jsonl", 0, 300)],
        [("d.jsonl", 300, -1)],
    ]


def test_a_text_that_is_one_document_is_never_cut():
    spec = SourceSpec(name="web", path="x", format="text")
    assert shown(cut(files(("a.txt", 10 * SIZE)), spec=spec)) == [[("a.txt", 0, -1)]]
    by_line = SourceSpec(name="web", path="x", format="text", document="line")
    assert len(cut(files(("a.txt", 10 * SIZE)), spec=by_line)) == 10


def test_what_is_small_rides_with_a_document_that_is_larger_than_a_task():
    spec = SourceSpec(name="web", path="x", format="text")
    own = files(("a.txt", 100), ("b.txt", 9 * SIZE), ("c.txt", 200))
    assert shown(cut(own, spec=spec)) == [[("a.txt", 0, -1), ("b.txt", 0, -1), ("c.txt", 0, -1)]]


def test_parquet_is_cut_at_row_groups_and_a_giant_one_stays_whole():
    assert shown(cut(files(("a.parquet", 100, *[600] * 5)))) == [
        [("a.parquet", 0, 2)],
        [("a.parquet", 2, 3)],
        [("a.parquet", 3, -1)],
    ]
    assert shown(cut(files(("a.parquet", 100, 50 * SIZE)))) == [[("a.parquet", 0, -1)]]
    assert shown(cut(files(("a.parquet", 100)))) == [[("a.parquet", 0, -1)]]


def test_a_file_cut_to_nothing_is_no_split():
    own = files(("a.jsonl.gz", 2000), ("b.jsonl", 10))
    assert shown(cut(own, {("web", "a.jsonl.gz"): []})) == [[("b.jsonl", 0, -1)]]


def test_generated_problems_are_cut_by_number():
    one = SourceSpec(name="g", format="generated", tasks=("modular_chain",), steps=(4,), count=25_000)
    nothing = SourceFiles("g")
    assert cut(nothing, spec=one) == [(Split("g", "", "", 0, 20_000),), (Split("g", "", "", 20_000, 25_000),)]
    two = one.model_copy(update={"tasks": ("modular_chain", "word_problem")})
    assert [task[0].stop for task in cut(nothing, spec=two)] == [10_000, 20_000, 25_000]


@given(st.integers(1, 5000), st.integers(0, 3))
@example(1499, 0)
@example(1500, 0)
def test_the_number_of_tasks_is_the_nearest_to_the_text(length, more):
    own = files(("a.jsonl", length + more * SIZE))
    assert len(cut(own)) == max((2 * (length + more * SIZE) + SIZE) // (2 * SIZE), 1)
