"""The page Add photographs: hands out of uploaded pictures or a folder, and then into the index."""
