//! Small values that flags and arguments carry, read the way the reference reads them.
//!
//! Each function takes the text of one value and gives a number or the reference's error text.
//! Sizes, booleans and comma-separated fields are those of every frontend's options.

mod duration;
mod mode;
mod number;
mod signal;

pub use duration::{format_duration, parse_duration};
pub use mode::FileMode;
pub use number::{parse_int, parse_uint};
pub use signal::parse_signal;
