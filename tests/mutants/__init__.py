"""Our own code, broken on purpose one line at a time: `make mutants`. Nothing here is collected by pytest."""
