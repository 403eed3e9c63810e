"""midtrain: from raw web text and chain-of-thought corpora to a midtrained mixture-of-experts model."""

__version__ = "0.1.0"
