"""The radiologist's viewer: OHIF, fetched, pinned and trimmed; the gateway serves it below /ohif/."""
