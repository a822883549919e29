"""Find hands posed alike in millions of images: the domain of handsim."""
