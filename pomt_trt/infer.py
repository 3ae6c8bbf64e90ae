"""Deployment: `python -m pomt_trt.infer BUNDLE IMAGE|DIR|-` -> predictions on stdout, as a table or JSON lines.

It needs numpy and Pillow, never torch. From Python use `load`. What is printed of an image: device/deploy/predictions.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
from typing import Any, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.command import exit_code_of, exit_codes_told
from pomt_trt.core.data.image_files import EXTENSIONS, files_of
from pomt_trt.core.errors import InputError, SomeInputsFailed, WrongDevice
from pomt_trt.core.flags import deployment, flag
from pomt_trt.core.progress import Progress
from pomt_trt.core.storage.store import explained
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.deploy.deployed import open_predictor as load
from pomt_trt.device.deploy.predictions import Answer, Answering, answering
from pomt_trt.device.deploy.predictor import Predictor

__all__ = ["load", "main"]

EXAMPLES = """\
examples:
  python -m pomt_trt.infer work/bundle-x/ cat.jpg dog.jpg
  python -m pomt_trt.infer work/bundle-x/ photos/ --top-k 1 --json > predictions.jsonl
  find /data -name '*.png' | python -m pomt_trt.infer work/bundle-x/ -
  python -m pomt_trt.infer work/bundle-y/ photos/ --out maps/    a label map for each image, where the model has them
  python -m pomt_trt.infer work/bundle-z/ photos/ --out f.npy    features (images, dimension), where it has no head
  python -m pomt_trt.infer bundle-x/ --rebuild                   on another device or after an upgrade
  python -m pomt_trt.infer bundle-x/ --rebuild-refused           the same, only where it is needed

Images are decoded as timm decodes them: EXIF orientation is ignored, unless the bundle was compiled with --exif. Only
16-bit grey differs: it becomes value >> 8.
latency_ms is the time of the engine's call alone, for its whole batch. A summary on stderr gives the time end to end.
A bad image is one line on stderr, and the others are still processed. The exit code is 3 if no image can be used, and
11 if some cannot.

"""
MANY_IMAGES = 100  # from this number on a log gets lines of progress
NOTICE_EVERY_S = 10.0  # between lines of progress where the number of images is not known beforehand
LONGEST_COLUMN = 48


class Timing(NamedTuple):
    """One call of the engine: its number of images, and how long it took."""

    images: int
    engine_ms: float
    end_to_end_ms: float  # reading and preprocessing these images, the engine, softmax or label maps


class Decoded(NamedTuple):
    """An image that was read."""

    path: str
    pixels: np.ndarray  # (H, W, C) uint8
    size: Tuple[int, int]  # its own (width, height)
    ms: float  # time to read and decode it


class Result(NamedTuple):
    """What is printed about one image."""

    image: str
    answer: Answer
    latency_ms: float


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command and returns its exit code. An error that the user can correct is one line on stderr."""
    arguments = _parsed(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="pomt-trt: %(message)s")

    def run() -> None:
        if arguments.rebuild or (arguments.rebuild_refused and _is_refused(arguments)):
            from pomt_trt.pipeline.rebuild import rebuild

            for note in rebuild(arguments.bundle, arguments.threads):
                _complain(note)
        if arguments.inputs:
            with load(arguments.bundle, threads=arguments.threads, waiting=arguments.waiting) as predictor:
                _predict(predictor, arguments)

    return exit_code_of(run, _complain, "interrupted")


