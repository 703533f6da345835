//! The daemon's end of the tunnel: sessions, callers and what a client offers.
