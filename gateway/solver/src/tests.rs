//! The scheduler told as stories, held against a naive model, and counted while its input grows.

mod growth;
mod machine;
mod model;
mod stories;
