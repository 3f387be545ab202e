"""Work that is the same whoever does it: tasks, the ledger of finished ones, and executors that may lose workers."""
