"""The whole road in one command, on text that every machine has."""
