"""What is trained on and in what order: tokenizers, shards, packs, order, generated tasks."""
