"""Every method on fixed images with fixed noise: sets of images, runs of methods, the table."""
