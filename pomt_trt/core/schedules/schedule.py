"""Static token counts per block, and the grid of counts that candidates have."""

from typing import List, Sequence, Tuple

from pomt_trt.core.errors import UsageError
from pomt_trt.core.records import Schedule


def constant(tokens: int, depth: int, prefix_tokens: int) -> Schedule:
    """`tokens` (prefix included) in each of `depth` blocks; nothing is removed."""
    return Schedule(tokens=(tokens,) * (depth + 1), prefix_tokens=prefix_tokens)


def single_layer(tokens: int, depth: int, prefix_tokens: int, layer: int, removed: int) -> Schedule:
    """Removes `removed` tokens in block `layer` (0-based); the counts after it stay.

    Raises: UsageError if the layer does not exist or no patch token would be left.
    """
    check_layer(layer, depth)
    check_removed(removed, tokens, prefix_tokens)
    counts = (tokens,) * (layer + 1) + (tokens - removed,) * (depth - layer)
    return Schedule(tokens=counts, prefix_tokens=prefix_tokens)


def even(tokens: int, depth: int, prefix_tokens: int, removed: int) -> Schedule:
    """Spreads `removed` over all blocks: after block l, round((l + 1) R / depth) tokens are gone."""
    check_removed(removed, tokens, prefix_tokens)
    gone = [(2 * (block + 1) * removed + depth) // (2 * depth) for block in range(depth)]  # halves round up
    return Schedule(tokens=(tokens,) + tuple(tokens - g for g in gone), prefix_tokens=prefix_tokens)


def per_block(tokens: int, prefix_tokens: int, removed: Sequence[int]) -> Schedule:
    """Removes `removed[l]` tokens in block l.

    Raises: UsageError where no patch token would be left.
    """
    counts = [tokens]
    for block, r in enumerate(removed):
        if r < 0 or counts[-1] - r < prefix_tokens + 1:
            raise UsageError(
                "block {} cannot remove {} of {} tokens ({} prefix): at least one patch token must stay. "
                "Remove fewer there or earlier.".format(block, r, counts[-1], prefix_tokens)
            )
        counts.append(counts[-1] - r)
    return Schedule(tokens=tuple(counts), prefix_tokens=prefix_tokens)


def check_layer(layer: int, depth: int) -> None:
    """Raises UsageError unless 0 <= layer < depth."""
    if not 0 <= layer < depth:
        raise UsageError(
            "layer {} is out of range: the model has {} blocks. Choose --layer 0 to {}.".format(layer, depth, depth - 1)
        )


def check_removed(removed: int, tokens: int, prefix_tokens: int) -> None:
    """Raises UsageError unless at least one patch token is left."""
    most = tokens - prefix_tokens - 1
    if not 0 <= removed <= most:
        raise UsageError(
            "R = {} is not possible: {} tokens with {} prefix tokens allow R from 0 to {}.".format(
                removed, tokens, prefix_tokens, most
            )
        )


def parse_range(text: str) -> Tuple[int, int, int]:
    """START:STOP:STEP as in `--tokens 196:96:4`; counts go down, and STOP is included where a step reaches it.

    Raises: UsageError that shows the expected form.
    """
    parts = text.split(":")
    try:
        start, stop, step = (int(part) for part in (parts + ["1"] if len(parts) == 2 else parts))
    except ValueError:
        raise UsageError("--tokens takes START:STOP:STEP such as 196:96:4, not '{}'.".format(text)) from None
    if step < 1 or stop < 1 or start < stop:
        raise UsageError(
            "--tokens counts down from START to STOP by a positive STEP; '{}' does not. Try {}:{}:{}.".format(
                text, max(start, stop, 1), max(min(start, stop), 1), max(abs(step), 1)
            )
        )
    return start, stop, step


def grid(tokens: int, start: int, stop: int, step: int) -> List[int]:
    """Token counts to try, descending: `tokens` itself (R = 0), then start, start - step, ... >= stop.

    Raises: UsageError where start exceeds `tokens`.
    """
    if start > tokens:
        raise UsageError(
            "--tokens starts at {}, but the model has {} tokens. Start at {} or lower.".format(
                start, tokens, tokens - 1
            )
        )
    return [tokens] + [count for count in range(start, stop - 1, -step) if count < tokens]
