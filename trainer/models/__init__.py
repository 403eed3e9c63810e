"""The model: its sizes, its parts, and what it costs; the ZAYA1 architecture, Skywork's MoE++ and baselines."""
