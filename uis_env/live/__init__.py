"""Live endpoints: the client, the test-time-scaling methods, the recorder, and an environment that asks real models."""
