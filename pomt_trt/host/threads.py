"""Torch's CPU threads on the workstation, within what this process may use."""

import torch

from pomt_trt.core import cpus


def limit_torch() -> None:
    """Lowers torch's number of threads where it is more than this process may use: torch knows no cgroup quota."""
    torch.set_num_threads(min(torch.get_num_threads(), cpus.usable().threads))
