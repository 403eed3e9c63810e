"""What a good document is: rule sets, transforms and deduplication kernels."""
