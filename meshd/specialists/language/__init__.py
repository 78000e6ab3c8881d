"""The language specialist: what a text says about itself. Needs the extra `language`; nothing is downloaded."""

from meshd.specialists.language.analysis import Analysis, analyze

__all__ = ["Analysis", "analyze"]
