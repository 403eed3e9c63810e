"""What `verify` reads anew of an output: its files, parts, packs and order, held against what the manifests say."""
