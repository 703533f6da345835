//! What happens to a build, as values: vertices, statuses, logs and warnings.
