"""Turn one stage specification into weights or a score. Knows no policy, store or tracker."""
