"""Summary of rewrites for the manifest: chains of data movement and declined folds, grouped into lines."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from artifact import Rewrite, Rewrites
from export.passes.movement import Rewritten
from export.passes.sweep import Declined

MOST_LINES = 24
"""Maximum number of lines."""
MOST_CHARACTERS = 160
"""Maximum length of each text of a line; with `MOST_LINES`, the summary takes a few kB of the manifest."""


def summarise(moved: Iterable[Rewritten], declined: Iterable[Declined]) -> Rewrites:
    """Return the rewritten chains and the declined chains and folds, the most frequent first.

    Numbers in module paths become `*`, so that the blocks of a network share a line. Single operators that stay
    unchanged are omitted.
    """
    counts: Counter[tuple[str, str, str | None, str | None]] = Counter()
    for chain in moved:
        if chain.after == chain.before and len(chain.before) == 1:
            continue
        module, before = _shortened(_pattern(chain.module)), _shortened(_runs(chain.before))
        if chain.reason:
            counts[module, before, None, _reason(chain.reason)] += 1
        else:
            after = (item if times == 1 else f"{item} (×{times})" for item, times in Counter(chain.after).items())
            counts[module, before, _shortened("; ".join(after)), None] += 1
    for node in declined:
        counts[_shortened(_pattern(node.module)), node.operator, None, _reason(node.reason)] += 1
    lines = tuple(
        Rewrite(module=module, before=before, after=after, reason=reason, count=count)
        for (module, before, after, reason), count in counts.most_common(MOST_LINES)
    )
    rewritten = sum(count for (*_, reason), count in counts.items() if reason is None)
    return Rewrites(
        rewritten=rewritten, declined=counts.total() - rewritten, lines=lines, omitted=len(counts) - len(lines)
    )


def _pattern(module: str) -> str:
    """Return a module path with * for numbers: layers.*.blocks.* for layers.0.blocks.1."""
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def _reason(text: str) -> str:
    """Return a reason with * for numbers in module paths."""
    return _shortened(re.sub(r"\b[A-Za-z_]\w*(?:\.\w+)+", lambda path: _pattern(path[0]), text))


def _runs(operators: Sequence[str]) -> str:
    """Return the operators as text, with consecutive equal ones counted: `Slice ×4, Concat`."""
    runs = ((operator, len(list(run))) for operator, run in groupby(operators))
    return ", ".join(operator if count == 1 else f"{operator} ×{count}" for operator, count in runs)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
