"""Settings: names, defaults, precedence and limits."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp

from service.resources.cores import available_cores
from service.resources.memory import half_of_memory
from service.settings import Settings
from tests.service.process import run_to_end

VALUES = {
    "repository": "elsewhere",
    "host": "::1",
    "port": "1234",
    "backend": "onnxruntime",
    "device": "cpu",
    "cpu_precision": "bf16",
    "default_model": "digits",
    "max_body_bytes": "77",
    "max_held_bytes": "99",
    "max_pixels": "88",
    "resizer": "pillow",
    "icc": "convert",
    "jpeg_scaling": "auto",
    "threads": "9",
    "processes": "2",
    "max_batch": "3",
    "batch_delay_ms": "1.5",
    "max_queue": "4",
    "max_decode_queue": "6",
    "timeout_ms": "700",
    "decode_timeout_ms": "750",
    "backend_timeout_ms": "800",
    "drain_seconds": "2.5",
    "reload_seconds": "1.5",
    "load_timeout": "7.5",
    "engine_cache": "cache",
    "api_keys_file": "keys",
    "rate_limit": "1.25",
    "request_timeout": "3.5",
    "keep_alive_seconds": "6",
    "max_header_bytes": "8192",
    "max_connections": "12",
    "cors_origins": "https://page.example",
    "root_path": "/ml",
    "forwarded_allow_ips": "none",
    "log_format": "json",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_environment_variable_overridden_by_a_flag(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = VALUES[name]
    flag = ["--" + name.replace("_", "-"), value]
    assert str(getattr(CliApp.run(Settings, cli_args=flag), name)) == value
    monkeypatch.setenv(f"POSBAKE_{name.upper()}", value)
    assert str(getattr(Settings(), name)) == value
    other = "other" if not value[0].isdecimal() else "5.5" if "." in value else "5"
    assert str(getattr(CliApp.run(Settings, cli_args=[flag[0], other]), name)) == other


@pytest.mark.slow
def test_help_lists_every_flag_and_variable() -> None:
    ended = run_to_end("--help")
    assert ended.returncode == 0
    text = re.sub(r"\s+", " ", ended.stdout)
    for name, field in Settings.model_fields.items():
        assert "--" + name.replace("_", "-") in text
        assert "POSBAKE_" + name.upper() in text
        assert field.description is not None
        assert field.description in text


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSBAKE_BACKEND")  # set by tests/conftest.py
    settings = Settings()
    assert settings.repository == Path("artifacts")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.backend, settings.device, settings.default_model) == ("auto", "auto", None)
    assert settings.cpu_precision == "fp32"
    assert settings.engine_cache == Path("~/.cache/posbake/engines")
    assert (settings.max_body_bytes, settings.max_pixels) == (16 * 1024 * 1024, 50_000_000)
    assert settings.threads == available_cores() <= len(os.sched_getaffinity(0))
    assert (settings.max_batch, settings.batch_delay_ms) == (8, 0)
    assert (settings.max_queue, settings.max_decode_queue) == (256, 512)
    assert (settings.timeout_ms, settings.backend_timeout_ms, settings.drain_seconds) == (30_000, 60_000, 30)
    assert (settings.api_keys_file, settings.rate_limit, settings.cors_origins) == (None, None, None)
    assert (settings.request_timeout, settings.keep_alive_seconds, settings.max_header_bytes) == (30, 5, 32_768)
    assert settings.max_held_bytes == half_of_memory() > settings.max_body_bytes
    assert settings.max_connections == 4096
    assert (settings.root_path, settings.forwarded_allow_ips) == (None, "127.0.0.1")
    assert settings.log_format == "text"


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSBAKE_DEFAULT_MODEL", "")
    monkeypatch.setenv("POSBAKE_PORT", "")
    assert (Settings().default_model, Settings().port) == (None, 8000)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


@pytest.mark.parametrize("name", ["batch_delay_ms", "reload_seconds", "rate_limit"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_an_infinite_or_negative_time_or_rate_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate({name: value})
