"""StudyFiles on a local (or shared) folder."""
