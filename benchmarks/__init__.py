"""What geoseg costs, measured against the floor: the bare forward of the same model over the same pixels."""
