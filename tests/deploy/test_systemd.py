"""systemd unit: valid and hardened."""

import re
from pathlib import Path

from service.settings import Settings
from tests.deploy.programs import ROOT, run

UNIT = (ROOT / "deploy" / "systemd" / "posbake.service").read_text()
EXPOSURE = 20
"""Maximum exposure level, in tenths; `systemd-analyze security` rates less than 30 as OK."""


def test_the_unit_is_valid(tmp_path: Path) -> None:
    assert _verify(tmp_path, UNIT) == ""
    assert "'ProtectSytem'" in _verify(tmp_path, UNIT.replace("ProtectSystem", "ProtectSytem"))


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    assert _exposure(tmp_path, UNIT) == 0
    assert _exposure(tmp_path, UNIT.replace("CapabilityBoundingSet=\n", "").replace("DynamicUser=yes\n", "")) != 0


def test_the_service_drains_before_it_is_killed() -> None:
    grace = re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    assert grace is not None
    assert int(grace[1]) > Settings.model_fields["drain_seconds"].default + 5


def _verify(directory: Path, text: str) -> str:
    """Return the messages of `systemd-analyze verify` about the unit, with an existing program."""
    program = directory / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = run(
        "systemd-analyze", "verify", _unit(directory, text.replace("/opt/posbake/.venv/bin/python", str(program)))
    )
    assert done.stdout == ""
    return done.stderr


def _exposure(directory: Path, text: str) -> int:
    options = ("--offline=true", f"--threshold={EXPOSURE}", "--no-pager")
    return run("systemd-analyze", "security", *options, _unit(directory, text)).returncode


def _unit(directory: Path, text: str) -> Path:
    file = directory / "posbake.service"
    file.write_text(text)
    return file
