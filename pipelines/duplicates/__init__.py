"""The barriers of deduplication: stages that bring documents of all parts together and choose which of them stay."""
