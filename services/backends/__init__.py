"""What implements the ports of `services.triage.ports`."""
