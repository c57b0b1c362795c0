"""ECGs with their reports as Parquet shards: schema, build, read."""
