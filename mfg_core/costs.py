"""The one cost object: the execution game is made from it, and the simulator charges it."""
