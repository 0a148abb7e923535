"""The Dockerfile: linted, in plain syntax, and with what its targets promise."""

import re
from pathlib import Path

from tests.deploy.programs import ROOT, run

TEXT = (ROOT / "Dockerfile").read_text()
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")]
BASES = {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)}


def test_hadolint_has_no_findings(tmp_path: Path) -> None:
    linted = run("hadolint", "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")
    bad = tmp_path / "Dockerfile"
    bad.write_text(TEXT.replace('ENTRYPOINT ["python", "-m", "service"]', "ENTRYPOINT python -m service"))
    assert "DL3025" in run("hadolint", bad).stdout


def test_the_targets_are_there_and_the_cpu_is_the_default() -> None:
    assert {"cpu", "cuda", "tensorrt", "export"} <= BASES.keys()
    assert list(BASES)[-1] == "cpu"


def test_the_syntax_is_plain() -> None:
    assert not re.search(r"<<|--mount|--link|--chmod|^#\s*syntax", TEXT, re.MULTILINE)


def test_final_stages_take_packages_by_copy_and_run_no_pip() -> None:
    for target in ("cpu", "cuda", "tensorrt", "export"):
        lines = [line for stage in _ancestry(target) for line in _stage(stage)]
        assert f"COPY --from=packages-{target} /opt/venv/ /opt/venv/" in lines
        assert not any("pip" in line or "apt" in line for line in lines if line.startswith("RUN"))
        assert "USER 10001:10001" in lines
        assert "STOPSIGNAL SIGTERM" in lines
        assert any("ORT_DISABLE_TELEMETRY=1" in line for line in lines)


def test_every_copy_from_the_context_is_let_through_by_dockerignore() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == let_through


def test_no_service_image_has_code_of_the_exporter() -> None:
    for target in ("cpu", "cuda", "tensorrt"):
        lines = [line for stage in _ancestry(target) for line in _stage(stage)]
        assert "COPY --from=code /app/ /app/" in lines
        assert not any("code-export" in line for line in lines)
    assert not any("export/" in line or "models/" in line for line in _stage("code"))


def _ancestry(stage: str) -> list[str]:
    """Return the stage and those it is based on."""
    return [stage, *_ancestry(BASES[stage])] if stage in BASES else []


def _stage(name: str) -> list[str]:
    """Return the lines of a stage."""
    start = LINES.index(f"FROM {BASES[name]} AS {name}") + 1
    ends = (number for number, line in enumerate(LINES) if number >= start and line.startswith("FROM "))
    return LINES[start : next(ends, len(LINES))]
