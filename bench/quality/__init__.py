"""Quality on real data sets with published recurrent results: commands, not code."""
