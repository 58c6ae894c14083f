"""From a finding to DICOM objects: Segmentation and Comprehensive 3D SR (TID 1500)."""
