"""Turns one stage specification into weights or a score; knows no policy, store or tracker."""
