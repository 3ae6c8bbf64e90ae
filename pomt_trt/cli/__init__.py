"""The pomt-trt command: command_line its subcommands, commands what each one calls, tables what is printed."""

from pomt_trt.cli.command_line import main, parser

__all__ = ["main", "parser"]
