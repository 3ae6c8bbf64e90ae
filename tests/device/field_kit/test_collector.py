"""A run of the field kit whose steps fail, hang, are killed or find no time: each costs itself, and is told."""

import json
import os
import signal
import sys

import pytest

from pomt_trt.core.field_kit import archive_file, judgement, records
from pomt_trt.core.field_kit.records import DONE, FAILED, SKIPPED, BuildResult, Kit
from pomt_trt.core.progress import Silent
from pomt_trt.core.storage import store
from pomt_trt.device.field_kit import main, tasks, watch
from pomt_trt.device.field_kit.collector import Collector, Plan
from pomt_trt.device.field_kit.interrupts import OneInterrupt
from pomt_trt.device.field_kit.tasks import Task
from tests import field as made
from tests.device.boards import copied, tree

ORIN = "agx-orin-jetpack-6.2"
KIT = Kit("jetpack-6.2", ("digits",))


def step(kind, about, program, needs=""):
    """A step that is a program of Python."""
    model = tasks.tasks(KIT, "kit", "/", "jetson", 0.1)
    result = next(task.result for task in model if task.kind == kind)
    return Task(kind, about, [sys.executable, "-c", program], result, needs)


def prints(value):
    return "print({!r})".format(json.dumps(store.to_json(value)))


DOCTOR = step(records.DOCTOR, "", prints(made.collected().findings))
BUILD = step(records.BUILD, "digits fp16", prints(BuildResult(made.DEVICE, made.collected().built[:2], {})))
TIME = step(records.TIME, "digits fp16", prints(made.collected().timed[:6]), BUILD.name)
RATIO = "tensorrt-x r000: pomt-trt 1.0 ms, trtexec 0.5 ms, ratio 2.000 (beyond 5 %)"
TRTEXEC = step(records.TRTEXEC, "digits", "import sys; print({!r}); sys.exit(7)".format(RATIO))


def collected(tasks, root="/nowhere", clock=None, folder="kit", minutes=20.0):
    """(what a run found, its archive)."""
    plan = Plan(KIT, folder, list(tasks), minutes, None, root)
    collector = Collector(plan, Silent(), **({} if clock is None else {"clock": clock}))
    with OneInterrupt() as interrupt:
        found = collector.collect(interrupt)
    return found, collector.archive()


def states(found):
    return {one.name: one.status for one in found.steps}


def test_what_all_steps_found_is_kept():
    found, archive = collected([DOCTOR, BUILD, TIME, TRTEXEC], tree(ORIN))
    assert set(states(found).values()) == {DONE, SKIPPED} and states(found)["clocks"] == SKIPPED
    whole = made.collected()
    assert (found.findings, found.device, found.built) == (whole.findings, whole.device, whole.built[:2])
    assert found.timed == whole.timed[:6] and found.ratios == (records.Ratio("digits", "tensorrt-x", 1.0, 0.5),)
    assert set(found.moments) == {"before", "locked", "after"} and found.watched.clocks_mhz["gpu"] == (306.0, 306.0)
    assert "AGX Orin" in found.machine and "L4T 36.4.3, JetPack 6.2, power mode MAXN" in found.machine
    assert archive.collected == found and "logs/build-digits-fp16.txt" in archive.files


@pytest.mark.parametrize(
    "program, reason",
    [
        ("raise SystemError('of a driver')", "SystemError: of a driver"),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9"),
        ("import sys; sys.exit('pomt-trt: out of memory')", "out of memory"),
        ("print('no JSON')", "Expecting value"),
        ("print('{\"device\": 1}')", "BuildResult has no built, layer_files"),
        ("pass", "Expecting value"),
    ],
)
def test_a_step_that_fails_costs_itself_and_what_needs_it(program, reason):
    found, archive = collected([DOCTOR, step(records.BUILD, "digits fp16", program), TIME, TRTEXEC])
    told = {one.name: one for one in found.steps}
    assert told["build digits fp16"].status == FAILED and reason in told["build digits fp16"].error
    assert told["time digits fp16"].error == "'build digits fp16' was not done"
    assert told["trtexec digits"].status == DONE
    report = judgement.judge(archive.collected)
    assert [line for line in report.lines if line.what == "digits fp16 is built" and reason in line.found]


def test_a_program_that_is_not_there_fails_its_step_only():
    found, _ = collected([DOCTOR, BUILD._replace(command=["/nowhere/python"]), TRTEXEC])
    assert states(found)["build digits fp16"] == FAILED and states(found)["trtexec digits"] == DONE


