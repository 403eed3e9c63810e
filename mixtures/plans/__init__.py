"""From the weights of the phases, as they are written, to what every phase draws of each source."""
