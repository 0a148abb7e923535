"""The page of `--report`, parsed as in a browser."""

import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from artifact import Artifact, Baked, Manifest, Rewrite, Rewrites, read_artifact
from artifact.hashing import describe_file
from export.pipeline import Exported
from export.report.charts import error_chart, operator_bars
from export.report.page import REPORT_NAME, Facts, bytes_text, render_page
from export.report.pictures import Gallery, HeatMap, Picture
from export.report.terminal import print_report
from export.to_onnx import main
from tests.conftest import DIGITS
from tests.export.report.reading import Page

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shared_traces")]

HOSTILE = "</style><script>alert('1')</script>\"&amp;"


@pytest.fixture(scope="module")
def repository(shared_traces: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """Return exports with `--report`: a static encoding, and a query-dependent one in half precision."""
    output = tmp_path_factory.mktemp("reports")
    for variant, more in (
        ("swin-table", []),
        ("irpe-product-contextual-k", ["--precision", "fp16", "--variant", "half"]),
    ):
        source = f"posbake:{DIGITS / 'configs' / variant}.json"
        checkpoint = str(DIGITS / "checkpoints" / f"{variant}.safetensors")
        assert main([source, "--checkpoint", checkpoint, "--output", str(output), "--report", "--quiet", *more]) == 0
    return output


VARIANTS = ["swin-table", "half"]


def opened(repository: Path, variant: str) -> tuple[Artifact, Page]:
    artifact = read_artifact(repository / "digits" / variant / "1")
    return artifact, Page((artifact.path / REPORT_NAME).read_text(encoding="utf-8"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_is_listed_among_the_files_of_the_artifact(variant: str, repository: Path) -> None:
    artifact, _ = opened(repository, variant)
    assert artifact.manifest.files[REPORT_NAME] == describe_file(artifact.path / REPORT_NAME)
    assert artifact.manifest.files[REPORT_NAME].size < 2e6


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_holds_every_layer_with_kind_reason_shape_and_bytes(variant: str, repository: Path) -> None:
    artifact, page = opened(repository, variant)
    assert artifact.manifest.baked
    for item in artifact.manifest.baked:
        shape = " × ".join(map(str, item.shape))
        assert f"{item.module} {item.kind} {item.what} {shape} {bytes_text(item.bytes)}" in page.text


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_holds_every_rewrite_and_every_reason(variant: str, repository: Path) -> None:
    artifact, page = opened(repository, variant)
    rewrites = artifact.manifest.rewrites
    assert rewrites is not None
    assert rewrites.lines
    assert f"{rewrites.rewritten} chains rewritten, {rewrites.declined} rewrites declined" in page.text
    for line in rewrites.lines:
        assert f"{line.module} {line.before} {line.after or f'declined {line.reason}'} {line.count}" in page.text


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_holds_every_count_of_operators_and_nodes(variant: str, repository: Path) -> None:
    artifact, page = opened(repository, variant)
    graph = artifact.manifest.graph
    assert graph.operators  # in half precision too
    for name, (before, after) in graph.operators.items():
        assert f" {name} {before} → {after} " in page.text
    for name, count in graph.ops.items():
        assert f" {name} {count} " in page.text
    assert f"Remaining constant-only nodes {graph.constant_only_nodes}" in page.text


def test_the_page_holds_the_parity_of_every_batch(repository: Path) -> None:
    artifact, page = opened(repository, "swin-table")
    parity = artifact.manifest.parity
    assert parity.batch_errors is not None
    assert len(parity.batch_errors) == 4
    for size, error in zip(parity.batches, parity.batch_errors, strict=True):
        assert f"batch {size} {error:.1e}" in page.text
    for step in ("load", "reference", "trace", "rewrite", "verify"):
        assert re.search(rf" {step} \d+\.\d\d s ", page.text)


def test_the_page_of_half_precision_holds_cosine_and_runs(repository: Path) -> None:
    artifact, page = opened(repository, "half")
    parity = artifact.manifest.parity
    assert parity.cosine is not None
    assert f"float32 graph {parity.float32_error:.1e}" in page.text
    assert f"mean {parity.cosine.mean:.6f}, minimum {parity.cosine.min:.6f}" in page.text
    assert parity.runs is not None
    assert f"Runs {', '.join(parity.runs)}" in page.text


def test_every_layer_of_the_network_has_a_heat_map_for_each_head(repository: Path) -> None:
    _, page = opened(repository, "swin-table")
    names = {(image["alt"] or "").partition(", ")[0] for image in page.images}
    for stage, heads in enumerate((2, 4)):
        for block in range(2):
            own = [name for name in names if name.startswith(f"stages.{stage}.blocks.{block}.")]
            assert max(len(page.images_of(name)) for name in own) == heads
    assert all(image["alt"] and image["width"] and image["height"] for image in page.images)
    assert {pixels.shape for name in names for pixels in page.images_of(name)} == {(16, 16, 3)}


def facts_of(manifest: Manifest, **changes: object) -> Facts:
    """Return the facts of a page, with some fields of the manifest changed."""
    draft = manifest.model_copy(update=changes)
    return Facts(manifest.model, manifest.variant, 1, draft, ["0"], 10, {"load": 0.5}, Gallery())


def test_names_and_labels_are_escaped(repository: Path) -> None:
    manifest = opened(repository, "swin-table")[0].manifest
    line = Baked(module=HOSTILE, kind="static", what=HOSTILE, shape=(1,), bytes=4)
    drawn = HeatMap("data:image/png;base64,", HOSTILE, HOSTILE, 4, 4)
    picture = Picture(HOSTILE, HOSTILE, (1, 2), (HOSTILE,), 1.0, has_mask=True, maps=(drawn,))
    clean = facts_of(
        manifest,
        baked=(line,),
        architecture=HOSTILE,
        encoding=HOSTILE,
        resampled=(HOSTILE,),
        rewrites=Rewrites(
            rewritten=1, declined=0, lines=(Rewrite(module=HOSTILE, before=HOSTILE, after=HOSTILE, count=1),), omitted=7
        ),
        source=manifest.source.model_copy(update={"name": HOSTILE}),
        graph=manifest.graph.model_copy(update={"operators": {HOSTILE: (1, 0)}, "ops": {HOSTILE: 1}}),
        tools={HOSTILE: HOSTILE},
    )
    hostile = Facts("m", "v", 1, clean.draft, [HOSTILE], 10, {HOSTILE: 1.0}, Gallery((picture,)))
    source = render_page(hostile)
    assert "<script" not in source
    page = Page(source)
    assert page.text.count(HOSTILE) >= 15
    assert page.images[0]["alt"] == f"{HOSTILE}, {HOSTILE}"
    with pytest.raises(AssertionError):  # the parser detects unescaped markup
        Page(source.replace("&lt;", "<").replace("&gt;", ">"))


@pytest.mark.parametrize(
    "wrong",
    [
        "<p><b></p></b>",
        "<img src='https://example.org/x.png'>",
        "<a href='other.html'>x</a>",
        "<link href='x.css'>",
        "<script>1</script>",
        "<p onclick='x()'></p>",
        "<style>p { background: url(x.png) }</style>",
        "</p>",
    ],
)
def test_the_parser_refuses_markup_that_a_page_must_not_hold(wrong: str, repository: Path) -> None:
    source = (opened(repository, "swin-table")[0].path / REPORT_NAME).read_text(encoding="utf-8")
    with pytest.raises(AssertionError):
        Page(source.replace("</main>", f"{wrong}</main>"))


def test_the_page_of_a_network_without_position_work_states_that(repository: Path) -> None:
    manifest = opened(repository, "swin-table")[0].manifest
    page = Page(render_page(facts_of(manifest, baked=(), accuracy=None)))
    assert "This network has no position constants." in page.text
    assert "The graph has no position constants that can be shown." in page.text
    assert "not measured with this graph" in page.text


def test_errors_are_drawn_on_a_logarithmic_axis_with_the_limit(repository: Path) -> None:
    known = opened(repository, "swin-table")[0].manifest.parity
    errors = (1e-7, 1e-6, 0.0, 3e-6)
    chart = error_chart(known.model_copy(update={"batch_errors": errors, "tolerance": 1e-5}))
    first, last = -13, -4  # an error of 0 is drawn at the start of an axis that begins below 1e-12
    assert [text for text, _ in chart.ticks] == [f"1e{power}" for power in range(first, last + 1)]
    for bar, error in zip(chart.bars, errors, strict=True):
        assert bar.share == pytest.approx((math.log10(error) - first) / (last - first) if error else 0)
    assert chart.limit == pytest.approx((-5 - first) / (last - first))
    assert chart.bars[2].text == "exact"


def test_operators_with_the_largest_reduction_come_first(repository: Path) -> None:
    graph = opened(repository, "swin-table")[0].manifest.graph
    counted = {"grew": (1, 9), "same": (5, 5), "shrank": (7, 3), "gone": (4, 0), "fewer": (6, 5)}
    bars = operator_bars(graph.model_copy(update={"operators": counted}))
    assert [bar.name for bar in bars] == ["shrank", "gone", "fewer", "same", "grew"]
    assert (bars[0].share, bars[0].part) == (7 / 9, 3 / 9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_terminal_summarises_the_page_in_twenty_lines(variant: str, repository: Path) -> None:
    artifact, _ = opened(repository, variant)
    manifest = artifact.manifest.model_copy(update={"resampled": ("a [here]", "b", "c", "d")})
    console = Console(width=100, highlight=False)
    with console.capture() as shown:
        print_report(Exported(Path("here"), manifest, {"load": 1.0}), console)
    text = shown.get()
    assert text.count("\n") <= 20
    words = " ".join(text.split())
    assert "resampled a [here], b, 2 more" in words
    assert manifest.graph.operators is not None
    if variant == "swin-table":
        assert "index {} → {}".format(*manifest.graph.operators["index"]) in words
        assert manifest.parity.batch_errors is not None
        for size, error in zip(manifest.parity.batches, manifest.parity.batch_errors, strict=True):
            assert f"{error:.1e} at {size}" in words


ARGUMENTS = [f"posbake:{DIGITS / 'configs' / 'sincos.json'}", "--random-weights", "0", "--quiet"]


def test_without_the_option_there_is_no_page(tmp_path: Path) -> None:
    assert main([*ARGUMENTS, "--output", str(tmp_path)]) == 0
    artifact = tmp_path / "digits" / "sincos" / "1"
    assert not (artifact / REPORT_NAME).exists()
    assert REPORT_NAME not in json.loads((artifact / "manifest.json").read_text())["files"]


def test_a_page_that_cannot_be_written_leaves_no_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise OSError("no page")

    monkeypatch.setattr("export.pipeline.render_page", fail)  # the graph is on the disk by then
    assert main([*ARGUMENTS, "--report", "--output", str(tmp_path / "repository")]) == 1
    assert "no page" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (614656, "600.2 KiB"), (2**31, "2.0 GiB")]
)
def test_bytes_are_read_in_binary_units(count: int, text: str) -> None:
    assert bytes_text(count) == text
