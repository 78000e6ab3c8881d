"""`mesh demo`: the mesh at work on real files, with a node killed half-way."""

from meshd_cli.demo.command import register

__all__ = ["register"]
