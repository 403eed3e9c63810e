"""What a model is measured by, and the decoding that it takes."""
