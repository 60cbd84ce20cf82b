"""A package of somebody else: a pretext task, a downstream task and a data set that is made."""
