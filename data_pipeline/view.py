"""The look-ahead wall: what a pod may see at a close, and nothing later."""
