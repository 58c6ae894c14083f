"""ResultSender: C-STORE, folder."""
