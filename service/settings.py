"""The settings: environment variables `POSBAKE_*`, and the same names as flags of `python -m service`."""

import os
from pathlib import Path

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict


def available_cores() -> int:
    """Return how many CPU cores this process may use, which in a container is often fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(BaseSettings):
    """posbake serves image classifiers over HTTP."""

    model_config = SettingsConfigDict(
        env_prefix="POSBAKE_",
        env_ignore_empty=True,
        frozen=True,
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_show_env_vars=True,
    )

    repository: Path = Field(
        default=Path("artifacts"), description="directory of artifacts, <model>/<variant>/<version>/"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every IPv4 interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 lets the system choose one")
    backend: str = Field(default="auto", description="what runs the artifacts: auto or onnxruntime")
    device: str = Field(
        default="auto",
        description="where they run: cpu, cuda, tensorrt, or auto for CUDA if the backend has it, else the CPU; "
        "a named device that cannot be had stops the start",
    )
    default_model: str | None = Field(
        default=None, description="model of a request that names none; needed only if several are served"
    )
    max_body_bytes: PositiveInt = Field(default=16 * 2**20, description="largest request body, in bytes")
    max_pixels: PositiveInt = Field(
        default=50_000_000, description="most pixels an image may have, as sent and after resizing"
    )
    threads: PositiveInt = Field(
        default_factory=available_cores,
        description="images worked on at a time, and CPU threads of one inference; by default the cores available",
    )
