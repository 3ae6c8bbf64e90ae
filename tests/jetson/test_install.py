"""What install would do on each JetPack, and what the package's extra asks for on which machine."""

import configparser
import re
import shlex

import pytest

from tests.jetson.conftest import REPOSITORY, SCRIPTS

markers = pytest.importorskip("packaging.markers")


def commands(board, tree, *arguments):
    """What a dry run prints, the environment's folder shortened."""
    done = board(tree).run("install", "--dry-run", "--venv", "/venv", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("+ ") for line in lines)
    pip = "/venv/bin/python -m pip --disable-pip-version-check install"
    return [line[2:].replace(pip, "pip").replace(str(REPOSITORY), "CHECKOUT") for line in lines]


@pytest.mark.parametrize(
    "tree, pip",
    [
        (
            "tx2-jetpack-4.6.6",
            [
                "pip pip==21.3.1",
                "pip setuptools==59.6.0 wheel==0.37.1",
                "pip numpy==1.19.4",
                "pip --no-build-isolation pycuda==2022.1",
            ],
        ),
        ("agx-xavier-jetpack-5.1.2", ["pip --upgrade pip", r"pip numpy\<1.24 pycuda"]),
        ("agx-orin-jetpack-6.2", ["pip --upgrade pip", "pip pycuda"]),
        ("orin-nano-jetpack-6.2", ["pip --upgrade pip", "pip pycuda"]),  # known by dpkg alone
        ("agx-thor-jetpack-7.2", ["pip --upgrade pip", "pip pycuda"]),
    ],
)
def test_each_jetpack_gets_what_it_needs(board, tree, pip):
    printed = commands(board, tree)
    assert [line for line in printed if line.startswith("pip")] == [*pip, r"pip --editable CHECKOUT\[tensorrt\]"]
    assert printed[-1] == "/venv/bin/pomt-trt doctor"


def test_jetpacks_own_tensorrt_is_seen_and_no_other_installed(board):
    printed = commands(board, "agx-orin-jetpack-6.2")
    assert "/usr/bin/python3 -m venv --system-site-packages /venv" in printed
    assert "sudo apt-get install --yes nvidia-jetpack" in printed
    assert not [line for line in printed if line.startswith("pip") and "tensorrt" in line.replace(r"\[tensorrt\]", "")]


DPKG = """#!/bin/sh
case "$*" in *python3-libnvinfer) [ -n "$HAS_TENSORRT" ] && echo installed || exit 1 ;; *) exit 1 ;; esac
"""


@pytest.mark.parametrize("has, installed", [("yes", False), ("", True)])
def test_an_image_that_holds_tensorrt_gets_no_second_one_though_it_cannot_be_loaded(board, has, installed):
    """While an image is built, importing it fails for want of NVIDIA's libraries; dpkg knows all the same."""
    machine = board(None)
    machine.program("dpkg-query", DPKG)
    machine.environment["HAS_TENSORRT"] = has
    printed = machine.run("install", "--dry-run", "--jetpack", "6").stdout
    assert ("apt-get install --yes nvidia-jetpack" in printed) == installed
    assert "apt-get install --yes python3-venv" in printed


def test_pycuda_is_compiled_with_cudas_compiler_on_the_path(board):
    printed = commands(board, "tx2-jetpack-4.6.6")
    exported = printed.index("export CUDA_ROOT=/usr/local/cuda PATH=/usr/local/cuda/bin:$PATH")
    assert exported < [number for number, line in enumerate(printed) if "pycuda" in line][0]


def test_every_python_of_a_jetpack_4_is_told_its_cores(board):
    line = next(line for line in commands(board, "tx2-jetpack-4.6.6") if "OPENBLAS" in line)
    assert line.endswith(" > /venv/lib/python3.6/site-packages/openblas_coretype.pth")
    assert not [line for line in commands(board, "agx-orin-jetpack-6.2") if "OPENBLAS" in line]


