"""The map page: the poses of an index version in the plane, made once, coloured and searched from."""