def test_sensors_that_cannot_be_read_fail_their_step_only(monkeypatch):
    def fails(root):
        raise ZeroDivisionError("a strange board")

    monkeypatch.setattr(watch.sensors, "read", fails)
    found, _ = collected([DOCTOR, BUILD])
    assert found.moments == {} and states(found)["sensors before"] == FAILED
    assert states(found)["build digits fp16"] == DONE


def test_a_step_that_hangs_is_ended_when_the_time_is_over(monkeypatch):
    monkeypatch.setitem(tasks.LEAST_S, records.BUILD, 0.1)
    hangs = step(records.BUILD, "digits fp16", "import time; time.sleep(60)")
    found, _ = collected([DOCTOR, hangs, TRTEXEC], minutes=(20 + 1.5) / 60)
    told = {one.name: one for one in found.steps}
    assert told["build digits fp16"].status == FAILED and "minutes were over" in told["build digits fp16"].error
    assert told["trtexec digits"].status == SKIPPED and "it takes 30 s at least" in told["trtexec digits"].error
    assert "after" in found.moments


def test_steps_for_which_the_time_is_too_short_are_skipped_and_said_so():
    found, archive = collected([DOCTOR, BUILD], minutes=0.5)
    told = {one.name: one for one in found.steps}
    assert told["doctor"].status == DONE and told["build digits fp16"].status == SKIPPED
    assert "of 0.5 minutes are left, and it takes 20 s at least" in told["build digits fp16"].error
    assert "skipped: " in judgement.text(judgement.judge(archive.collected))


def test_ctrl_c_ends_the_steps_and_keeps_what_there_is(children):
    program = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    found, archive = collected([DOCTOR, step(records.BUILD, "digits fp16", program), TIME, TRTEXEC], tree(ORIN))
    told = {one.name: one for one in found.steps}
    assert found.interrupted and found.findings and "after" in found.moments and not children()
    assert (told["build digits fp16"].status, told["build digits fp16"].error) == (FAILED, "interrupted")
    assert told["trtexec digits"] == records.KitStep(records.TRTEXEC, "digits", SKIPPED, 0.0, "interrupted")
    assert archive.collected == found


def test_a_terminal_that_is_gone_costs_nothing():
    class Gone(Silent):
        def message(self, text):
            raise OSError("Input/output error")

    with OneInterrupt() as interrupt:
        found = Collector(Plan(KIT, "kit", [DOCTOR], 20.0, None, "/nowhere"), Gone()).collect(interrupt)
    assert states(found)["doctor"] == DONE


def test_layers_are_kept_where_they_are_json(tmp_path):
    (tmp_path / "good.json").write_text('{"Layers": [{"Name": "conv"}]}')
    (tmp_path / "bad.json").write_text("{")
    files = {"digits-fp16-r000": str(tmp_path / "good.json"), "digits-fp16-r053": str(tmp_path / "bad.json")}
    files["gone"] = str(tmp_path / "gone.json")
    result = prints(BuildResult(made.DEVICE, made.collected().built[:2], files))
    _, archive = collected([DOCTOR, step(records.BUILD, "digits fp16", result)])
    layers = {name: data for name, data in archive.files.items() if name.startswith("layers/")}
    assert layers == {"layers/digits-fp16-r000.json": b'{"Layers": [{"Name": "conv"}]}'}


PERSONAL = ["lovelace", "difference-engine", "192.168.55.7", "fe80::4ab0:2dff:fe0a:1b2c", "48:b0:2d:0a:1b:2c"]
PERSONAL += ["48b02d0a1b2c", "1421819012345", "PF3XQ77B", "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"]
PERSONAL += ["0123456789abcdef0123456789abcdef", "ada@engine.example.org"]
FILES = {
    "etc/hostname": "difference-engine\n",
    "etc/passwd": "alovelace:x:1000:1000:Ada Lovelace,,,:/home/alovelace:/bin/bash\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "proc/device-tree/serial-number": "1421819012345\0",
    "sys/class/net/eth0/address": "48:b0:2d:0a:1b:2c\n",
    "sys/class/dmi/id/board_serial": "PF3XQ77B\n",
}


