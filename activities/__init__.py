"""Activities: accept one model, lease, call, record, return one model."""
