"""A link or an uploaded object in; PCM out, while it is read."""
