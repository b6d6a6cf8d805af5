"""How good a map is: rasters, polygons and road networks against the truth."""
