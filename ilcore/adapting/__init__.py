"""Where learning starts: pretrained weights, the corpora they come from, and their adaptation."""
