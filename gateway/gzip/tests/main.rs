//! The encoder against Go's, and against readers.

mod goldens;
mod inputs;
mod round_trip;
