"""From the ends of documents to sequences: packing, and the indexes that say which tokens a sequence holds."""
