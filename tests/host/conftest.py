"""The workstation's tests need torch; on one thread, so that two cores can be shared and sums are repeatable.

What is traced for ONNX in one test is not traced again in another.
"""

try:
    import torch
except ImportError:
    torch = None
else:
    torch.set_num_threads(1)
    from tests.host import remembered

    remembered.install()


def pytest_ignore_collect(collection_path):
    """Leaves the whole folder out where torch is absent."""
    return True if torch is None else None


def pytest_terminal_summary(terminalreporter):
    """Says why it was left out."""
    if torch is None:
        terminalreporter.write_line(
            "tests/host was left out: torch is not installed here (pip install 'pomt-trt[host]')"
        )
