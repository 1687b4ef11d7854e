"""Recollect: self-hosted photo search by words, by another picture, or by voice."""

__version__ = "0.1.0"
