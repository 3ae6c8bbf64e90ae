"""A tiny model in timm's own format, compiled once for all tests, and the command in this process or one of its own."""

import contextlib
import glob
import io
import json
import os
import shutil
import signal
import subprocess
import sys

from tests.shared import once

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOKENS = ["--tokens", "16:8:4"]  # of 17: 16 patches and the class token
TIMING = ["--threads", "1", "--max-seconds", "0.02"]
CANDIDATES = ["r000", "r001", "r005", "r009"]
SHAPE = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 3, "depth": 4, "num_classes": 5}


def source():
    """Folder with model/ (timm's format) and data/ (five class folders of two pictures)."""
    return once("source", _write_source)


def _write_source(folder):
    write_model(os.path.join(folder, "model"))
    write_pictures(os.path.join(folder, "data"))


def master():
    """A compiled work folder; copy it before use."""
    return once("compiled", _compile)


def _compile(work):
    code, _, err = called(*compile_command(work))
    assert code == 0, err


def copied(folder):
    """A copy of the compiled work folder; no file in it is linked to another."""
    work = os.path.join(str(folder), "work")
    shutil.copytree(master(), work)
    return work


def write_model(folder, classes=5, seed=0, **more):
    """A random but spread-out ViT in timm's local-dir format.

    Args:
        more: further arguments of the model.
    """
    import timm
    import torch
    from safetensors.torch import save_file

    os.makedirs(folder)
    arguments = dict(SHAPE, num_classes=classes, **more)
    torch.manual_seed(seed)
    model = timm.create_model("vit_tiny_patch16_224", **arguments)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    save_file(model.state_dict(), os.path.join(folder, "model.safetensors"))
    look = {"input_size": [3, 16, 16], "fixed_input_size": True, "crop_pct": 1.0, "num_classes": classes}
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": classes, "model_args": arguments}
    config["pretrained_cfg"] = look
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)


def write_pictures(folder, classes=5, each=2):
    """Class folders of noise."""
    import numpy as np
    from PIL import Image

    generator = np.random.RandomState(0)
    for label in range(classes):
        os.makedirs(os.path.join(folder, str(label)))
        for number in range(each):
            pixels = generator.randint(256, size=(20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(os.path.join(folder, str(label), "{}.png".format(number)))


def write_label_maps(folder, classes, count=6):
    """images/ of noise in sizes of their own, and labels/ of classes at random, the first two rows being ignored."""
    import numpy as np
    from PIL import Image

    random = np.random.RandomState(0)
    for kind in ("images", "labels"):
        os.makedirs(os.path.join(folder, kind))
    for number in range(count):
        height, width = 16 + 3 * number, 28 - 2 * number
        pixels = random.randint(256, size=(height, width, 3)).astype(np.uint8)
        labels = random.randint(classes, size=(height, width)).astype(np.uint8)
        labels[:2] = 255
        Image.fromarray(pixels).save(os.path.join(folder, "images", "{}.png".format(number)))
        Image.fromarray(labels).save(os.path.join(folder, "labels", "{}.png".format(number)))


def experiment():
    """Arguments that name the tiny model and its data."""
    return ["local-dir:" + os.path.join(source(), "model"), "--data", os.path.join(source(), "data"), "--layer", "1"]


def compile_command(work, *more):
    """Arguments of a compile of the tiny model."""
    arguments = ["compile"] + experiment() + TOKENS + TIMING + ["--search", "exhaustive", "--work", str(work)]
    return arguments + list(more)


def start(*arguments, module="pomt_trt", warnings="error::UserWarning", **options):
    """The command as a process of its own, in a session of its own, so that it can be killed with its children."""
    command = [sys.executable, "-W", warnings, "-m", module, *[str(a) for a in arguments]]
    environment = dict(os.environ, PYTHONPATH=ROOT, OMP_NUM_THREADS="1", **options.pop("env", {}))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)


def run(*arguments, **options):
    """(exit code, stdout, stderr) of a process; never a traceback."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=300)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


def kill(process):
    """SIGKILL for a process and all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def call(capsys, *arguments):
    """(exit code, stdout, stderr) of the command in this process."""
    from pomt_trt import cli

    capsys.readouterr()
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse
        code = ended.code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def called(*arguments):
    """As `call`, for fixtures that outlive a test."""
    from pomt_trt import cli

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def files(work):
    """path -> (mtime in ns, size) of every file in a work folder but the lock."""
    found = {}
    for folder, _, names in os.walk(str(work)):
        for name in names:
            path = os.path.join(folder, name)
            status = os.stat(path)
            found[os.path.relpath(path, str(work))] = (status.st_mtime_ns, status.st_size)
    found.pop(".lock", None)
    return found


def leftovers(work):
    """Unfinished files and folders."""
    return [name for folder, folders, names in os.walk(str(work)) for name in folders + names if ".part-" in name]


def check_sound(work, expected=CANDIDATES):
    """Every record can be read and describes the file beside it; the bundle opens; nothing unfinished is left."""
    from pomt_trt.core.records import AccuracyEstimate, Engine, LatencyProfile
    from pomt_trt.core.storage import experiment, store
    from pomt_trt.core.storage.bundle import open_bundle
    from pomt_trt.core.storage.workfolder import WorkFolder

    folder = WorkFolder(str(work))
    family = experiment.whole_family(folder, "op17-fp32", (experiment.experiment_of(folder).model.tokens,))
    assert [candidate.id for candidate in family.candidates] == expected
    assert all(experiment.accuracy_of(folder, family, candidate.id) for candidate in family.candidates)
    for kind, place in ((Engine, "engines/*"), (LatencyProfile, "latency/*"), (AccuracyEstimate, "accuracy")):
        for path in glob.glob(os.path.join(str(work), place, "*.json")):
            record = store.read_record(path, kind).record
            engine = os.path.join(os.path.dirname(path), getattr(record, "file", ""))
            if kind is Engine and os.path.exists(engine):
                assert store.sha256_of(engine) == record.sha256
    open_bundle(one(work, "bundle-"))
    assert not leftovers(work)


def one(work, start, end=""):
    """The one path directly in a work folder whose name starts and ends so."""
    names = [name for name in os.listdir(str(work)) if name.startswith(start) and name.endswith(end)]
    assert len(names) == 1, names
    return os.path.join(str(work), names[0])
