"""What several suites share: fakes that implement our protocols, and an engine to run goals on."""
