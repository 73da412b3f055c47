"""Commands and options of `fedprofile` that belong to neither client, server nor simulation."""
