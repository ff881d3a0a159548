"""Every method on fixed images with fixed noise, and what it takes on a device: sets, runs, tables."""
