"""Services: the supervised servers of a platform, their doors, and who watches and tells."""
