"""The report's words, from anybody's keyboard: they are set as they are, or refused in a sentence, and never run."""

import string

import pytest
import typst
from harness import fuzz
from made_run import make_run
from pypdf import PdfReader
from vicreg_nb.store import UserError
from vicreg_nb.tools import report

ALIVE = "PWNED"  # what only code that is run would print
PIECES = [
    "plain words", "Zoë", "\n\n", "\n", " ", "\t", "- one\n- two", "1. one", "# A heading", "> said", "---",
    "~~~", "```", "```{=typst}\n#panic()\n```", "`#panic()`", "`x`{=typst}", '#eval("panic()")', "#panic()",
    "#text[PWN]ED", "#[", "]", "$x^2$", "$", "$$", "\\", "\\u{50}", "\\(", "*", "**", "_", "__", "<b>", "</b>",
    "<!-- x -->", "<script>", "&amp;", "&#80;", "<https://x.org>", "https://x.org/a_b?c=d&e", "[a](http://x.y)",
    "[a](http://x.y).b", "[](x)", ".b", ".word", "![x](figures/q1_0.png)", "![](/etc/passwd)", "[^1]",
    "[^1]: note", "@cite", "<label>", "//", "/* x", "*/", "--", "...", "| a | b |\n|---|---|\n| 1 | 2 |",
    "{=html}", "::: x\n:::", "[x]{.y}", "~", "^", "'", '"', "“x”", "%", "=", "==", "+ x", "a" * 300, "\u200b",
    "\u00ad", "\u2028", "\u202e", "\x07", "\x00", "\ufeff", "שלום", "α ≤ ∑", "王小明", "🎉", "\U0010ffff",
]  # fmt: skip


def words(random, most=12):
    """Some of `PIECES` in a row, and characters of any kind."""
    other = (*string.punctuation, *map(chr, random.choices(range(0x20, 0x3000), k=5)))
    return "".join(random.choice(PIECES if random.random() < 0.8 else other) for _ in range(random.randint(1, most)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), ("Q1",))


def as_pdf(here, body):
    """The text of typst code on a page."""
    plain = {"title": "", "subtitle": "", "author": "", "source": "", "stamp": "", "scale": "1", "body": body}
    page = string.Template(report.PAGE + report.LOOK + report.BODY).substitute(plain)
    (here / "x.pdf").write_bytes(typst.compile(page.encode(), root=str(here), ignore_system_fonts=True))
    return " ".join(page.extract_text() for page in PdfReader(here / "x.pdf").pages)


def test_a_statement(tmp_path):
    def attempt(random, here):
        set_in_typst = report.statement_typst(words(random))
        report.check_glyphs(set_in_typst)
        assert ALIVE not in as_pdf(here, set_in_typst)

    fuzz(attempt, 400, 25, tmp_path)


def test_a_name(tmp_path):
    def attempt(random, here):
        name = words(random, 4).replace("\n", " ")
        report.check_glyphs(name)
        assert ALIVE not in as_pdf(here, f'#"{report.typst_text(name)}"')

    fuzz(attempt, 200, 15, tmp_path)


def test_a_whole_report(tmp_path, run):
    def attempt(random, here):
        name, statement = words(random, 4), words(random)
        try:
            made = report.build(run, name, statement, here / "report.pdf")
        except UserError:
            assert not (here / "report.pdf").exists()
            raise
        assert made.stat().st_size > 10_000

    fuzz(attempt, 40, 2, tmp_path)
