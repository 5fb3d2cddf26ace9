"""The two kernel pools: tables, page walk, limits, and the census that holds them together."""
