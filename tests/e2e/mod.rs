//! Whole builds, by the programs that users run: what they make, what they do again and what not,
//! and what they say when they cannot.

mod article;
mod cache;
mod caches;
mod configuration;
mod conform;
mod containers;
mod contexts;
mod crashes;
mod daemon;
mod devices;
mod docker;
mod dockerfile;
mod files;
mod frontends;
mod images;
mod interchange;
mod llb;
mod missing;
mod mistakes;
mod network;
mod newcomer;
mod peer;
mod policies;
mod progress;
mod provenance;
mod proxies;
mod python;
mod rootless;
mod security;
mod space;
mod stopping;
mod story;
