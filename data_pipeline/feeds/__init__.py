"""Raw files as the venues write them to Arrow tables: one file per format, found by its content.

files -> group -> recognise -> Feed.read -> batches of rows of a table (data_pipeline.tables)
"""
