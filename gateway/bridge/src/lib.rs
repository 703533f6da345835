//! Seats frontends: built in, plugin, image or client; the gateway service.
