"""What moves the weights and the balancing biases, and how fast."""
