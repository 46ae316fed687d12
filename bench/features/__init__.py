"""What caches do, feature by feature: the same questions put to each, answered by what was seen."""
