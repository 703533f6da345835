//! The daemon as its clients see it: the program, over its socket.

mod exporters;
mod history;
mod kilnd;
mod policies;
mod security;
mod session;
