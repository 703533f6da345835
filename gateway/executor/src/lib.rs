//! Runs the processes of a build: paths and mounts in, exit status out.
