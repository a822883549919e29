"""Engines that answer the same question over the same vectors, to be measured alike."""
