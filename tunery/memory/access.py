"""What a caller must be permitted to do with memories."""

READ, WRITE, ERASE = "memory:read", "memory:write", "memory:erase"
