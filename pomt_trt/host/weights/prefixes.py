"""Finds which of a file's tensors are the model's: those under one prefix, in timm's names or in those of transformers.

A wrapper such as {'state_dict': ...} and a prefix such as 'model.' are the same here: what stands before a name.
"""

import re
from collections.abc import Iterator, Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor

from pomt_trt.core.errors import InputError
from pomt_trt.host.weights import transformers_names
from pomt_trt.host.weights.files import State
from pomt_trt.host.weights.transformers_names import Target
from pomt_trt.host.weights.wording import few

EMA_AUTO, EMA_ON, EMA_OFF = "auto", "on", "off"
AVERAGED = {"ema", "teacher", "target", "momentum", "averaged", "swa"}  # words in a prefix: weights averaged over steps
# Parts that torch and its trainers put into names: torch.compile, FSDP, activation checkpoints, Lightning, DDP.
PUT_IN = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module"}
# Names that only training uses: of masked image modelling, MAE's decoder, and torch's averaging.
OF_TRAINING = re.compile(r"(mask_token|n_averaged|decoder_(embed|pos_embed|norm|pred|blocks)\b.*)$")
CHUNKED = re.compile(r"^(.*\b)?blocks\.(\d+)\.(\d+)\.(.+)$")


class Found(NamedTuple):
    """The model's tensors in a file."""

    tensors: State  # in timm's names; what is under the prefix and has no place in the model is there too
    read: int  # tensors of the file that were read
    notes: tuple[str, ...]  # what was done to names, for the user


class _Candidate(NamedTuple):
    prefix: str
    layout: str  # TIMM or TRANSFORMERS
    names: frozenset[str]  # of the model's tensors that are under it

    @property
    def averaged(self) -> bool:
        """Whether the prefix says that weights are averages over training steps."""
        return not AVERAGED.isdisjoint(re.split(r"[._]", self.prefix.lower()))


TIMM, TRANSFORMERS = "timm", "transformers"


def find(state: State, own: State, ema: str, path: str) -> Found | None:
    """The tensors under the prefix that most of the model's names have; None where under no prefix there are half.

    Args:
        state: of the file. own: of the model.
        ema: of two equal sets, auto and on take the averaged one, off the other; on requires one, and so does off.
    Raises: InputError where two prefixes are equally good, or `ema` asks for weights that are not there.
    """
    raw = _plain(state)
    candidates = [one for one in _candidates(set(raw), set(own)) if 2 * len(one.names) >= len(own)]
    if not candidates:
        return None
    most = max(len(one.names) for one in candidates)
    equal = [one for one in candidates if len(one.names) == most]
    chosen = _asked_for(equal if ema == EMA_AUTO else candidates, ema, path)
    tensors = {name: state[given] for name, given in raw.items()}
    best = _only(chosen, tensors, path)
    beside = sorted(one.prefix for one in equal if one not in chosen and one.prefix != best.prefix)
    taken = _taken(best, tensors, own)
    notes = _notes(best, raw, taken, [name for name in tensors if name.startswith(best.prefix)])
    if beside:
        kind = "averaged" if best.averaged else "trained"
        other = EMA_OFF if best.averaged else EMA_ON
        notes.append(f"{kind} weights; those under {_quoted(beside)} are not read (--ema {other})")
    found = _assembled(taken, tensors, own)
    mask = best.prefix + "mask_token"
    if best.layout == TIMM and mask in tensors:
        found["mask_token"] = tensors[mask]  # by which timm's filter knows DINOv2's files
    return Found(found, len(taken), tuple(notes))


def _candidates(names: Set[str], own: Set[str]) -> Iterator[_Candidate]:
    """The prefixes before the model's names, each with the model's names that it has."""
    found: dict[tuple[str, str], set[str]] = {}
    for name in names:
        for start in [0] + [position + 1 for position, letter in enumerate(name) if letter == "."]:
            rest = name[start:]
            if rest in own:
                found.setdefault((name[:start], TIMM), set()).add(rest)
            for target in transformers_names.targets(rest, own):
                if target.name in own:
                    found.setdefault((name[:start], TRANSFORMERS), set()).add(target.name)
    return (_Candidate(prefix, layout, frozenset(known)) for (prefix, layout), known in found.items())


def _asked_for(candidates: Sequence[_Candidate], ema: str, path: str) -> list[_Candidate]:
    """The averaged candidates or the others, as asked; of those the ones with most names."""
    averaged = [one for one in candidates if one.averaged]
    trained = [one for one in candidates if not one.averaged]
    if ema == EMA_AUTO:
        chosen = averaged or trained
    else:
        chosen = averaged if ema == EMA_ON else trained
    if not chosen:
        kind = "averaged weights (EMA, teacher)" if ema == EMA_ON else "weights but averaged ones"
        raise InputError(
            f"--ema {ema}: {path} holds no {kind}, only those under {_quoted([one.prefix for one in candidates])}. "
            "Leave --ema out."
        )
    most = max(len(one.names) for one in chosen)
    return [one for one in chosen if len(one.names) == most]


