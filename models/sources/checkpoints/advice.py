"""Advice about a checkpoint that does not fit: the cause is inferred from the keys and shapes that differ.

Each rule looks for one cause and returns a sentence or None; the first sentence is used.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from models.sources.checkpoints.fit import Misfit, Shape

_TABLE = re.compile(r"relative_position_bias_table|rel_pos_h$|rel_pos_w$|attention_biases$")
_EMBEDDING = re.compile(r"pos_?emb|position|absolute_pos")
_HEAD = re.compile(r"(^|\.)(head|heads|classifier|fc|head_dist|distillation_head|last_linear)(\.|$)")
_NUMBERED = re.compile(r"(.*?)\.(\d+)\.")
_MOST = 0.5  # share of the keys in common below which it is another architecture
_OPTIONS = {
    "timm": " with --model-arg KEY=VALUE, or as a folder that timm saved, timm:local-dir:FOLDER",
    "torchvision": " with --model-arg KEY=VALUE",
    "transformers": " in config.json, or with --model-arg KEY=VALUE",
    "python": " in the function",
}
"""Phrases that say where constructor options are given, by kind of source."""

_EXTRA_TOKENS = range(9)  # class and distillation tokens, registers


@dataclass(frozen=True)
class Advice:
    """Advice on checkpoints for one source.

    Attributes:
        source: `kind:name`.
        image_size: (height, width) that the network was built for, in pixels; None if it accepts any size.
    """

    source: str
    image_size: tuple[int, int] | None = None

    def __call__(self, misfit: Misfit) -> str:
        """Return the advice, a sentence without its full stop."""
        for rule in _RULES:
            sentence = rule(self, misfit)
            if sentence is not None:
                return sentence
        raise AssertionError("the last rule always returns a sentence")

    def setting(self, option: str, value: str) -> str:
        """Return the phrase that sets an option of the network's constructor for this source."""
        kind = self.source.partition(":")[0]
        if kind == "python":
            return f"build it with {option} {value} in the function"
        if kind in {"posbake", "cream"}:
            return f"give it {option} {value} in its configuration"
        flags = {"image size": "--trained-image-size", "window size": "--trained-window-size"}
        return f"give {flags[option]} {value}" if option in flags else f"give --model-arg {option}={value}"


def _no_head(advice: Advice, misfit: Misfit) -> str | None:
    if not misfit.missing or misfit.unexpected or not all(map(_HEAD.search, misfit.missing)):
        return None
    return f"It has no classification head, but {advice.source} has one: give a checkpoint fine-tuned to classify"


def _absolute_of_swin(advice: Advice, misfit: Misfit) -> str | None:
    if "absolute_pos_embed" not in misfit.unexpected:
        return None
    return (
        "It was trained with an absolute position embedding (ape), which the network of "
        f"{advice.source} does not have: export the authors' own code with python:PATH/FILE.py:FUNCTION"
    )


def _pooling(advice: Advice, misfit: Misfit) -> str | None:
    norms = ({"norm.weight", "norm.bias"}, {"fc_norm.weight", "fc_norm.bias"})
    missing, unexpected = set(misfit.missing), set(misfit.unexpected)
    for (mine, theirs), pool in ((norms, "avg"), (norms[::-1], "token")):
        if missing and missing <= mine and unexpected and unexpected <= theirs:
            what = "the mean of all tokens" if pool == "avg" else "the class token"
            return f"It was trained with {what} before its head: {advice.setting('global_pool', pool)}"
    return None


