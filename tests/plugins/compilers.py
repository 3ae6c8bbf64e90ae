"""Builds parts of plugins/ with the machine's own compilers, once a test run; says which there are.

Warnings are errors, and the language is C++14, as the oldest board's compiler has it.
"""

import os
import shutil
import subprocess

import pytest

from tests.shared import once

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
PLUGINS = os.path.join(ROOT, "plugins")
STRICT = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-pthread"]
SANITIZED = ["-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]

needs_gxx = pytest.mark.skipif(
    shutil.which("g++") is None, reason="g++ is not here, which builds the kernels for tests"
)


def built(name, *arguments):
    """The path of `name`, made by g++ from tests/plugins and plugins/."""
    return once(name, lambda path: command(["g++", *STRICT, *arguments, "-o", path]))


def host_kernels(kind="plain"):
    """The kernels' bodies as a library for a processor: plain, or asan (which also finds undefined behaviour)."""
    flags = {"plain": ["-O2"], "asan": [*SANITIZED, "-fsanitize=address,undefined"]}[kind]
    source = os.path.join(HERE, "host_kernels.cpp")
    return built(f"kernels-{kind}.so", *flags, "-shared", "-fPIC", source)


def command(words, **options):
    """Runs a command; its output. A failure shows what it said."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, **options)
    assert done.returncode == 0, "{}\n{}".format(" ".join(words), done.stdout)
    return done.stdout
