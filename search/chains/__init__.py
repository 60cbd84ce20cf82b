"""Chains, the nodes of their prefix tree, and the stages of a node. Pure."""
