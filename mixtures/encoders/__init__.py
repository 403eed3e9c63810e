"""From the file of a tokenizer, whichever kind it is, to what makes ids of texts: its patterns, pieces and merges."""
