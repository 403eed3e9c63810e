"""Recipes: what loads, how each file is laid out, and what a recipe that cannot run is refused for."""

from pathlib import Path

import pytest
from midtrain.errors import ConfigError
from midtrain.filters.exact_dedup import ExactDedup
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.pipelines import recipe
from midtrain.pipelines.recipe import SourceSpec

RECIPE = """\
name: web
output: out
sources:
  - {name: a, path: a.jsonl}
  - name: b
    path: b.jsonl
    format: reasoning
    fields:
      prompt: q
      response: r
  - name: c
    format: generated
    tasks: [modular_chain, word_problem]
    steps: [4, 5]
    count: 20K
steps:
  - gopher_quality: {min_words: 10, sources: [b]}
  - exact_dedup:
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(old: str = "", new: str = "", *settings: str) -> recipe.Recipe:
        assert old in RECIPE
        (tmp_path / "r.yaml").write_text(RECIPE.replace(old, new) if old else RECIPE)
        return recipe.load(tmp_path / "r.yaml", settings)

    return load


def test_a_recipe_is_loaded_with_its_steps_ready(load):
    loaded = load()
    assert [source.name for source in loaded.spec.sources] == ["a", "b", "c"]
    assert loaded.spec.sources[2].count == 20_000
    assert loaded.output == Path("out")
    assert loaded.spec.max_quarantined == 0.001
    first, second = loaded.steps
    assert (first.name, first.sources, first.options) == ("gopher_quality", ("b",), GopherQuality(min_words=10))
    assert (second.name, second.sources, second.options) == ("exact_dedup", ("a", "b", "c"), ExactDedup())


def test_a_step_is_recorded_by_all_that_its_output_depends_on(load):
    (same, _), (other, _) = load().steps, load("", "", "steps.0.gopher_quality.min_words=11").steps
    assert same.record() == load().steps[0].record()
    assert same.record() != other.record()
    assert load("sources: [b]", "sources: [a]").steps[0].record() != same.record()
    assert same.record()["options"]["max_words"] == 100_000


def test_a_step_is_recorded_by_the_content_of_its_files_not_their_names(load, tmp_path):
    from midtrain.pipelines.recipe import Step

    class Listed(GopherQuality):
        path: str

        @property
        def files(self) -> tuple[str, ...]:
            return (self.path,)

    for name, content in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).write_text(content)
    one, two, three = (
        Step("listed", Listed(path=str(tmp_path / name)), ()).record()["files"] for name in ("one", "two", "three")
    )
    assert one == two != three


@pytest.mark.parametrize(
    ("path", "chosen", "container"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.json.gz", None, "jsonl"),
        ("x/a.ndjson.zst", None, "jsonl"),
        ("a.parquet", None, "parquet"),
        ("a.pq", "reasoning", "parquet"),
        ("a.txt.gz", None, "text"),
        ("a.md", None, "text"),
        ("a.bin", "jsonl", "jsonl"),
        ("a.jsonl", "text", "text"),
        ("a.jsonl.gz", "reasoning", "jsonl"),
    ],
)
def test_the_ending_or_the_format_says_how_a_file_is_laid_out(path: str, chosen: str | None, container: str):
    assert SourceSpec(name="x", path=path, format=chosen).container(path) == container


@pytest.mark.parametrize(
    ("path", "chosen"), [("a.bin", None), ("a.jsonl.bz2", None), ("a.txt", "reasoning"), ("a", None)]
)
def test_an_ending_that_says_nothing_is_an_error(path: str, chosen: str | None):
    with pytest.raises(ConfigError, match="the ending does not say what the file is") as wrong:
        SourceSpec(name="x", path=path, format=chosen).container(path)
    assert wrong.value.where == path


GENERATED = "    tasks: [modular_chain, word_problem]\n    steps: [4, 5]\n    count: 20K\n"
FACTS = "    tasks: [modular_chain, word_problem]\n    count: 2\n    form: fact\n"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        (GENERATED, GENERATED + "    path: x.jsonl\n", 11, "has no path and no fields"),
        (GENERATED, GENERATED.replace("    count: 20K\n", ""), 11, "needs tasks and count"),
        (GENERATED, GENERATED.replace("    steps: [4, 5]\n", ""), 11, "needs steps"),
        (GENERATED, GENERATED + "    form: fact\n", 11, "facts have one step"),
        (GENERATED, GENERATED.replace("[4, 5]", "[0]"), 11, "needs steps"),
        (GENERATED, GENERATED.replace("[4, 5]", "[4, 4]"), 14, "steps.1: 4 stands twice"),
        (GENERATED, GENERATED.replace("[4, 5]", "[4, 1000]"), 14, "has no problems of this many steps"),
        (GENERATED, GENERATED.replace("word_problem", "modular_chain"), 13, "modular_chain stands twice"),
        (GENERATED, GENERATED.replace("word_problem", "wordproblem"), 13, "did you mean word_problem"),
        (GENERATED, GENERATED.replace("20K", "0"), 15, "greater than 0"),
        (GENERATED, GENERATED.replace("word_problem", "sorting").replace("[4, 5]", "[4, 16]"), 14, "1 to 15"),
        (GENERATED, FACTS.replace("word_problem", "sorting"), 15, "sorting has no facts"),
        (GENERATED, GENERATED.replace("word_problem", "reasoning_gym.no_such_task"), 13, "reasoning"),
        ("    path: b.jsonl\n", "", 5, "a source needs a path"),
        ("    path: b.jsonl\n", "    path: b.jsonl\n    count: 5\n", 5, "belong to format: generated"),
        ("      prompt: q\n", "      prmpt: q\n", 9, "did you mean prompt"),
        ("      prompt: q\n", "", 8, "a reasoning source needs fields"),
        ("      response: r\n", "", 8, "a reasoning source needs fields"),
        ("      response: r\n", "      messages: m\n", 9, "prompt would not be read"),
        (
            "    fields:\n      prompt: q\n      response: r\n",
            "    fields: openthought\n",
            8,
            "did you mean openthoughts",
        ),
        ("      response: r\n", "      response: [r, s]\n", 10, "response is one field"),
        ("      prompt: q\n", "      prompt: []\n", 9, "prompt is one field"),
        ("      response: r\n", "      transcript: t\n", 9, "transcript holds every turn: prompt would not be read"),
        ("    path: b.jsonl\n    format: reasoning\n", "    path: b.jsonl\n    opened: true\n", 5, "belong to format"),
        ("format: reasoning\n", "format: jsonl\n", 9, "no field can be mapped to prompt"),
        ("format: reasoning\n", "format: text\n", 9, "plain text has no fields"),
        ("name: b\n", "name: a\n", 5, "two sources are called a"),
        ("name: b\n", "name: b/c\n", 5, "should match pattern"),
        ("steps:\n", "steps:\n  - {a: {}, b: {}}\n", 17, "a step is one name with its options"),
        ("  - exact_dedup:\n", "  - exact_dedup\n", 16, "write - exact_dedup: {}"),
        ("  - exact_dedup:\n", "  - os.system: {}\n", 18, "unknown step os.system"),
        ("  - exact_dedup:\n", "  - rules: {}\n", 18, "unknown step rules"),
        ("[b]}", "[]}", 17, "sources is a list of source names"),
        ("[b]}", "[b, bb]}", 17, "no source is called bb"),
        ("min_words: 10", "min_words: 200K", 17, "no document can pass words"),
        ("  - exact_dedup:\n", "  - c4: {}\n", 18, "the documents of b, c are messages"),
        ("  - exact_dedup:\n", "  - c4: {sources: [a, c]}\n", 18, "add sources: [a] to the step"),
        ("gopher_quality: {min_words: 10, ", "c4: {", 17, "remove the step"),
        ("  - exact_dedup:\n", "  - minhash_dedup: {}\n", 18, "problems of b, c that differ in a sign"),
        ("  - exact_dedup:\n", "  - minhash_dedup:\n", 18, "add sources: [a] to the step, or sources: [a, b, c]"),
        ("  - exact_dedup:\n", "  - exact_dedup: {normalize: true}\n", 18, "(5 + 4 and 5 * 4, == and !=)"),
    ],
)
def test_a_recipe_that_cannot_run_is_refused_with_its_line(load, old: str, new: str, line: int, problem: str):
    with pytest.raises(ConfigError) as wrong:
        load(old, new)
    assert problem in str(wrong.value)
    assert f"r.yaml:{line}: " in str(wrong.value)


def test_a_step_that_rewrites_text_may_have_sources_of_plain_documents(load):
    assert load("  - exact_dedup:\n", "  - c4: {sources: [a]}\n").steps[1].sources == ("a",)


@pytest.mark.parametrize("step", ["minhash_dedup: {", "exact_dedup: {normalize: true, "])
@pytest.mark.parametrize("sources", [["a"], ["b"], ["a", "b", "c"]])
def test_a_step_that_sees_no_signs_may_have_problems_where_it_names_them(load, step, sources):
    written = f"  - {step}sources: [{', '.join(sources)}]}}\n"
    assert load("  - exact_dedup:\n", written).steps[1].sources == tuple(sources)


def test_exact_deduplication_of_bytes_may_have_problems(load):
    assert load("  - exact_dedup:\n", "  - exact_dedup: {}\n").steps[1].sources == ("a", "b", "c")


def test_a_step_that_sees_no_signs_is_refused_where_all_sources_are_problems(corpus, midtrain):
    path = corpus.root / "recipe.yaml"
    path.write_text(
        f"name: x\noutput: {corpus.root}/out\nsources:\n"
        "  - {name: made, format: generated, tasks: [word_problem], steps: [4], count: 10}\n"
        "steps:\n  - minhash_dedup: {}\n"
    )
    said = midtrain("curate", path)
    assert (said.code, said.out) == (2, "")
    assert f"{path}:6: steps.0.minhash_dedup: minhash_dedup compares letters and digits alone" in said.err
    assert "fix:      add sources: [made] to accept it" in said.err
    assert not (corpus.root / "out").exists()


def test_what_a_steps_files_lack_is_said_with_the_steps_line(load, tmp_path):
    with pytest.raises(ConfigError, match=r"r\.yaml:18: steps\.1\.language: .*nothing\.ftz"):
        load("  - exact_dedup:\n", "  - language: {keep: [en], model: nothing.ftz}\n")
