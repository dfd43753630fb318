"""What the attribution classes share."""
