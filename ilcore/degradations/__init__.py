"""How observations come to differ from the unknown: operators, noise, and estimates of both from data alone."""
