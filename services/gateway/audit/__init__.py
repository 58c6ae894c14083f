"""What the gateway writes into the audit trail, and shows of it."""
