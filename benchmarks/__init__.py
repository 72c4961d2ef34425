"""`python -m benchmarks`: every number beside the number of something that does less, measured in the same run."""
