"""`cream:<published name>` and `cream:custom --config FILE`: DeiT with iRPE (Wu et al. 2021), under the authors' keys.

FILE is JSON with every field of `CreamConfig`. Published networks use contextual product encodings with one table for
all heads; 50 in their names is the number of buckets: 7², and one for the CLS token.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from artifact import Preprocess
from models.config import ViTConfig
from models.sources.base import Loaded, Overrides, SourceError, Weights, problems
from models.sources.own import Own
from models.sources.preprocessing import IMAGENET_MEAN, IMAGENET_STD

MAPPINGS = {"product": "product", "cross": "cross", "euc": "euclidean", "quant": "quantization"}
MODES = {"ctx": "contextual", "bias": "bias"}

_PARTS = {"rows": ".rp_rows", "columns": ".rp_cols"}  # tables of the cross mapping; other mappings have one table
_TABLE = re.compile(r"(blocks\.\d+\.)attention\.encoding\.([qkv])\.(\w+)\.table")


class CreamConfig(BaseModel):
    """Sizes of a DeiT with iRPE, in the authors' terms.

    α, β, γ are ratio, 2·ratio and 8·ratio. `quant` passes squared distances to the index function, as their code does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["product", "cross", "euc", "quant"]
    mode: Literal["ctx", "bias"]
    on: str  # one or more of q, k, v, in any order
    shared: bool
    ratio: PositiveFloat
    image_size: PositiveInt
    patch_size: PositiveInt
    embed_dim: PositiveInt
    depth: PositiveInt
    num_heads: PositiveInt
    num_classes: PositiveInt
    mlp_ratio: PositiveFloat
    qkv_bias: bool
    layer_norm_eps: PositiveFloat
    file: str | None = None  # weights of a network in the reference data; not used
    effect_of_tables_on_logits: float | None = None  # in the reference data; not used

    def network(self) -> ViTConfig:
        """Return the configuration of the re-hosted network.

        Raises:
            ValueError: `on` is not one or more of q, k and v.
        """
        on = "".join(letter for letter in "qkv" if letter in self.on)
        if not on or sorted(on) != sorted(self.on):
            raise ValueError(f"on is {self.on!r}; expected one or more of q, k and v, each at most once")
        options: dict[str, float | bool | str] = {"ratio": self.ratio, "shared": self.shared}
        if self.method == "quant":
            options["quantization"] = "squared"
        name = f"irpe-{MAPPINGS[self.method]}-{MODES[self.mode]}-{on}"
        return ViTConfig(
            image_size=(self.image_size, self.image_size),
            patch_size=self.patch_size,
            num_classes=self.num_classes,
            mlp_ratio=self.mlp_ratio,
            layer_norm_eps=self.layer_norm_eps,
            encodings={"learned": {}, name: options},
            width=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            qkv_bias=self.qkv_bias,
            pool="cls",
        )

    def authors_key(self, ours: str) -> str:
        """Return the authors' key for a key of the re-hosted network.

        `blocks.0.attention.encoding.k.rows.table` is `blocks.0.attn.rpe_k.rp_rows.lookup_table_weight`.
        """
        if ours == "position.table":
            return "pos_embed"
        table = _TABLE.fullmatch(ours)
        if table is None:
            return ours.replace(".attention.", ".attn.")
        block, letter, part = table.groups()
        kind = "weight" if self.mode == "ctx" else "bias"
        return f"{block}attn.rpe_{letter}{_PARTS.get(part, '')}.lookup_table_{kind}"


def _published() -> dict[str, CreamConfig]:
    deit = {
        "method": "product",
        "mode": "ctx",
        "shared": True,
        "ratio": 1.9,
        "image_size": 224,
        "patch_size": 16,
        "depth": 12,
        "num_classes": 1000,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
        "layer_norm_eps": 1e-6,
    }
    sizes = {"tiny": (192, 3, ("k",)), "small": (384, 6, ("k", "qk", "qkv")), "base": (768, 12, ("k", "qkv"))}
    return {
        f"deit_{size}_patch16_224_ctx_product_50_shared_{on}": CreamConfig.model_validate(
            deit | {"on": on, "embed_dim": width, "num_heads": heads}
        )
        for size, (width, heads, targets) in sizes.items()
        for on in targets
    }


PUBLISHED = _published()


def load(name: str, weights: Weights, overrides: Overrides) -> Loaded:
    """Build a DeiT with iRPE and load weights with the authors' keys.

    For another image size, buckets are recomputed (exactly) and the absolute embedding is resampled.

    Raises:
        SourceError: see `models.sources.load_source`.
    """
    config, shown, preprocess = _find(name, overrides.config)
    source = f"cream:{name}"
    try:
        network = config.network()
    except ValueError as error:
        raise SourceError(f"{source}: {error}") from error
    published = "the authors publish their weights as files, not through a library"
    own = Own(source, f"cream:{shown}", network, preprocess, published, key=config.authors_key)
    return own.load(weights, overrides)


def _find(name: str, file: Path | None) -> tuple[CreamConfig, str, Preprocess]:
    if name == "custom":
        if file is None:
            raise SourceError("cream:custom needs its sizes: give --config FILE")
        config = _read_config(file)
        preprocess = Preprocess(
            resize=(config.image_size, config.image_size),
            interpolation="bicubic",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )
        return config, file.stem, preprocess
    if name not in PUBLISHED:
        raise SourceError(
            f"cream:{name} is not published; known: {', '.join(PUBLISHED)}, and custom with --config FILE"
        )
    preprocess = Preprocess(resize=256, crop=(224, 224), interpolation="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return PUBLISHED[name], name, preprocess


def _read_config(file: Path) -> CreamConfig:
    try:
        return CreamConfig.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read --config {file}: {error}") from error
    except ValidationError as error:
        raise SourceError(f"--config {file} does not describe a network: {problems(error)}") from error
