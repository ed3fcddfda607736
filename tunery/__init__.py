"""Tunery: make, sell and run fine-tuned adapters of open language models."""

__version__ = "0.1.0"
