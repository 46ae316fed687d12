"""The Pulumi program that declares the Redis + Sentinel set, and the local environment that runs the same set here."""