def _is_refused(arguments: argparse.Namespace) -> bool:
    """Whether the bundle's engine is of another device or release; prints why."""
    try:
        load(arguments.bundle, threads=arguments.threads).close()
    except WrongDevice as error:
        _complain("{} It is built anew now.".format(error))
        return True
    return False


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments. With --rebuild images may be left out; without it argparse asks for them."""
    parser = argparse.ArgumentParser(
        prog="python -m pomt_trt.infer",
        description="Labels images or their pixels, or gives their features or values, with a bundle's engine.",
        epilog=EXAMPLES + exit_codes_told(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    optional = {"--rebuild", "--rebuild-refused"} & set(words)
    inputs = deployment.INPUTS._replace(nargs="*" if optional else "+")
    flag.add(parser, [deployment.BUNDLE, inputs, *deployment.INFER])
    return parser.parse_args(words)


def _predict(predictor: Predictor, arguments: argparse.Namespace) -> None:
    """Predicts and prints every input. Raises: InputError, SomeInputsFailed, at the end, where images failed."""
    how = answering(predictor.bundle.model, arguments.top_k, arguments.out)
    paths: Iterable[str] = files_of(arguments.inputs, sys.stdin.buffer)
    listed: List[str] = []
    if "-" not in arguments.inputs:  # paths on stdin are answered as they come: their number is not known beforehand
        paths = listed = list(paths)
    write = _json_writer() if arguments.json else _table_writer(listed, how)
    with contextlib.ExitStack() as stack:
        stack.enter_context(how.file)
        bar = stack.enter_context(Progress("images", len(listed))) if _wants_bar(len(listed)) else None
        run = _Run(predictor, how, bar)
        for results in run.over(paths):
            with explained("the results"):
                write(results)
                sys.stdout.flush()
    run.finish(arguments.inputs)


def _wants_bar(total: int) -> bool:
    """True on a terminal, unless the results go to the same one; in a log, for many images."""
    if sys.stderr.isatty():
        return total > 0 and not sys.stdout.isatty()
    return total >= MANY_IMAGES


class _Run:
    """One pass over the images: decodes them, calls the engine batch by batch, counts failures and keeps timings."""

    def __init__(self, predictor: Predictor, how: Answering, bar: Optional[Progress]) -> None:
        self._predictor, self._how, self._bar = predictor, how, bar
        self._timings: List[Timing] = []
        self._failed, self._done = 0, 0
        self._noticed = time.monotonic()

    def over(self, paths: Iterable[str]) -> Iterator[List[Result]]:
        """The results of each batch, as soon as it is done; the last batch may hold fewer images."""
        predictor, warm = self._predictor, False
        batch: List[Decoded] = []
        for decoded in self._decoded(paths):
            if not warm:  # an engine's first call is slower than all others, so it is not timed
                predictor.logits(predictor.normalised(decoded.pixels[np.newaxis]))
                warm = True
            batch.append(decoded)
            if len(batch) == predictor.batch_size:
                yield self._results(batch)
                batch = []
        if batch:
            yield self._results(batch)

    def _decoded(self, paths: Iterable[str]) -> Iterator[Decoded]:
        """Each image that can be read."""
        for path in paths:
            started = time.perf_counter()
            try:
                pixels, size = preprocess.read_sized(path, self._predictor.bundle.model.preprocessing)
            except InputError as error:
                self._fail(str(error))
                continue
            yield Decoded(path, pixels, size, (time.perf_counter() - started) * 1e3)

    def _results(self, batch: Sequence[Decoded]) -> List[Result]:
        started = time.perf_counter()
        images = self._predictor.normalised(np.stack([decoded.pixels for decoded in batch]))
        called = time.perf_counter()
        logits = self._predictor.logits(images)
        engine_ms = (time.perf_counter() - called) * 1e3
        results = [self._result(decoded, row, engine_ms) for decoded, row in zip(batch, logits)]
        spent_ms = (time.perf_counter() - started) * 1e3 + sum(decoded.ms for decoded in batch)
        self._timings.append(Timing(len(batch), engine_ms, spent_ms))
        self._progress(len(batch))
        return [result for result in results if result is not None]

    def _result(self, image: Decoded, logits: np.ndarray, latency_ms: float) -> Optional[Result]:
        if not np.isfinite(logits).all():
            self._fail("{}: the engine's logits are not finite. Check it: pomt-trt verify BUNDLE.".format(image.path))
            return None
        try:
            answer = self._how.answer(image.path, image.size, logits)
        except InputError as error:
            self._fail(str(error))
            return None
        self._done += 1
        return Result(image.path, answer, latency_ms)

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
        """Prints the timings. Raises: InputError where no image was used, SomeInputsFailed where some were not."""
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
    """Throughput and latency of the engine alone, and end to end."""
    images = sum(timing.images for timing in timings)
    lines = ["{} images in batches of up to {}".format(images, max(timing.images for timing in timings))]
    both = (("engine", [t.engine_ms for t in timings]), ("end to end", [t.end_to_end_ms for t in timings]))
    for title, values in both:
        lines.append(
            "{:<10} {:8.1f} images/s   ms a batch: mean {:.2f}, p50 {:.2f}, p95 {:.2f}".format(
                title, images / sum(values) * 1e3, sum(values) / len(values), *np.percentile(values, [50, 95])
            )
        )
    return "\n".join(lines) + "\n"


def _json_writer() -> Any:
    def line(result: Result) -> str:
        return json.dumps(dict(image=result.image, **result.answer, latency_ms=result.latency_ms)) + "\n"

    return lambda results: sys.stdout.write("".join(map(line, results)))


def _table_writer(paths: Sequence[str], how: Answering) -> Any:
    width = max([5] + [min(LONGEST_COLUMN, len(_printable(path))) for path in paths] if paths else [32])
    _out("{:<{}}  {:>10}  {}\n".format("image", width, "latency_ms", how.title))

    def write(results: Sequence[Result]) -> None:
        for result in results:
            name, words = _printable(result.image), how.words(result.answer)
            _out(_printable("{:<{}}  {:>10.2f}  {}".format(name, width, result.latency_ms, words)) + "\n")

    return write


def _out(text: str) -> None:
    """Writes text; characters that the terminal's encoding lacks become escapes, so that no label is an error."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _printable(text: str) -> str:
    """The text with control characters and undecodable bytes, which a file name may hold, as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _complain(text: str) -> None:
    sys.stderr.write("pomt-trt: {}\n".format(_printable(text)))
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
