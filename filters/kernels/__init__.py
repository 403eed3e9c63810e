"""Numba kernels over UTF-8 bytes, and the tables they read: what the steps and `DocumentBatch` are fast by."""
