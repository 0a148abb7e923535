"""`predict` on a full disk: the summary counts the rows in the output."""

import errno
import json
import os
from pathlib import Path

import pytest

from service.offline.__main__ import main

pytestmark = pytest.mark.slow


def test_rows_lost_on_a_full_disk_are_not_counted(
    colours: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (pictures / "damaged.png").write_bytes(b"\x89PNG")
    arguments = ["predict", str(pictures), "--repository", str(colours), "--output", str(tmp_path / "p.csv"), "--json"]
    with monkeypatch.context() as full:
        full.setattr(os, "write", fail)
        assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "No space left on device; finished rows are kept" in printed.err
    summary = json.loads(printed.out)
    assert (summary["written"], summary["errors"], summary["images_per_second"]) == (0, 0, 0)
    assert main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["written"], summary["errors"], summary["skipped"]) == (31, 1, 0)