def _tokens(advice: Advice, misfit: Misfit) -> str | None:
    differ = set(misfit.missing) | set(misfit.unexpected)
    if differ and differ <= {"cls_token", "class_token", "norm.weight", "norm.bias", "fc_norm.weight", "fc_norm.bias"}:
        has = any("token" in key for key in misfit.unexpected)
        what = "with a class token" if has else "without a class token, on the mean of all tokens"
        both = (
            f"{advice.setting('class_token', str(has).lower())} and --model-arg global_pool={'token' if has else 'avg'}"
        )
        return f"It was trained {what}: {both if advice.source.startswith('timm:') else 'build the network that way'}"
    if differ and differ <= {"reg_token", "register_tokens"}:
        registers = misfit.found[misfit.unexpected[0]][1] if misfit.unexpected else 0
        return f"It was trained with {registers} registers: {advice.setting('reg_tokens', str(registers))}"
    if misfit.unexpected and all("dist" in key for key in misfit.unexpected):
        return "It is a distilled network: give the source with `distilled` in its name"
    return None


def _layer_options(advice: Advice, misfit: Misfit) -> str | None:
    """Return advice if an optional part of every block is present on one side only."""
    parts = {
        "qkv_bias": r"attn\.(qkv|q|k|v)\w*\.bias$|\.[qv]_bias$",
        "init_values": r"\.(ls\d\.gamma|gamma_\d|lambda_\d)$",
        "qk_norm": r"\.[qk]_norm\.",
    }
    keys = (*misfit.missing, *misfit.unexpected)
    for option, pattern in parts.items():
        if keys and not (misfit.missing and misfit.unexpected) and all(re.search(pattern, key) for key in keys):
            there = bool(misfit.unexpected)
            value = {"init_values": "1e-5" if there else "null"}.get(option, str(there).lower())
            return f"It was trained {'with' if there else 'without'} {option}: {advice.setting(option, value)}"
    return None


def _depth(advice: Advice, misfit: Misfit) -> str | None:
    keys = (*misfit.missing, *misfit.unexpected)
    names = {found[1] for key in keys if (found := _NUMBERED.match(key))}
    if not keys or not all(map(_NUMBERED.match, keys)) or len(names) != 1 or (misfit.missing and misfit.unexpected):
        return None
    if not all(map(_HEAD.search, misfit.reshaped)):
        return None
    [name] = names
    theirs, ours = (
        {found[2] for key in side if (found := _NUMBERED.match(key)) and found[1] == name}
        for side in (misfit.found, misfit.expected)
    )
    if theirs == ours:
        return None
    return (
        f"It has {len(theirs)} {name} and the network has {len(ours)}: give the source of its architecture"
        if name != "blocks"
        else f"It has another depth, {len(theirs)} instead of {len(ours)}: {advice.setting('depth', str(len(theirs)))}"
    )


def _channels(_: Advice, misfit: Misfit) -> str | None:
    for key in misfit.reshaped:
        theirs, ours = misfit.found[key], misfit.expected[key]
        if len(ours) == 4 and ours[1] == 3 and theirs[:1] + theirs[2:] == ours[:1] + ours[2:]:
            return (
                f"It was trained on images of {theirs[1]} channel{'s' * (theirs[1] != 1)}, but images are RGB here; "
                "give a module that converts RGB to its channels: python:PATH/FILE.py:FUNCTION"
            )
    return None


def _head(advice: Advice, misfit: Misfit) -> str | None:
    heads = [key for key in misfit.reshaped if _HEAD.search(key)]
    if not heads or len(heads) < len(misfit.reshaped) or misfit.missing or misfit.unexpected:
        return None
    theirs, ours = misfit.found[heads[0]], misfit.expected[heads[0]]
    return (
        f"It was trained for {theirs[0]} classes and the network has {ours[0]}: "
        f"{advice.setting('num_classes', str(theirs[0]))}"
        if theirs[1:] == ours[1:]
        else f"Its head takes {theirs[1:]} features and the network's {ours[1:]}: give the source of its architecture"
    )


