"""The gateway: the door (C-STORE, STOW-RS), the dispatcher, and the desk (API, work list). Never imports torch."""
