"""What a worker needs: never less than one that does nothing, never less for more, and bounded where the code is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.chunk_cache import MEMORY
from midtrain.filters.exact_dedup import ExactDedup
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.gopher_repetition import GopherRepetition
from midtrain.filters.language import Language
from midtrain.filters.length import Length
from midtrain.pipelines import footprints
from midtrain.pipelines.duplicates import index_stages, sizes
from midtrain.pipelines.recipe import Step

SIZES = st.integers(0, 1 << 34)
ASKED = {
    "reading": lambda size: footprints.reading(size, size, size, (), size),
    "passing": lambda size: footprints.passing(size, 1000, (), size),
    "deciding": lambda size: footprints.deciding(size, size, 20),
    "keys": lambda size: footprints.keys(size, size // 1000),
    "choice": footprints.choice,
    "bands": lambda size: footprints.bands(size, 1000, 14),
    "buckets": footprints.buckets,
    "components": footprints.components,
    "members": lambda size: footprints.members(size, 1000, 14),
    "indexing": lambda size: footprints.indexing(size, 1000),
    "entries": footprints.entries,
    "similar": lambda size: footprints.similar(size),
    "held_out_keys": lambda size: footprints.held_out_keys(size, 1000, True),
    "held_out": footprints.held_out,
    "training": footprints.training,
    "encoding": footprints.encoding,
    "writing_shards": footprints.writing_shards,
    "packing": lambda size: footprints.packing(size, size // 10),
    "with_document": lambda size: footprints.with_document(footprints.WORKER, size),
}


@pytest.mark.parametrize("name", ASKED)
@given(one=SIZES, two=SIZES)
def test_more_to_do_never_needs_less(name, one, two):
    low, high = sorted((one, two))
    assert footprints.WORKER <= ASKED[name](low) <= ASKED[name](high)


def test_a_task_of_any_size_reads_in_bounded_memory():
    assert footprints.reading(1 << 40, 0, 0, (), 9) == footprints.reading(footprints.GROUP, 0, 0, (), 9) < 300 << 20
    assert footprints.passing(1 << 40, 1 << 30, (), 9) < 300 << 20


def test_near_duplicates_of_any_corpus_take_less_than_512_mib():
    bands, huge = 14, 1 << 50
    keys = huge * bands // sizes.key_partitions(huge, bands)
    for short in (1, 20):  # documents of 1,000 bytes, and of 50
        assert footprints.bands(huge, huge // 1000 * short, bands) < 512 << 20
        assert footprints.indexing(huge, huge // 1000 * short) < 512 << 20
        assert footprints.members(huge, huge // 1000 * short, bands) < 512 << 20
    assert footprints.entries(index_stages.ENTRIES_PER_RANGE) < 512 << 20
    assert footprints.buckets(keys) < 512 << 20
    assert footprints.components(huge) < 512 << 20
    assert footprints.similar(huge) < 512 << 20


def test_a_decision_holds_a_row_group_of_scores():
    one, many = footprints.deciding(36 << 20, 100_000, 20), footprints.deciding(36 << 30, 100_000_000, 20)
    assert one < many < one + footprints.ROW_GROUP_BYTES
    assert footprints.deciding(36 << 20, 100_000, 40) > one + 10_000_000


def test_short_documents_are_read_a_few_at_a_time():
    assert footprints.part_reading(36 << 20, 100_000) < footprints.part_reading(36 << 20, 1_000)


def test_steps_share_one_chunk_cache_which_grows_with_the_text():
    quality, repetition = Step("a", GopherQuality(), ("web",)), Step("b", GopherRepetition(), ("web",))
    length = Step("c", Length(min_characters=1), ("web",))
    alone = footprints.steps(1 << 20, [quality], 12_000_000)
    assert footprints.steps(1 << 20, [quality, repetition], 12_000_000) == alone
    without = footprints.steps(1 << 20, [length], 12_000_000)
    assert 10e6 < alone - without < 20e6
    assert 90e6 < footprints.steps(1 << 20, [quality], 240_000_000) - without < 180e6
    assert footprints.steps(1 << 20, [quality], 1 << 50) - without == MEMORY


def test_steps_bring_their_models():
    def step(options):
        return Step("step", options, ("web",))

    without = footprints.steps(1 << 20, [step(GopherQuality())], 1 << 20)
    model = Language(keep=("en",))
    assert model.memory > 500_000  # lid.176.ftz
    assert footprints.steps(1 << 20, [step(GopherQuality()), step(model)], 1 << 20) == without + model.memory
    assert footprints.steps(1 << 20, [step(ExactDedup())], 1 << 20) == footprints.steps(1 << 20, [], 1 << 20) == 0


def test_a_document_that_fits_changes_nothing():
    memory = footprints.reading(64 << 20, 0, 0, (), 0)
    assert footprints.with_document(memory, 1 << 20) == memory
    assert footprints.with_document(memory, 50_000_000) > memory + 100_000_000


def test_a_large_document_out_of_a_row_group_needs_its_page_too():
    alone = footprints.with_document(0, 50_000_000)
    assert footprints.with_document(0, 50_000_000, 60_000_000) == alone + 125_000_000
    assert footprints.with_document(0, 50_000_000, 10_000_000) == alone + 25_000_000
