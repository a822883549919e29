"""What images, animations and videos are decoded with: formats, clocks, geometry of display."""