def test_nothing_personal_reaches_the_archive_from_any_source(tmp_path, monkeypatch):
    """It is planted in the board's files, its sensors, its variables, paths, results, logs, errors and layers."""
    planted = " ".join(PERSONAL) + " ALovelace /home/alovelace/secret-client/kit ~alovelace/secret-client"
    labels = {"sys/class/thermal/thermal_zone0/type": "of-difference-engine", "proc/device-tree/model": planted}
    root = copied(tmp_path / "home" / "alovelace", ORIN, dict(FILES, **labels))
    for name, value in (("USER", "alovelace"), ("HOME", "/home/alovelace"), ("SSH_CLIENT", "192.168.55.7 50000 22")):
        monkeypatch.setenv(name, value)
    folder = str(tmp_path / "secret-client" / "kit")
    os.makedirs(folder)
    layers = os.path.join(folder, "layers.json")
    with open(layers, "w") as file:
        json.dump({"Layers": [{"Name": planted, planted: folder}]}, file)
    whole = made.collected()
    engine = whole.built[0].engine._replace(details={"log": planted, planted: [planted]})
    result = BuildResult(made.DEVICE._replace(processor=planted), (whole.built[0]._replace(engine=engine),),
                         {"digits " + planted[:20]: layers})  # fmt: skip
    says = "import sys; sys.stderr.write({!r}); ".format(planted)
    tasks = [
        step(records.DOCTOR, "", says + prints([one._replace(value=planted, remedy=folder) for one in whole.findings])),
        step(records.BUILD, "digits fp16", says + prints(result)),
        step(records.TIME, "digits fp16", says + "sys.exit(1)"),
        step(records.TRTEXEC, "digits", says + prints({})),
    ]
    _, archive = collected(tasks, root, folder=folder)
    path = str(tmp_path / "run.tar.gz")
    archive_file.write(path, archive)
    read = archive_file.read(path)
    text = json.dumps(store.to_json(read.collected), ensure_ascii=False) + "".join(read.files)
    text += b"".join(read.files.values()).decode("utf-8") + json.dumps(store.to_json(read.collected))
    with open(path, "rb") as file:
        text += file.read().decode("latin-1")
    words = PERSONAL + ["/home/", "secret-client", str(tmp_path)]
    assert [word for word in words if word.lower() in text.lower()] == []
    assert text.count("[name]") > 10 and text.count("[serial]") > 10 and "36.4.3" in text and "8.2.1.8" in text


@pytest.fixture
def kit(tmp_path):
    os.makedirs(str(tmp_path / "kit" / "digits"))
    store.write_record(str(tmp_path / "kit" / "kit.json"), KIT)
    return str(tmp_path / "kit")


def command(capsys, *arguments):
    code = main.main([str(argument) for argument in arguments])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return code, said


def test_a_folder_that_is_no_kit_is_refused_before_anything_is_done(kit, tmp_path, capsys):
    code, said = command(capsys, tmp_path)
    assert code == 3 and "is no kit: it has no kit.json" in said and "pomt-trt field-kit --target" in said
    for name in ("../kit", "..", "gone", "/etc"):
        store.write_record(os.path.join(kit, "kit.json"), KIT._replace(models=(name,)))
        code, said = command(capsys, kit)
        assert code == 9 and "which is no folder beside it" in said
    assert sorted(os.listdir(str(tmp_path))) == ["kit"]


def test_impossible_flags_and_places_are_refused_before_anything_is_done(kit, tmp_path, capsys):
    assert command(capsys, kit, "--minutes", "0")[0] == 2
    (tmp_path / "file").write_text("")
    code, said = command(capsys, kit, "--out", tmp_path / "file" / "run.tar.gz")
    assert code == 12 and "cannot write" in said


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_the_command_writes_one_archive_and_nothing_else(kit, tmp_path, capsys, monkeypatch, number):
    stops = "import os; os.kill(os.getppid(), {}); import time; time.sleep(60)".format(int(number or 0))
    second = BUILD if number is None else step(records.BUILD, "digits fp16", stops)
    monkeypatch.setattr(main, "tasks", lambda *arguments: [DOCTOR, second])
    out = tmp_path / "run.tar.gz"
    code, said = command(capsys, kit, "--out", out, "--no-clocks")
    assert code == (0 if number is None else 130) and "pomt-trt field-report run.tar.gz" in said
    assert archive_file.read(str(out)).collected.interrupted == (number is not None)
    assert sorted(os.listdir(str(tmp_path))) == ["kit", "run.tar.gz"]
