"""Deployment: `python -m pomt_trt.infer BUNDLE IMAGE|DIR|-` -> predictions on stdout, as a table or JSON lines.

On the machine that runs engines; numpy and Pillow, never torch. From Python: `load` and `Classifier`, which live in
device/classifier. Leaves out how the engine was chosen.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.command import exit_code_of
from pomt_trt.core.dataset import EXTENSIONS
from pomt_trt.core.errors import InputError, SomeInputsFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.store import explained
from pomt_trt.device import preprocess
from pomt_trt.device.classifier import Classifier, load, softmax

__all__ = ["Classifier", "load", "main"]

EXAMPLES = """\
examples:
  python -m pomt_trt.infer work/bundle-x/ cat.jpg dog.jpg
  python -m pomt_trt.infer work/bundle-x/ photos/ --top-k 1 --json > predictions.jsonl
  find /data -name '*.png' | python -m pomt_trt.infer work/bundle-x/ -
  python -m pomt_trt.infer bundle-x/ --rebuild                   on another device or after an upgrade

latency_ms is the engine's call alone, for its whole batch; a summary on stderr gives end to end beside it. A bad image
is one line on stderr, the others go on.

exit codes: 0 all done, 2 usage, 3 no usable image or bundle, 5 not rebuilt, 7 rebuilt but wrong, 8 bundle of another
  device, 9 damaged bundle, 11 some images failed and the others are done, 130 interrupted"""
MANY_IMAGES = 100  # from here on a log gets a line of progress now and then
NOTICE_EVERY_S = 10.0  # where the number of images is not known beforehand
LONGEST_COLUMN = 48


class Timing(NamedTuple):
    """One call of the engine: how many images were in it, and what it took."""

    images: int
    engine_ms: float
    end_to_end_ms: float  # reading and preprocessing these images, the engine, softmax


class Result(NamedTuple):
    """What is said about one image."""

    image: str
    predictions: List[Dict[str, Any]]  # label, index, probability; most probable first
    latency_ms: float


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command; returns its exit code. What the user can mend is one line on stderr."""
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="pomt-trt: %(message)s")

    def run() -> None:
        if arguments.rebuild:
            from pomt_trt.rebuild import rebuild

            for note in rebuild(arguments.bundle, arguments.threads).notes:
                _complain(note)
        if not arguments.inputs:
            return
        with load(arguments.bundle, threads=arguments.threads) as classifier:
            _classify(classifier, arguments)

    return exit_code_of(run, _complain, "interrupted")


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """Images may be left out with --rebuild only: where they may be, argparse finds none behind flags."""
    parser = argparse.ArgumentParser(
        prog="python -m pomt_trt.infer",
        description="Classifies images with a bundle's engine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `pomt-trt bundle` or `pomt-trt compile` made")
    parser.add_argument(
        "inputs",
        metavar="IMAGE|DIR|-",
        nargs="*" if "--rebuild" in words else "+",
        help="image files; folders, walked; -: paths from stdin, one a line",
    )
    parser.add_argument("--top-k", type=_positive, default=5, metavar="K", help="classes to name (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each image")
    parser.add_argument("--threads", type=_positive, metavar="N", help="CPU threads (default: as the engine was built)")
    parser.add_argument("--rebuild", action="store_true", help="first build the engines here; images stand before")
    return parser.parse_args(words)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("'{}' is not a whole number of at least 1".format(text))
    return int(text)


def _classify(classifier: Classifier, arguments: argparse.Namespace) -> None:
    """Classifies everything that was given; raises at the end where images failed."""
    paths: Iterable[str] = _paths(arguments.inputs)
    known: List[str] = []
    if "-" not in arguments.inputs:  # paths on stdin are answered as they come, so their number is not known
        paths = known = list(paths)
    write = _json_writer() if arguments.json else _table_writer(known)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(Progress("images", len(known))) if _wants_bar(len(known)) else None
        run = _Run(classifier, arguments.top_k, bar)
        for results in run.over(paths):
            with explained("the results"):
                write(results)
                sys.stdout.flush()
    run.finish(arguments.inputs)


def _wants_bar(total: int) -> bool:
    """On a terminal, unless the results scroll by on the same one; in a log, where there are many images."""
    if sys.stderr.isatty():
        return total > 0 and not sys.stdout.isatty()
    return total >= MANY_IMAGES


