"""B3's daily quotes: the fixed-width record parsed by a kernel."""
