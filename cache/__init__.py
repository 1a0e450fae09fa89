"""The feature store: features are made once and read for months. Needs numpy only."""

__distribution__ = "slt-pipeline"