class _Run:
    """One pass over the images: decodes, calls the engine batch by batch, remembers timings and failures."""

    def __init__(self, classifier: Classifier, top_k: int, bar: Optional[Progress]) -> None:
        self._classifier, self._top_k, self._bar = classifier, top_k, bar
        self._timings: List[Timing] = []
        self._failed, self._done = 0, 0
        self._noticed = time.monotonic()

    def over(self, paths: Iterable[str]) -> Iterator[List[Result]]:
        """The results of each batch, as soon as it is done; the last batch may be short."""
        classifier, warm = self._classifier, False
        batch: List[Tuple[str, np.ndarray, float]] = []
        for decoded in self._decoded(paths):
            if not warm:  # the first call of an engine is slower than any other, and says nothing about it
                classifier.logits(classifier.normalised(decoded[1][np.newaxis]))
                warm = True
            batch.append(decoded)
            if len(batch) == classifier.batch_size:
                yield self._results(batch)
                batch = []
        if batch:
            yield self._results(batch)

    def _decoded(self, paths: Iterable[str]) -> Iterator[Tuple[str, np.ndarray, float]]:
        """(path, uint8 (H, W, C), ms it took) of every image that can be read."""
        for path in paths:
            started = time.perf_counter()
            try:
                pixels = preprocess.read(path, self._classifier.bundle.model.preprocessing)
            except InputError as error:
                self._fail(str(error))
                continue
            yield path, pixels, (time.perf_counter() - started) * 1e3

    def _results(self, batch: Sequence[Tuple[str, np.ndarray, float]]) -> List[Result]:
        started = time.perf_counter()
        images = self._classifier.normalised(np.stack([pixels for _, pixels, _ in batch]))
        called = time.perf_counter()
        logits = self._classifier.logits(images)
        returned = time.perf_counter()
        with np.errstate(invalid="ignore"):  # _result says which image it was
            probabilities = softmax(logits)
        ended = time.perf_counter()
        engine_ms = (returned - called) * 1e3
        reading_ms = sum(ms for _, _, ms in batch)
        self._timings.append(Timing(len(batch), engine_ms, (ended - started) * 1e3 + reading_ms))
        results = [self._result(path, row, engine_ms) for (path, _, _), row in zip(batch, probabilities)]
        self._progress(len(batch))
        return [result for result in results if result is not None]

    def _result(self, path: str, probabilities: np.ndarray, latency_ms: float) -> Optional[Result]:
        if not np.isfinite(probabilities).all():
            self._fail("{}: the engine's logits are not finite. Check it: pomt-trt verify BUNDLE.".format(path))
            return None
        self._done += 1
        labels = self._classifier.labels
        best = np.argsort(-probabilities, kind="stable")[: self._top_k]
        named = [(labels[index] if index < len(labels) else str(index), int(index)) for index in best]
        predictions = [
            {"label": label, "index": index, "probability": float(probabilities[index])} for label, index in named
        ]
        return Result(path, predictions, latency_ms)

    def _fail(self, reason: str) -> None:
        self._failed += 1
        if self._bar is not None:
            self._bar.message("pomt-trt: " + _printable(reason))
            self._bar.step()
        else:
            _complain(reason)

    def _progress(self, count: int) -> None:
        now = time.monotonic()
        if self._bar is not None:
            self._bar.step(count=count)
        elif now - self._noticed >= NOTICE_EVERY_S:
            self._noticed = now
            _complain("{} images so far".format(self._done))

    def finish(self, inputs: Sequence[str]) -> None:
        """Says how long it took. Raises: InputError where nothing was done, SomeInputsFailed where not all was."""
        if not self._done + self._failed:
            raise InputError(
                "no image in {}. Give image files, a folder that holds any of *{}, or - with paths on stdin.".format(
                    ", ".join(inputs), " *".join(EXTENSIONS)
                )
            )
        if self._timings:
            sys.stderr.write(_summary(self._timings))
        if self._failed:
            kind = SomeInputsFailed if self._done else InputError
            raise kind(
                "{} of {} images failed, for the reasons above; {}. Leave them out or replace them.".format(
                    self._failed, self._failed + self._done, "the others are done" if self._done else "none is done"
                )
            )


def _summary(timings: Sequence[Timing]) -> str:
    """Throughput and latency: the engine alone, and end to end."""
    images = sum(timing.images for timing in timings)
    lines = ["{} images in batches of up to {}".format(images, max(timing.images for timing in timings))]
    for title, values in (
        ("engine", [timing.engine_ms for timing in timings]),
        ("end to end", [timing.end_to_end_ms for timing in timings]),
    ):
        lines.append(
            "{:<10} {:8.1f} images/s   ms a batch: mean {:.2f}, p50 {:.2f}, p95 {:.2f}".format(
                title, images / sum(values) * 1e3, sum(values) / len(values), *np.percentile(values, [50, 95])
            )
        )
    return "\n".join(lines) + "\n"


def _json_writer() -> Any:
    return lambda results: sys.stdout.write("".join(json.dumps(result._asdict()) + "\n" for result in results))


def _table_writer(paths: Sequence[str]) -> Any:
    width = max([5] + [min(LONGEST_COLUMN, len(_printable(path))) for path in paths] if paths else [32])
    _out("{:<{}}  {:>10}  {}\n".format("image", width, "latency_ms", "predictions"))

    def write(results: Sequence[Result]) -> None:
        for result in results:
            best = ["{label} {0:.1f} %".format(100 * p["probability"], **p) for p in result.predictions]
            line = "{:<{}}  {:>10.2f}  {}".format(_printable(result.image), width, result.latency_ms, ", ".join(best))
            _out(_printable(line) + "\n")

    return write


def _out(text: str) -> None:
    """Writes what the terminal's encoding cannot show as escapes, instead of failing on a label."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _printable(text: str) -> str:
    """The text without control characters or undecodable bytes, which a file name may hold: shown as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _complain(text: str) -> None:
    sys.stderr.write("pomt-trt: {}\n".format(_printable(text)))
    sys.stderr.flush()


def _paths(inputs: Iterable[str]) -> Iterator[str]:
    """Every image file that was meant, folders walked in sorted order, hidden files left out."""
    for given in inputs:
        if given == "-":
            lines = (os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer)
            yield from _paths(path for path in lines if path not in ("", "-"))
        elif os.path.isdir(given):
            unreadable: List[Any] = []
            for directory, folders, names in os.walk(given, onerror=unreadable.append):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(names):
                    if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                        yield os.path.join(directory, name)
            yield from (error.filename for error in unreadable)  # so that each is a line and a failure
        else:
            yield given


if __name__ == "__main__":
    sys.exit(main())
