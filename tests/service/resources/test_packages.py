"""Commands of the service in an environment without one of its packages."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from service.resources.packages import packages_required

ROOT = Path(__file__).resolve().parents[3]
PREDICT = ("service.offline", "predict", ".", "--model", "m", "--output", "predictions.csv")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("uvicorn", ("service",)),
        ("pydantic_settings", ("service",)),
        ("uvloop", ("service",)),  # imported by uvicorn when it runs
        ("pydantic", PREDICT),
    ],
)
def test_a_command_without_a_package_ends_with_its_name_and_the_remedy(
    tmp_path: Path, package: str, command: tuple[str, ...]
) -> None:
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name != package:
            (tmp_path / entry.name).symlink_to(entry)
    ended = subprocess.run(  # -S: no other site-packages than those links
        [sys.executable, "-S", "-m", *command],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    remedy = "pip install 'posbake[service]', or 'posbake[gpu]' on a GPU host"
    expected = f"python -m {command[0]}: package {package} is not installed; {remedy}\n"
    assert (ended.returncode, ended.stderr) == (1, expected)


def test_a_missing_module_of_posbake_is_not_reported_as_a_package() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"service\.missing"), packages_required("python -m service"):
        import service.missing  # type: ignore[import-not-found]  # noqa: F401
