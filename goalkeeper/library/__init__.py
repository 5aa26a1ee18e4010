"""What ships as data: contracts and the default policy."""
