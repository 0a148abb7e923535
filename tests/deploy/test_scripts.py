"""Shell scripts: linting, and selection of the image builder."""

from pathlib import Path

import pytest

from tests.deploy.programs import PATH, ROOT, run

BUILD = ROOT / "deploy" / "build_images.sh"


def test_shellcheck_has_no_findings(tmp_path: Path) -> None:
    linted = run("shellcheck", *ROOT.rglob("deploy/*.sh"), ROOT / ".ci" / "run")
    assert (linted.returncode, linted.stdout) == (0, "")
    bad = tmp_path / "bad.sh"
    bad.write_text("#!/bin/sh\nrm -r $1\n")
    assert "SC2086" in run("shellcheck", bad).stdout


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Directory of fake builders that print their arguments; docker has a daemon only if the file `daemon` exists."""
    for name in ("docker", "podman", "buildah"):
        program = tmp_path / name
        daemon = f'[ "$1" != info ] || exec test -e {tmp_path}/daemon\n' if name == "docker" else ""
        program.write_text(f'#!/bin/sh\n{daemon}echo {name} "$@"\n')
        program.chmod(0o755)
    return tmp_path


def test_docker_is_used_if_its_daemon_responds(programs: Path) -> None:
    (programs / "daemon").touch()
    assert _build(programs, "cuda").startswith("docker build --build-arg REVISION=")


def test_without_a_daemon_buildah_is_used_with_chroot_isolation(programs: Path) -> None:
    assert _build(programs, "cuda").startswith(
        "buildah bud --isolation chroot --network host --layers --format docker "
    )


def test_podman_is_used_if_it_is_the_only_builder(programs: Path) -> None:
    (programs / "buildah").unlink()
    assert _build(programs, "cuda", PATH=f"{programs}:{_bare(programs)}").startswith("podman build ")


def test_base_targets_and_options_are_passed_to_the_builder(programs: Path) -> None:
    lines = _build(
        programs, "cpu", "export", BASE="python@sha256:1", BUILD_OPTIONS="--volume /a:/b:ro --quiet"
    ).splitlines()
    assert [line.partition("--target ")[2] for line in lines] == [
        "cpu --tag posbake:cpu .",
        "export --tag posbake:export .",
    ]
    assert all(
        "--build-arg BASE=python@sha256:1 --volume /a:/b:ro --quiet --build-arg REVISION=" in line for line in lines
    )


def test_without_a_builder_the_script_fails_with_the_reason(tmp_path: Path) -> None:
    done = run("/bin/bash", BUILD, PATH=str(_bare(tmp_path)), BUILDER="")
    assert done.returncode == 1
    assert "neither docker nor buildah nor podman works here" in done.stderr


def _build(programs: Path, *targets: str, **variables: str) -> str:
    """Return the output of the builders."""
    unset = {"BUILDER": "", "BASE": "", "BUILD_OPTIONS": ""}
    done = run("/bin/bash", BUILD, *targets, **{**unset, "PATH": f"{programs}:{PATH}", **variables})
    assert done.returncode == 0, done.stderr
    return done.stdout


def _bare(directory: Path) -> Path:
    """Return a directory with only the programs that the script itself needs."""
    bare = directory / "bare"
    bare.mkdir()
    for name in ("dirname", "git", "sh", "test"):
        found = next(path for folder in PATH.split(":") if (path := Path(folder, name)).exists())
        (bare / name).symlink_to(found)
    return bare
