"""The pomt-trt command: flags, one call a subcommand, and what is printed.

One subcommand a stage; each imports its stage when it is called. Results go to stdout, progress and messages to stderr.
"""

import argparse
import contextlib
import json
import logging
import sys
from typing import Any, List, Optional, Sequence

from pomt_trt import __version__, options
from pomt_trt.core import describe, store
from pomt_trt.core.errors import PomtError
from pomt_trt.core.rules import RULES
from pomt_trt.core.targets import TARGETS

EXAMPLES = """examples:
  pomt-trt compile digits --work work/digits                     the bundled model, every candidate
  pomt-trt compile deit_small_patch16_224 --pretrained --data val/ --work work/deit
  pomt-trt compile vit_small_patch14_dinov2 --checkpoint dinov2_vits14.pth --head linear.pth --img-size 224 \\
      --data val/ --work work/dino --max-accuracy-drop 0.5
  python -m pomt_trt.infer work/digits/bundle-*/ picture.png     classify with the result

exit codes: 0 done, 2 usage, 3 data or model, 4 missing dependency, 5 build failed, 6 constraint unmet,
  8 wrong device or stale file, 9 corrupt file, 12 work folder, 130 interrupted
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command; returns its exit code. What a user can mend is one line on stderr."""
    logging.basicConfig(format="pomt-trt: %(message)s", level=logging.WARNING)
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
        return 0
    except PomtError as error:
        sys.stderr.write("pomt-trt: {}\n".format(error))
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\npomt-trt: interrupted; the same command goes on from here.\n")
        return 130


