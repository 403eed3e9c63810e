"""Models in other people's layout: transformers folders, read and written tensor by tensor."""