def test_in_a_container_the_jetpack_is_given(board):
    assert "pip numpy==1.19.4" in commands(board, None, "--jetpack", "4")
    assert "pip pycuda" in commands(board, None, "--jetpack", "7")


@pytest.mark.parametrize(
    "release, code, text",
    [
        (None, 8, "no Jetson"),
        ("# R32 (release), REVISION: 6.1, GCID: 1", 8, "L4T 32.6.1 has TensorRT 8.0 or older"),
        ("# R28 (release), REVISION: 2.1, GCID: 1", 8, "L4T 28.2.1 is not known"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(board, release, code, text):
    machine = board(None)
    if release:
        (machine.root / "etc").mkdir()
        (machine.root / "etc" / "nv_tegra_release").write_text(release + "\n")
    done = machine.run("install", "--dry-run")
    assert done.returncode == code and text in done.stderr and done.stdout == ""
    assert "--jetpack" in done.stderr or "Flash JetPack 4.6.1" in done.stderr


@pytest.mark.parametrize("arguments", [["--jetpack", "3"], ["--jetpack"], ["--fast"]])
def test_usage_errors_are_said(board, arguments):
    assert board().run("install", *arguments, "--dry-run").returncode == 2


def test_a_dry_run_changes_nothing(board, tmp_path):
    machine = board("tx2-jetpack-4.6.6")
    machine.run("install", "--dry-run", "--venv", tmp_path / "venv")
    assert machine.log == [] and not (tmp_path / "venv").exists()


def wanted(python, machine):
    """Names that the extra `tensorrt` brings on a machine."""
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    names = []
    for line in config["options.extras_require"]["tensorrt"].strip().splitlines():
        requirement, _, marker = line.partition(";")
        if not marker or markers.Marker(marker).evaluate({"python_version": python, "platform_machine": machine}):
            names.append(requirement.strip())
    return names


@pytest.mark.parametrize(
    "python, machine, names",
    [
        ("3.6", "aarch64", ["pycuda"]),
        ("3.8", "aarch64", ["pycuda", "polygraphy"]),
        ("3.12", "aarch64", ["pycuda", "polygraphy"]),
        ("3.11", "x86_64", ["pycuda", "polygraphy", "tensorrt"]),
    ],
)
def test_the_extra_brings_tensorrt_to_x86_only(python, machine, names):
    assert wanted(python, machine) == names


def test_the_container_is_made_by_the_same_script():
    text = (SCRIPTS / "Dockerfile").read_text().replace("\\\n", " ")
    told = [line.split(maxsplit=1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    run = next(rest for instruction, rest in told if instruction == "RUN")
    assert run.split()[:3] == ["/opt/pomt-trt/jetson/install", "--jetpack", '"${JETPACK}"']
    assert ["ENV", "LANG=C.UTF-8 PYTHONUTF8=1"] in told  # as the service's
    assert ["ARG", "BASE=nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel"] in told


DOCKER = [line for line in (SCRIPTS / "README.md").read_text().splitlines() if "docker" in line and "--" in line]


def test_images_are_built_where_the_default_runtime_counts():
    """BuildKit ignores it, and without it NVIDIA's libraries are not there."""
    (build,) = [shlex.split(line) for line in DOCKER if " build " in line and not line.startswith("|")]
    assert build[:3] == ["DOCKER_BUILDKIT=0", "docker", "build"]
    assert '"default-runtime": "nvidia"' in (SCRIPTS / "README.md").read_text()


@pytest.mark.parametrize("source", ["README.md", "Dockerfile"])
def test_a_container_is_given_the_boards_release_read_only(source):
    (run,) = re.findall(r"^(?:#\s*)?(docker run .*)$", (SCRIPTS / source).read_text(), flags=re.M)
    words = shlex.split(run)
    assert "/etc/nv_tegra_release:/etc/nv_tegra_release:ro" in [
        words[number + 1] for number, word in enumerate(words) if word == "--volume"
    ]