def _sizes(advice: Advice, misfit: Misfit) -> str | None:
    """Return advice if only position tables differ, in their number of rows."""
    tables = [key for key in misfit.reshaped if _TABLE.search(key)]
    embeddings = [key for key in misfit.reshaped if key not in tables and _EMBEDDING.search(key)]
    if not tables and not embeddings:
        return None
    if len(tables) + len(embeddings) < len(misfit.reshaped) or misfit.missing or misfit.unexpected:
        return None
    key = (embeddings or tables)[0]
    theirs, ours = misfit.found[key], misfit.expected[key]
    if theirs[-1] != ours[-1] or len(theirs) != len(ours):
        return None
    which = "HxW"
    if key in embeddings:
        which = _image_sizes(theirs, ours, advice.image_size) or which
    elif (window := _window(theirs, ours)) is not None:
        if _is_window(ours, advice.image_size):
            flag = advice.setting("window size", str(window))
            return f"It was trained with windows of {window}×{window} tokens: {flag}, and also its image size"
        own, image = _window(ours, ours), advice.image_size
        which = which if image is None or not own or image[0] % own else str(image[0] // own * window)
    return (
        f"It was trained at another image size: {advice.setting('image size', which)}; --image-size changes it "
        "afterwards"
    )


def _image_sizes(theirs: Shape, ours: Shape, image: tuple[int, int] | None) -> str | None:
    """Return possible image sizes of an absolute embedding, closest to square first."""
    if image is None or len(ours) != 3:
        return None
    height, width = image
    for extra in _EXTRA_TOKENS:
        tokens = ours[1] - extra
        patch = math.isqrt(height * width // tokens) if tokens > 0 else 0
        if not patch or height % patch or width % patch or (height // patch) * (width // patch) != tokens:
            continue
        found = theirs[1] - extra
        rows = max((side for side in range(1, math.isqrt(max(found, 0)) + 1) if found % side == 0), default=0)
        if not rows:
            return None
        columns = found // rows
        if rows == columns:
            return str(rows * patch)
        return f"{rows * patch}x{columns * patch} or {columns * patch}x{rows * patch}"
    return None


def _window(theirs: Shape, ours: Shape) -> int | None:
    """Return the side of the square window of a table [(2·side − 1)² (+ 3), H]."""
    own = math.isqrt(ours[0])
    offsets = theirs[0] - (0 if own * own == ours[0] else 3)
    side = math.isqrt(max(offsets, 0))
    return (side + 1) // 2 if side * side == offsets and side % 2 else None


def _is_window(table: Shape, image: tuple[int, int] | None) -> bool:
    """Return whether a table belongs to windows instead of the whole image; BEiT's table has three more rows."""
    side = math.isqrt(table[0])
    return side * side == table[0] and (image is None or (side + 1) // 2 <= min(image) // 16 - 1)


def _incomplete(advice: Advice, misfit: Misfit) -> str | None:
    if misfit.unexpected or misfit.reshaped or len(misfit.missing) > _MOST * len(misfit.expected):
        return None
    return f"It is incomplete for {advice.source}: save the whole state_dict(), or name the source of its architecture"


def _more(advice: Advice, misfit: Misfit) -> str | None:
    if misfit.missing or misfit.reshaped:
        return None
    return (
        f"It has more tensors than {advice.source}: give the source of its architecture, or the options that it was "
        f"trained with{_OPTIONS.get(advice.source.partition(':')[0], ' in its configuration')}"
    )


def _architecture(advice: Advice, misfit: Misfit) -> str:
    common = [key for key in misfit.expected if misfit.found.get(key) == misfit.expected[key]]
    count = f"{len(common)} of the network's {len(misfit.expected)} tensors have a match in name and shape"
    if len(common) < _MOST * len(misfit.expected):
        return f"Its architecture is not {advice.source}: {count}. Give the source of its architecture"
    return (
        f"It was trained with other options than {advice.source} has by default ({count}): give these options"
        f"{_OPTIONS.get(advice.source.partition(':')[0], ' in its configuration')}"
    )


_RULES: tuple[Callable[[Advice, Misfit], str | None], ...] = (
    _no_head,
    _absolute_of_swin,
    _pooling,
    _tokens,
    _layer_options,
    _depth,
    _channels,
    _head,
    _sizes,
    _incomplete,
    _more,
    _architecture,
)
