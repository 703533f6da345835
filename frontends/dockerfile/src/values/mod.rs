//! Small values that flags and arguments carry, read the way the reference reads them.
//!
//! Each function takes the text of one value and gives a number or the reference's error text.

mod boolean;
mod csv;
mod duration;
mod mode;
mod number;
mod signal;
mod size;

pub use boolean::parse_bool;
pub use csv::fields;
pub use duration::{format_duration, parse_duration};
pub use mode::FileMode;
pub use number::{parse_int, parse_uint};
pub use signal::parse_signal;
pub use size::parse_size;
