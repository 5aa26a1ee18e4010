"""The names and models that workflows, activities and clients agree on: pure."""
