"""What a builder would say about a disk's configuration, before it is started."""
