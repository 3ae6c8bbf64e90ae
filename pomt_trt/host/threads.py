"""The number of torch's CPU threads."""

import torch

from pomt_trt.core import cpus


def limit_torch() -> None:
    """Lowers torch's number of threads to what this process may use: torch does not know cgroup quotas."""
    torch.set_num_threads(min(torch.get_num_threads(), cpus.usable().threads))
