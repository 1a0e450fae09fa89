"""The runs, as data: one YAML file is one published or shipped experiment."""
