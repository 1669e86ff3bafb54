"""`python -m experiments speed`: rounds per second of our agents beside what people would use instead, in one run."""
