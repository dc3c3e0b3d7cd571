"""Reading totesys: catalogue, snapshot, changed rows, deletions."""