def parser() -> argparse.ArgumentParser:
    """All subcommands."""
    top = argparse.ArgumentParser(
        prog="pomt-trt",
        description="Compiles a vision transformer into the engine whose token count this device rewards most.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version="pomt-trt " + __version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    for name, run, groups, text in _COMMANDS:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        for group in groups:
            group(command)
        command.set_defaults(run=run)
    return top


def _model_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a timm name, local-dir:PATH, or digits (bundled)")
    group = command.add_argument_group("model")
    group.add_argument("--checkpoint", metavar="FILE", help="weights: .safetensors, or .pth without code in it")
    group.add_argument("--pretrained", action="store_true", help="timm's own weights, from its hub")
    group.add_argument("--head", metavar="FILE", help="DINOv2's official linear head")
    group.add_argument("--img-size", type=int, metavar="PX", help="another square image size than the model's own")
    group.add_argument("--labels", metavar="FILE", help="names of the classes, one a line")


def _experiment_flags(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("what is compared")
    group.add_argument("--method", default="pomt", metavar="M", help="pomt, topk, random or none (default: pomt)")
    group.add_argument("--layer", type=int, metavar="L", help="block in which tokens are removed (default: pomt 3)")
    group.add_argument("--batch-size", type=int, default=1, metavar="B", help="images in one call (default: 1)")
    group.add_argument("--data", metavar="DIR", help="images: class folders, a flat folder with a CSV, or unlabelled")
    group.add_argument("--samples", type=int, default=1000, metavar="N", help="images at most (default: 1000)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")
    group.add_argument("--target", default="onnxruntime", metavar="T", help="who reads the graphs: " + ", ".join(TARGETS))


def _tokens_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tokens",
        metavar="START:STOP:STEP",
        help="token counts to try, such as 196:96:4 (default: every count down to a quarter; R = 0 always)",
    )


def _work_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--work", required=True, metavar="DIR", help="folder for everything; a rerun goes on from it")


def _work_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("work", metavar="WORK", help="folder that export or compile made")


def _engine_flags(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("engine and timing")
    group.add_argument("--engine", default="auto", choices=["auto", "onnxruntime"], help="default: what is here")
    group.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: one a core)")
    group.add_argument("--waiting", default="default", choices=["default", "passive"], help="passive: idle threads sleep")
    group.add_argument("--max-seconds", type=float, default=3.0, metavar="S", help="timing of one candidate (default: 3)")


def _only_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--only", metavar="IDS", help="candidates such as r056,r098; R = 0 is always added")


def _choice_flags(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("choice")
    group.add_argument("--rule", default="step", choices=list(RULES), help="how the winner is chosen (default: step)")
    group.add_argument("--alpha", type=float, default=0.5, metavar="A", help="utility's weight of latency (default: 0.5)")
    group.add_argument("--max-accuracy-drop", type=float, default=1.0, metavar="PT", help="points (default: 1)")
    group.add_argument("--max-latency", type=float, metavar="MS", help="milliseconds (default: any)")
    group.add_argument("--min-gain", type=float, default=5.0, metavar="PCT", help="least gain of a step (default: 5 %%)")


def _keep_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--keep-engines", action="store_true", help="keep the files of engines that no rule names")


def _json_flag(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _bundle_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument("bundle", metavar="BUNDLE", help="folder that compile or bundle made")


def _evaluate_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA", help="images: class folders, a flat folder with a CSV, or unlabelled")
    command.add_argument("--samples", type=int, default=1000, metavar="N", help="images at most (default: 1000)")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of their draw (default: 0)")
    command.add_argument("--threads", type=int, metavar="N", help="of the CPU (default: as built)")


def _options(arguments: argparse.Namespace) -> options.Options:
    """The Options of a command that names a model; flags that it lacks keep their defaults."""
    flags = dict(vars(arguments))
    for name in ("run", "command", "json", "only"):
        flags.pop(name, None)
    return options.make(flags.pop("model"), flags.pop("work"), **flags)


def _print(value: Any, text: str, as_json: bool) -> None:
    print(json.dumps(store.to_json(value), indent=1) if as_json else text)


def _compile(arguments: argparse.Namespace) -> None:
    from pomt_trt import pipeline

    chosen = pipeline.compile_all(_options(arguments))
    _print(chosen, describe.selection(chosen), arguments.json)
    sys.stderr.write("bundle: {}\n".format(pipeline.WorkFolder(arguments.work).bundle(chosen.device_id)))


def _export(arguments: argparse.Namespace) -> None:
    from pomt_trt import stages

    family = stages.export(_options(arguments))
    _print(family, "{} graphs of form {} for {}".format(len(family.candidates), family.form, family.target), arguments.json)


def _accuracy(arguments: argparse.Namespace) -> None:
    from pomt_trt import stages

    found = stages.accuracy(arguments.work, arguments.tokens)
    lines = ["{} {:.4f} ({} on {} images)".format(a.candidate_id, a.accuracy, a.kind, a.samples) for a in found]
    _print({a.candidate_id: a for a in found}, "\n".join(lines), arguments.json)


def _build(arguments: argparse.Namespace) -> None:
    _build_or_profile(arguments, timed=False)


def _profile(arguments: argparse.Namespace) -> None:
    _build_or_profile(arguments, timed=True)


def _build_or_profile(arguments: argparse.Namespace, timed: bool) -> None:
    from pomt_trt import stages

    only = arguments.only.split(",") if arguments.only else None
    found = stages.profile(arguments.work, _settings(arguments), arguments.tokens, only, timed)
    _print(found, describe.rows(found), arguments.json)


def _select(arguments: argparse.Namespace) -> None:
    from pomt_trt import stages

    chosen = stages.select(arguments.work, _settings(arguments), _choice(arguments), arguments.tokens)
    _print(chosen, describe.selection(chosen), arguments.json)


def _bundle(arguments: argparse.Namespace) -> None:
    from pomt_trt import stages

    print(stages.bundle(arguments.work, _settings(arguments)))


def _report(arguments: argparse.Namespace) -> None:
    from pomt_trt import stages

    print("\n".join(stages.report(arguments.work)))


def _settings(arguments: argparse.Namespace) -> options.Settings:
    return options.settings(arguments.threads, arguments.waiting, arguments.max_seconds)


def _choice(arguments: argparse.Namespace) -> options.Choice:
    return options.choice(
        arguments.rule, arguments.alpha, arguments.max_accuracy_drop, arguments.max_latency, arguments.min_gain
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from pomt_trt.core.progress import Progress
    from pomt_trt.device.evaluate import evaluate

    with contextlib.ExitStack() as stack:
        bars = []  # type: List[Progress]

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(Progress("evaluate", total)))
            bars[0].at(done)

        a = arguments
        found = evaluate(a.bundle, a.data, a.samples, a.seed, threads=a.threads, progress=progress)
    _print(found, describe.evaluation(found.engine, found.unreduced, found.host, found.host_expected), arguments.json)


def _bench(arguments: argparse.Namespace) -> None:
    from pomt_trt.device import bench

    found = bench.run(arguments)
    _print(found, bench.table(found), arguments.json)


def _doctor(arguments: argparse.Namespace) -> None:
    from pomt_trt.device import doctor

    findings = doctor.examine()
    _print({finding.name: finding for finding in findings}, doctor.table(findings), arguments.json)
    doctor.check(findings)


def _bench_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--against", default="eager", metavar="LIST", help="baselines (default: eager)")
    command.add_argument("--threads", default="1,2", metavar="LIST", help="CPU threads to compare with (default: 1,2)")
    command.add_argument("--waiting", default="default,passive", metavar="LIST", help="default, passive or both")
    command.add_argument("--max-seconds", type=float, default=15.0, metavar="S", help="for each engine and setting")


_STAGE = [_work_argument, _tokens_flag, _engine_flags, _json_flag]
_COMMANDS: Any = [
    (
        "compile",
        _compile,
        [_model_flags, _work_flag, _experiment_flags, _tokens_flag, _engine_flags, _choice_flags, _keep_flag, _json_flag],
        "model -> graphs, accuracies, engines, latencies, choice and bundle, on one machine",
    ),
    ("export", _export, [_model_flags, _work_flag, _experiment_flags, _tokens_flag, _json_flag], "model -> one graph a candidate"),
    ("accuracy", _accuracy, [_work_argument, _tokens_flag, _json_flag], "graphs -> accuracy of each candidate (workstation)"),
    ("build", _build, _STAGE + [_only_flag], "graphs -> engines, without timing them"),
    ("profile", _profile, _STAGE + [_only_flag], "graphs -> engines and their latencies"),
    ("select", _select, _STAGE + [_choice_flags], "latencies and accuracies -> the choice, by any rule"),
    ("bundle", _bundle, [_work_argument, _engine_flags], "the choice -> a deployment folder"),
    ("report", _report, [_work_argument], "selections -> figures"),
    ("bench", _bench, [_bundle_argument, _bench_flags, _json_flag], "engine, unreduced engine and PyTorch eager, interleaved in one run"),
    ("evaluate", _evaluate, [_bundle_argument, _evaluate_flags, _json_flag], "accuracy of a bundle's engine itself on a folder of images"),
    ("doctor", _doctor, [_json_flag], "what this machine is and what is missing, with the line that mends it"),
]
