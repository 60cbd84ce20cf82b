"""Chains, the nodes of their tree, and the stages that a node takes. Pure."""
