"""Side by side with volatility3 on the same images: whole processes, medians, ratios."""
