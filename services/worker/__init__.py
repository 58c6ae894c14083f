"""The worker: consumes a job, loads the volume, segments, finds lesions, reports, freezes."""
