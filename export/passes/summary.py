"""Rewrites that a manifest lists: chains of data movement and declined folds, with one line for equal ones."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from artifact import Rewrite, Rewrites
from export.passes.movement import Rewritten
from export.passes.sweep import Declined

MOST_LINES = 24
"""Most lines that are listed: a few kB of a manifest, with texts of at most `MOST_CHARACTERS`."""
MOST_CHARACTERS = 160


def summarise(moved: Iterable[Rewritten], declined: Iterable[Declined]) -> Rewrites:
    """Return the rewritten and the declined chains, the most frequent first.

    Numbers in module paths become `*`, so that equal blocks of a network share a line. A single operator that stays
    unchanged is not a chain and is omitted.
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
    """Return a module's path with * for its numbers: layers.0.blocks.1 is layers.*.blocks.*."""
    return ".".join("*" if part.isdigit() else part for part in module.split("."))


def _reason(text: str) -> str:
    """Return a reason with * for the numbers in its module paths."""
    return _shortened(re.sub(r"\b[A-Za-z_]\w*(?:\.\w+)+", lambda path: _pattern(path[0]), text))


def _runs(operators: Sequence[str]) -> str:
    """Return the operators, with consecutive equal ones as one: `Slice ×4, Concat`."""
    runs = ((operator, len(list(run))) for operator, run in groupby(operators))
    return ", ".join(operator if count == 1 else f"{operator} ×{count}" for operator, count in runs)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
