"""Other durable engines beside ours, on the same work: `make bench-peers`."""
