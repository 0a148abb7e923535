"""Wording of the code and its documentation: the field's terms, and plain technical English."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("artifact", "benchmarks", "deploy", "engines", "examples", "export", "imaging", "models", "service", "tests")
READMES = ("benchmarks/README.md", "examples/digits/README.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / page for page in READMES)])
BANNED = re.compile(
    r"\b(stands? under|one a file|for ever|so many|nobody|all the same|would have it|is told|can(?:not)? be had|"
    r"sees? to it|has its own idea|befalls?|mends|mended|in the place of|goes away with|(?:became|becomes?) of|"
    r"(?:rounds?|rounded|named|called) otherwise|bears? the names?|lets? go of|speaks? of|held against|whoever|"
    r"nohup means|come to nothing|is as it was|(?:is|are|was|were) left as (?:it|they) (?:is|are|was|were)|in force|"
    r"knows? nothing of|not any more|is no (?:more|longer there)|(?:put|looked up) together|goes? round in|"
    r"in one piece|asked (?:before|above)|reads? it as well|makes it, no)\b",
    re.IGNORECASE,
)
"""Phrases that readers of English documentation stumble over; there is a plain word for each."""

OPENING = re.compile(r'^\s*"""(?:What|How|Who|Where|Which|Whether)\b.*', re.MULTILINE)
"""First line of a docstring that opens with a question word."""

PRONOUN = re.compile(r'^\s*"""(?:It|They|That|Those|Its|Of|By|As|Such|From)\b.*', re.MULTILINE)
"""The first line of a docstring that begins with a pronoun or preposition instead of its noun."""

ARGUMENT = re.compile(r"^ {8,12}[a-z_]+: (?:of|that|which|in|by) (?:the|a|an|its|this|all|it)\b.*", re.MULTILINE)
"""Description of an argument or attribute that lacks its noun."""

QUESTION = re.compile(r"(What|How|Who|Where|Which|Whether|When)\b")


class Parts(NamedTuple):
    """Parts of a module: its docstring, all docstrings, the names of its functions and the errors it raises."""

    docstring: str
    docstrings: list[str]
    functions: list[str]
    raised: list[ast.Call]


@cache
def parts(source: str) -> Parts:
    """Return the parts of a module, which several tests look at; parsing all modules takes 3 s."""
    module = ast.parse(source)
    found = Parts(ast.get_docstring(module) or "", [], [], [])
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef):
            found.functions.append(node.name)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.raised.append(node.exc)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found.docstrings.append(node.value.value)
    return found


def documentation(source: str) -> str:
    """Return the docstrings, including those of attributes, and the comments of a module."""
    return "\n".join([*parts(source).docstrings, *re.findall(r"#.*", source)])


def messages(source: str, error: str = "") -> list[str]:
    """Return the first literal text of each raised error, of one class if it is named."""
    texts = [
        argument.values[0] if isinstance(argument, ast.JoinedStr) else argument
        for call in parts(source).raised
        if error in ("", ast.unparse(call.func))
        for argument in call.args
    ]
    return [str(text.value) for text in texts if isinstance(text, ast.Constant)]


def names(source: str) -> list[str]:
    """Return the names of a module's functions."""
    return parts(source).functions


def sources(folder: str) -> list[Path]:
    """Return the files of a folder, without this one."""
    return [file for file in (ROOT / folder).rglob("*.py") if file != Path(__file__)]


@pytest.mark.parametrize("folder", CODE)
def test_docstrings_and_comments_are_in_plain_words(folder: str) -> None:
    files = sources(folder)
    assert files
    found = {str(file): found[0] for file in files if (found := BANNED.findall(documentation(file.read_text())))}
    assert not found


def test_names_of_tests_are_in_plain_words() -> None:
    named = [name.replace("_", " ") for file in (ROOT / "tests").rglob("*.py") for name in names(file.read_text())]
    assert [name for name in named if BANNED.search(name) or re.search(r"\b(told|who (?:has|is))\b", name)] == []


@pytest.mark.parametrize("folder", CODE)
def test_a_module_does_not_open_with_a_question_word(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py")
    assert not [file for file in files if QUESTION.match(parts(file.read_text()).docstring)]


@pytest.mark.parametrize("folder", CODE)
def test_docstrings_open_with_a_noun_phrase_or_an_imperative(folder: str) -> None:
    found = {str(file): OPENING.findall(file.read_text()) for file in sources(folder)}
    assert not {file: lines for file, lines in found.items() if lines}


@pytest.mark.parametrize("folder", CODE)
def test_docstrings_do_not_open_with_a_pronoun_or_preposition(folder: str) -> None:
    found = {str(file): PRONOUN.findall(file.read_text()) for file in sources(folder)}
    assert not {file: lines for file, lines in found.items() if lines}


@pytest.mark.parametrize("folder", [folder for folder in CODE if folder != "tests"])
def test_messages_of_errors_are_in_plain_words(folder: str) -> None:
    found = {str(file): BANNED.findall("\n".join(messages(file.read_text()))) for file in (ROOT / folder).rglob("*.py")}
    assert not {file: words for file, words in found.items() if words}


@pytest.mark.parametrize("error", ["DeclinedError", "NotFoldedError"])
def test_reasons_for_declining_a_rewrite_begin_with_their_subject(error: str) -> None:
    reasons = [text for file in (ROOT / "export").rglob("*.py") for text in messages(file.read_text(), error)]
    assert len(reasons) > 3
    assert not [text for text in reasons if re.match(r"(?:it|its|they|that|what|such|there)\b", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_in_plain_words(page: Path) -> None:
    assert not BANNED.findall(page.read_text())


@pytest.mark.parametrize("folder", CODE)
def test_arguments_and_attributes_are_described_by_a_noun(folder: str) -> None:
    found = {str(file): ARGUMENT.findall(file.read_text()) for file in sources(folder)}
    assert not {file: lines for file, lines in found.items() if lines}


def test_the_patterns_match_what_they_forbid() -> None:
    assert BANNED.search(documentation('"""Mends what nobody asked for."""\n'))
    assert BANNED.search(documentation("x = 1  # as many as can be had\n"))
    assert BANNED.search(documentation('x = 1\n"""What became of it."""\n'))
    assert not BANNED.search(documentation('text = "nobody"\n'))
    assert QUESTION.match("What this is.")
    assert OPENING.findall('x = 1\n"""What x is."""\n')
    assert PRONOUN.findall('def f():\n    """Of the first product."""\n')
    assert not PRONOUN.findall('def f():\n    """Return the name of the first product."""\n')
    assert messages('raise NotFoldedError(f"it is {x}")\nraise OSError("no")', "NotFoldedError") == ["it is "]
    assert ARGUMENT.findall("        settings: of the app.\n")
    assert not ARGUMENT.findall("        settings: settings of the app.\n")
