"""What a worker needs: never less than one that does nothing, never less for more, and bounded where the code is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters import catalogue, chunk_cache
from midtrain.filters.exact_dedup import ExactDedup
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.gopher_repetition import GopherRepetition
from midtrain.filters.language import Language
from midtrain.filters.length import Length
from midtrain.pipelines import footprints
from midtrain.pipelines.recipe import Step

LOOKING = ("gopher_repetition", "gopher_quality", "c4", "fineweb_quality")
SIZES = st.integers(0, 1 << 34)
ASKED = {
    "reading": lambda size: footprints.reading(size, size, size, size, ()),
    "passing": lambda size: footprints.passing(size, 1000, size, ()),
    "deciding": lambda size: footprints.deciding(size, size // 1000, 20),
    "keys": lambda size: footprints.keys(size, size // 1000),
    "choice": footprints.choice,
    "held_out_keys": lambda size: footprints.held_out_keys(size, 1000, True),
    "held_out": footprints.held_out,
    "training": footprints.training,
    "encoding": footprints.encoding,
    "writing_shards": footprints.writing_shards,
    "with_document": lambda size: footprints.with_document(footprints.WORKER, size),
}


@pytest.mark.parametrize("name", ASKED)
@given(one=SIZES, two=SIZES)
def test_more_to_do_never_needs_less(name, one, two):
    low, high = sorted((one, two))
    assert footprints.WORKER <= ASKED[name](low) <= ASKED[name](high)


def test_a_task_of_any_size_reads_in_bounded_memory():
    assert (
        footprints.reading(1 << 40, 1 << 40, 0, 0, ()) == footprints.reading(footprints.GROUP, 0, 0, 0, ()) < 300 << 20
    )
    assert footprints.passing(1 << 40, 1 << 30, 1 << 40, ()) < 300 << 20


def test_a_decision_holds_a_row_group_of_scores():
    one, many = footprints.deciding(36 << 20, 100_000, 20), footprints.deciding(36 << 30, 100_000_000, 20)
    assert one < many < one + footprints.ROW_GROUP_BYTES
    assert footprints.deciding(36 << 20, 100_000, 40) > one + 10_000_000


def test_short_documents_are_read_a_few_at_a_time():
    assert footprints.part_reading(36 << 20, 100_000) < footprints.part_reading(36 << 20, 1_000)


def test_steps_bring_their_models():
    def step(options):
        return Step("step", options, ("web",))

    without = footprints.steps(1 << 20, 0, [step(GopherQuality())])
    model = Language(keep=("en",))
    assert model.memory > 500_000  # lid.176.ftz
    assert footprints.steps(1 << 20, 0, [step(GopherQuality()), step(model)]) == without + model.memory
    assert footprints.steps(1 << 20, 0, [step(ExactDedup())]) == footprints.steps(1 << 20, 0, []) == 0


def test_the_chunk_cache_is_counted_once_and_grows_with_the_text_up_to_its_bound():
    chain = [Step(name, catalogue.step(name)(), ("web",)) for name in LOOKING]

    def cache(whole, steps=chain):
        return footprints.steps(1 << 20, whole, steps) - footprints.steps(1 << 20, 0, steps)

    assert 0 < cache(12_000_000) < cache(100_000_000) == pytest.approx(52 << 20, rel=0.05)
    assert cache(1 << 40) == chunk_cache.MEMORY
    assert all(cache(1 << 40, [one]) == chunk_cache.MEMORY for one in chain)
    assert cache(1 << 40, [Step("length", Length(min_characters=3), ("web",))]) == 0


def test_a_large_document_needs_what_the_hungriest_step_holds_of_it():
    chain = [Step(name, catalogue.step(name)(), ("web",)) for name in LOOKING]
    more = footprints.with_document(0, 50_000_000, 0, chain) - footprints.with_document(0, 50_000_000)
    assert more == GopherRepetition.scratch * 50_000_000


def test_a_document_that_fits_changes_nothing():
    memory = footprints.reading(64 << 20, 0, 0, 0, ())
    assert footprints.with_document(memory, 1 << 20) == memory
    assert footprints.with_document(memory, 50_000_000) > memory + 100_000_000


def test_a_large_document_out_of_a_row_group_needs_its_page_too():
    alone = footprints.with_document(0, 50_000_000)
    assert footprints.with_document(0, 50_000_000, 60_000_000) == alone + 125_000_000
    assert footprints.with_document(0, 50_000_000, 10_000_000) == alone + 25_000_000
