"""What every service with model weights needs: to get them, to keep them, and to compute with them in turn."""
