"""The MoE++ trainer: model, optimizers, loader, checkpoints, evaluation."""
