import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from service.settings import Settings
from tests.service.process import run_to_end

VALUES = {
    "repository": "elsewhere",
    "host": "::1",
    "port": "1234",
    "backend": "onnxruntime",
    "device": "cpu",
    "default_model": "digits",
    "max_body_bytes": "77",
    "max_pixels": "88",
    "threads": "9",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_environment_variable_and_a_flag_which_wins(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = VALUES[name]
    flag = ["--" + name.replace("_", "-"), value]
    assert str(getattr(CliApp.run(Settings, cli_args=flag), name)) == value
    monkeypatch.setenv(f"POSBAKE_{name.upper()}", value)
    assert str(getattr(Settings(), name)) == value
    other = [flag[0], "5" if value.isdecimal() else "other"]
    assert str(getattr(CliApp.run(Settings, cli_args=other), name)) == other[1]


def test_help_names_every_flag_and_variable() -> None:
    ended = run_to_end("--help")
    assert ended.returncode == 0
    text = re.sub(r"\s+", " ", ended.stdout)
    for name, field in Settings.model_fields.items():
        assert "--" + name.replace("_", "-") in text
        assert "POSBAKE_" + name.upper() in text
        assert field.description is not None
        assert field.description in text


def test_defaults_are_the_documented_ones() -> None:
    settings = Settings()
    assert settings.repository == Path("artifacts")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.backend, settings.device, settings.default_model) == ("auto", "auto", None)
    assert (settings.max_body_bytes, settings.max_pixels) == (16 * 1024 * 1024, 50_000_000)
    assert settings.threads == len(os.sched_getaffinity(0))


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSBAKE_DEFAULT_MODEL", "")
    monkeypatch.setenv("POSBAKE_PORT", "")
    assert (Settings().default_model, Settings().port) == (None, 8000)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1
