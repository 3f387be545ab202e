"""The steps of an ingest: find the files, read each as a task, merge, settle, tell."""
