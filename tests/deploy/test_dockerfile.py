"""Dockerfile: linted, in plain syntax, with hardened targets."""

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


def test_all_targets_exist_and_cpu_is_the_default() -> None:
    assert {"cpu", "cuda", "tensorrt", "export"} <= BASES.keys()
    assert list(BASES)[-1] == "cpu"


def test_no_buildkit_syntax_is_used() -> None:
    assert not re.search(r"<<|--mount|--link|--chmod|^#\s*syntax", TEXT, re.MULTILINE)


def test_final_stages_copy_packages_and_do_not_run_pip() -> None:
    for target in ("cpu", "cuda", "tensorrt", "export"):
        lines = [line for stage in _ancestry(target) for line in _stage(stage)]
        assert f"COPY --from=packages-{target} /opt/venv/ /opt/venv/" in lines
        assert not any("pip" in line or "apt" in line for line in lines if line.startswith("RUN"))
        assert "USER 10001:10001" in lines
        assert "STOPSIGNAL SIGTERM" in lines
        assert any("ORT_DISABLE_TELEMETRY=1" in line for line in lines)


def test_dockerignore_allows_exactly_the_copied_files() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in LINES
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == allowed


def test_service_images_do_not_contain_the_exporter() -> None:
    for target in ("cpu", "cuda", "tensorrt"):
        lines = [line for stage in _ancestry(target) for line in _stage(stage)]
        assert "COPY --from=code /app/ /app/" in lines
        assert not any("code-export" in line for line in lines)
    assert not any("export/" in line or "models/" in line for line in _stage("code"))


def _ancestry(stage: str) -> list[str]:
    """Return the stage and its base stages."""
    return [stage, *_ancestry(BASES[stage])] if stage in BASES else []


def _stage(name: str) -> list[str]:
    """Return the lines of a stage."""
    start = LINES.index(f"FROM {BASES[name]} AS {name}") + 1
    ends = (number for number, line in enumerate(LINES) if number >= start and line.startswith("FROM "))
    return LINES[start : next(ends, len(LINES))]
