"""One module per input format: bytes of a split in, record batches of documents out."""
