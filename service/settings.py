"""The settings: environment variables `POSBAKE_*`, and the same names as flags of `python -m service`."""

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
        default=Path("artifacts"), description="directory of artifacts, <model>/<variant>/<version>/"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 for every IPv4 interface")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 lets the system choose one")
    backend: str = Field(
        default="auto",
        description="what runs the artifacts: onnxruntime, openvino (CPU), tensorrt (its own engines, never chosen by "
        "auto), or auto for CUDA if ONNX Runtime has it, else OpenVINO if it is installed, and ONNX Runtime for what "
        "OpenVINO does not take",
    )
    device: str = Field(
        default="auto",
        description="where they run: cpu, cuda, tensorrt, or auto for CUDA if the backend has it, else the CPU; "
        "a named device that is not available stops the start",
    )
    engine_cache: Path = Field(
        default=ENGINE_CACHE,
        description="directory of the engines that backend tensorrt builds at load, for this user alone",
    )
    cpu_precision: str = Field(
        default="fp32",
        description="what fp32 artifacts are computed in on the CPU: fp32, bf16 (openvino, on a CPU that has it), or "
        "auto for bf16 where its logits of the golden file are within the limit, else fp32",
    )
    default_model: str | None = Field(
        default=None, description="model of a request that names none; needed only if several are served"
    )
    max_body_bytes: PositiveInt = Field(default=16 * 2**20, description="largest request body, in bytes")
    max_held_bytes: PositiveInt = Field(
        default_factory=half_of_memory,
        description="most bytes of bodies and decoded pixels that are in memory at a time, of all requests; more is "
        "answered 503; by default half of the memory, of the machine or of the container",
    )
    max_pixels: PositiveInt = Field(
        default=50_000_000, description="most pixels an image may have, as sent and after resizing"
    )
    resizer: str = Field(
        default="auto",
        description="what resizes images: simd (cykooz-resizer: several times as fast, three values in a thousand "
        "off by 1 of 255), pillow, or auto for simd if it is installed, else pillow",
    )
    icc: str = Field(
        default="ignore",
        description="what is done with an image's colour profile: ignore, as torchvision does, or convert to sRGB",
    )
    jpeg_scaling: str = Field(
        default="exact",
        description="whether libjpeg may scale a JPEG down while decoding, to no less than twice what it is resized "
        "to: auto (large photographs decode several times as fast, to slightly other pixels) or exact for never",
    )
    threads: PositiveInt = Field(
        default_factory=available_cores,
        description="CPU threads, each for an image that is decoded or run; one that is alone is run on all of them; "
        "by default the cores available, by affinity and by the container's quota",
    )
    processes: PositiveInt = Field(
        default=1,
        description="processes that serve the port together, each with its own backends, queues and limits; where they "
        "are not set, THREADS and MAX_HELD_BYTES are divided among them",
    )
    max_batch: PositiveInt = Field(
        default=8, description="most images that run together, if the artifact takes as many"
    )
    batch_delay_ms: NonNegativeFloat = Field(
        default=0.0,
        allow_inf_nan=False,
        description="how long a batch that is not full waits for more images; 0 dispatches immediately",
    )
    max_queue: PositiveInt = Field(
        default=256, description="most images that wait for one variant; one more is answered 429"
    )
    max_decode_queue: PositiveInt = Field(
        default=512, description="most images that wait to be decoded, for all variants; one more is answered 429"
    )
    timeout_ms: PositiveInt = Field(
        default=30_000, description="how long a request that gives no timeout_ms waits for its answer; then it is 504"
    )
    decode_timeout_ms: PositiveInt = Field(
        default=10_000,
        description="how long the images of one request may be decoded before that counts as hanging; then it is 504",
    )
    backend_timeout_ms: PositiveInt = Field(
        default=60_000, description="how long one batch may run before its backend counts as hanging and is replaced"
    )
    drain_seconds: PositiveFloat = Field(
        default=30.0, description="how long a stopping server continues with the requests that it accepted"
    )
    reload_seconds: NonNegativeFloat = Field(
        default=5.0,
        allow_inf_nan=False,
        description="seconds between two scans of the repository for changes; 0 for never",
    )
    load_timeout: PositiveFloat = Field(
        default=300.0,
        allow_inf_nan=False,
        description="seconds within which an artifact must be verified, opened and warm, else it is refused",
    )
    api_keys_file: Path | None = Field(
        default=None, description="file of hashed API keys; with it every request but health and docs needs a key"
    )
    rate_limit: PositiveFloat | None = Field(
        default=None,
        allow_inf_nan=False,
        description="requests a second of each API key that has no rate of its own in the file",
    )
    request_timeout: PositiveFloat = Field(
        default=30.0, description="seconds within which a request's head must arrive, and then its body; else 408"
    )
    keep_alive_seconds: PositiveInt = Field(
        default=5, description="how long a connection without a request stays open; set it above a load balancer's"
    )
    max_header_bytes: PositiveInt = Field(
        default=32768, description="largest request line and headers together, in bytes; more is answered 431"
    )
    max_connections: PositiveInt = Field(
        default=4096, description="most connections that are open at a time; more are answered 503 and closed"
    )
    cors_origins: str | None = Field(
        default=None, description="origins whose pages may send requests, separated by commas; * for any"
    )
    root_path: str | None = Field(
        default=None,
        description="path under which a proxy serves this server, such as /ml; it is removed from requests that have "
        "it, and named in /openapi.json",
    )
    forwarded_allow_ips: str = Field(
        default="127.0.0.1",
        description="addresses or networks of proxies that may set the root path by a header, separated by commas; "
        "* for any, none for none",
    )
    log_format: str = Field(default="text", description="how the log is written: text, or json with an object a line")

    @property
    def max_images(self) -> int:
        """Most images of one request: they run together, and wait together."""
        return min(self.max_batch, self.max_queue)