def _only(candidates: Sequence[_Candidate], tensors: State, path: str) -> _Candidate:
    """The candidate, or the one with the shortest prefix of several with the same values."""
    best = min(candidates, key=lambda one: (len(one.prefix), one.prefix, one.layout))
    for other in candidates:
        if other.layout == best.layout and not _same(best, other, tensors):
            raise InputError(
                f"{path} holds the model's {len(best.names)} names with several prefixes: "
                f"{_quoted(sorted(one.prefix for one in candidates))}, and the values differ. Save the one that you "
                "want alone: torch.save({name: value, ...}, FILE)."
            )
    return best


def _same(one: _Candidate, other: _Candidate, tensors: State) -> bool:
    """Whether both prefixes have the same values, as where a module is a member of two."""
    if one.prefix == other.prefix:
        return True
    rests = [name[len(one.prefix) :] for name in tensors if name.startswith(one.prefix)]
    pairs = [(one.prefix + rest, other.prefix + rest) for rest in rests if other.prefix + rest in tensors]
    return all(torch.equal(tensors[a], tensors[b]) for a, b in pairs)


def _taken(best: _Candidate, tensors: State, own: State) -> dict[str, list[Target]]:
    """name in the file -> what becomes of it. Of names above the prefix, only those that the model lacks otherwise."""
    taken: dict[str, list[Target]] = {}
    for name in tensors:
        rest = name[len(best.prefix) :]
        if not name.startswith(best.prefix) or OF_TRAINING.match(rest):
            continue
        targets = [Target(rest)] if best.layout == TIMM else transformers_names.targets(rest, set(own))
        if targets:
            taken[name] = targets
    for name in set(own) - best.names:
        for parent in _parents(best.prefix):
            if parent + name in tensors and tensors[parent + name].shape[1:] == own[name].shape[1:]:
                taken[parent + name] = [Target(name)]
                break
    return taken


def _parents(prefix: str) -> Iterator[str]:
    """'a.b.' -> 'a.', ''."""
    parts = prefix.split(".")[:-1]
    return ("".join(part + "." for part in parts[:count]) for count in range(len(parts) - 1, -1, -1))


def _assembled(taken: dict[str, list[Target]], tensors: State, own: State) -> State:
    """The model's tensors: parts in their order, and with as many dimensions as the model has."""
    parts: dict[str, dict[int, Tensor]] = {}
    for name, targets in taken.items():
        for target in targets:
            parts.setdefault(target.name, {})[target.place] = target.rows_of(tensors[name])
    state = {}
    for name, pieces in parts.items():
        ordered = [pieces[place] for place in sorted(pieces)]
        value = ordered[0] if len(ordered) == 1 else torch.cat(ordered)
        lacks_batch = name in own and value.ndim == own[name].ndim - 1 and own[name].shape[0] == 1
        state[name] = value[None] if lacks_batch else value
    return state


def _notes(best: _Candidate, raw: dict[str, str], taken: dict[str, list[Target]], under: Sequence[str]) -> list[str]:
    prefix = next((raw[name][: -len(rest)] for name in taken if raw[name].endswith(rest := _rest(name, best))), "")
    notes = [f"prefix '{prefix}' removed"] if prefix else []
    if best.layout == TRANSFORMERS:
        notes.append("names of Hugging Face transformers")
    outside = sorted(name for name in taken if not name.startswith(best.prefix))
    left = [_rest(name, best) for name in under if name not in taken]
    notes += [f"{few(outside)} from outside of it"] if outside else []
    notes += [f"{few(left)} left out"] if left else []
    return notes


def _rest(name: str, best: _Candidate) -> str:
    return name[len(best.prefix) :] if name.startswith(best.prefix) else name


def _plain(state: State) -> dict[str, str]:
    """name without what trainers put in, and with blocks counted through -> name in the file."""
    numbers = _block_numbers(state)
    plain: dict[str, str] = {}
    for given in state:
        name = ".".join(part for part in given.split(".") if part not in PUT_IN)
        found = CHUNKED.match(name)
        if found:
            before, chunk, index, after = found.groups()
            name = f"{before or ''}blocks.{numbers[before or ''][int(chunk), int(index)]}.{after}"
        plain[given if name in plain else name] = given
    return plain


def _block_numbers(state: State) -> dict[str, dict[tuple[int, int], int]]:
    """By what stands before `blocks.`: (chunk, index in it) -> number of the block, of DINOv2's training files."""
    chunks: dict[str, set[tuple[int, int]]] = {}
    for given in state:
        found = CHUNKED.match(".".join(part for part in given.split(".") if part not in PUT_IN))
        if found:
            chunks.setdefault(found.group(1) or "", set()).add((int(found.group(2)), int(found.group(3))))
    return {before: {pair: number for number, pair in enumerate(sorted(pairs))} for before, pairs in chunks.items()}


def _quoted(prefixes: Sequence[str]) -> str:
    return " and ".join(f"'{prefix}'" if prefix else "no prefix" for prefix in prefixes)
