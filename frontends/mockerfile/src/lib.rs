//! The mockerfile language: images, packages and external files in YAML.
