"""Detection of CPUs whose int8 products saturate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import saturation

ZEN_3 = "processor\t: 0\nflags\t\t: fpu sse4_1 avx avx2 fma vaes\nbugs\t\t: avx512_vnni\n"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    saturation.int8_saturates.cache_clear()
    yield
    saturation.int8_saturates.cache_clear()


@pytest.mark.parametrize(
    ("machine", "info", "saturates"),
    [
        ("x86_64", ZEN_3, True),
        ("x86_64", ZEN_3.replace("vaes", "avx512f avx512bw avx512vl"), True),  # Skylake
        ("x86_64", ZEN_3.replace("vaes", "avx512f avx512_vnni"), False),
        ("x86_64", ZEN_3.replace("vaes", "avx_vnni"), False),
        ("AMD64", None, True),  # Windows: unknown
        ("aarch64", None, False),
    ],
)
def test_x86_cpus_without_vnni_saturate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: str, info: str | None, saturates: bool
) -> None:
    file = tmp_path / "cpuinfo"
    if info is not None:
        file.write_text(info)
    monkeypatch.setattr(saturation, "_CPU_INFO", file)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert saturation.int8_saturates() is saturates
    assert saturation.exact_int8_in_openvino() == ({"LP_TRANSFORMS_MODE": False} if saturates else {})
