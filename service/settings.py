"""Settings: environment variables `POSBAKE_*`, and the same names as flags of `python -m service`."""

from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.resources.cores import available_cores
from service.resources.memory import half_of_memory

ENGINE_CACHE = Path("~/.cache/posbake/engines")


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
        default=Path("artifacts"), description="directory of artifacts: <model>/<variant>/<version>/"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every IPv4 interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 for a free port")
    backend: str = Field(
        default="auto",
        description="runtime of the artifacts: onnxruntime, openvino (CPU), tensorrt (its own engines, never chosen by "
        "auto), or auto for CUDA if ONNX Runtime has it, else OpenVINO if it is installed, and ONNX Runtime "
        "for artifacts that OpenVINO does not support",
    )
    device: str = Field(
        default="auto",
        description="device of the backend: cpu, cuda, tensorrt, or auto for CUDA if the backend has it, else the CPU; "
        "a named device that is not available stops the start",
    )
    engine_cache: Path = Field(
        default=ENGINE_CACHE,
        description="directory of the engines that backend tensorrt builds at load; only this user may have access",
    )
    cpu_precision: str = Field(
        default="fp32",
        description="precision in which fp32 artifacts are computed on the CPU: fp32, bf16 (openvino, on a CPU that "
        "supports it), or auto for bf16 if the golden check passes with it, else fp32",
    )
    default_model: str | None = Field(
        default=None, description="model of requests that name none; needed only if several are served"
    )
    max_body_bytes: PositiveInt = Field(default=16 * 2**20, description="maximum size of a request body, in bytes")
    max_held_bytes: PositiveInt = Field(
        default_factory=half_of_memory,
        description="maximum memory for bodies and decoded pixels of all requests, in bytes; requests beyond it are "
        "answered with 503; by default half of the memory of the machine or container",
    )
    max_pixels: PositiveInt = Field(
        default=50_000_000, description="maximum number of pixels of an image, as sent and after resizing"
    )
    resizer: str = Field(
        default="auto",
        description="image resizer: simd (cykooz-resizer: several times as fast, three values in a thousand differ by "
        "1 of 255), pillow, or auto for simd if it is installed, else pillow",
    )
    icc: str = Field(
        default="ignore",
        description="handling of colour profiles: ignore, as in torchvision, or convert to sRGB",
    )
    jpeg_scaling: str = Field(
        default="exact",
        description="scaling of JPEGs while decoding, to no less than twice the size of the resized image: auto (large "
        "photographs decode several times as fast, with slightly different pixels), or exact for none",
    )
    threads: PositiveInt = Field(
        default_factory=available_cores,
        description="CPU threads, each of which decodes or runs an image; a single image runs on all of them; by "
        "default the available cores, according to affinity and the container's quota",
    )
    processes: PositiveInt = Field(
        default=1,
        description="number of processes that serve the port, each with its own backends, queues and limits; THREADS "
        "and MAX_HELD_BYTES, if not set, are divided among them",
    )
    max_batch: PositiveInt = Field(default=8, description="maximum batch size, if the artifact supports it")
    batch_delay_ms: NonNegativeFloat = Field(
        default=0.0,
        allow_inf_nan=False,
        description="time that an incomplete batch waits for more images, in ms; 0 dispatches immediately",
    )
    max_queue: PositiveInt = Field(
        default=256,
        description="maximum number of images that wait for one variant; further ones are answered with 429",
    )
    max_decode_queue: PositiveInt = Field(
        default=512,
        description="maximum number of images of all variants that wait to be decoded; further ones are answered with "
        "429",
    )
    timeout_ms: PositiveInt = Field(
        default=30_000,
        description="deadline of requests without timeout_ms, in ms; a request that exceeds it is answered with 504",
    )
    decode_timeout_ms: PositiveInt = Field(
        default=10_000,
        description="time limit for decoding the images of one request, in ms; a request that exceeds it is answered "
        "with 504",
    )
    backend_timeout_ms: PositiveInt = Field(
        default=60_000, description="time limit for one batch, in ms; a backend that exceeds it is replaced"
    )
    drain_seconds: PositiveFloat = Field(
        default=30.0, description="time in which a stopping server finishes accepted requests, in seconds"
    )
    reload_seconds: NonNegativeFloat = Field(
        default=5.0,
        allow_inf_nan=False,
        description="interval between scans of the repository for changes, in seconds; 0 disables them",
    )
    load_timeout: PositiveFloat = Field(
        default=300.0,
        allow_inf_nan=False,
        description="time limit for verifying, opening and warming an artifact, in seconds; an artifact that exceeds "
        "it is refused",
    )
    api_keys_file: Path | None = Field(
        default=None, description="file of hashed API keys; if set, every request except health and docs needs a key"
    )
    rate_limit: PositiveFloat | None = Field(
        default=None,
        allow_inf_nan=False,
        description="requests per second of each API key without its own rate in the file",
    )
    request_timeout: PositiveFloat = Field(
        default=30.0,
        description="time limit for a request's head, and then for its body, in seconds; a request that exceeds it is "
        "answered with 408",
    )
    keep_alive_seconds: PositiveInt = Field(
        default=5, description="time that an idle connection stays open, in seconds; set it above a load balancer's"
    )
    max_header_bytes: PositiveInt = Field(
        default=32768,
        description="maximum size of request line and headers together, in bytes; larger ones are answered with 431",
    )
    max_connections: PositiveInt = Field(
        default=4096, description="maximum number of open connections; further ones are answered with 503 and closed"
    )
    cors_origins: str | None = Field(
        default=None, description="origins of pages that may send requests, separated by commas; * for any"
    )
    root_path: str | None = Field(
        default=None,
        description="path under which a proxy serves this server, such as /ml; it is removed from requests and named "
        "in /openapi.json",
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1",
        description="addresses or networks of proxies that may set the root path by a header, separated by commas; "
        "* for any, none for none",
    )
    log_format: str = Field(default="text", description="format of the log: text, or json with one object per line")

    @property
    def max_images(self) -> int:
        """Maximum number of images of a request, which are queued and run together."""
        return min(self.max_batch, self.max_queue)
