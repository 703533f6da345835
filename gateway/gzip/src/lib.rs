//! Writes gzip streams byte for byte as Go's standard library does
//! (`compress/gzip` on `compress/flate`, as of Go 1.26), so that a layer packed
//! here has the digest it has when a Go program packs it.
//!
//! What comes in: uncompressed bytes, through [`std::io::Write`]. What goes out:
//! one gzip member with an empty header (no name, no time, unknown system).
//!
//! # Where the cuts between writes show
//!
//! At levels -2, 0 and 1 the stream depends on the bytes alone. At levels 2 to 9
//! (and -1, which is 6) Go moves its 64 KiB window between two writes, as soon as
//! fewer than 262 bytes are left to look at; a cut in just the right place moves
//! it one byte early, which takes the oldest 262 positions out of reach for that
//! one byte. This can happen only where a write ends at a stream position `p`
//! with `p >= 65274` and `p % 32768` between 32506 and 32767, and it changes the
//! output only where the best match for the byte 262 before the window's end
//! lies at the far end of the window.
//!
//! The encoder does exactly the same for the same writes. So to get the digests
//! of a Go program:
//!
//! * a stream handed on in pieces that are multiples of 512 bytes never meets
//!   such a cut, however large the pieces are;
//! * a tar stream written as Go's `archive/tar` writes it (each header, each
//!   file's bytes and each padding in writes of their own) must be handed over
//!   with those cuts: no buffer between the tar writer and the encoder, and a
//!   file's padding not joined to its bytes. How a file's bytes are cut does not
//!   matter as long as each piece but the last is a multiple of 512 bytes.
//!
//! # Example
//!
//! ```
//! use std::io::Write;
//!
//! let mut encoder = kiln_gzip::Encoder::new(Vec::new(), -1)?;
//! encoder.write_all(b"a layer")?;
//! let packed = encoder.finish()?;
//! assert_eq!(packed[..2], [0x1f, 0x8b]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod bits;
mod block;
mod chains;
mod encoder;
mod error;
mod fast;
mod greedy;
mod huffman;
mod lazy;
mod lengths;
mod level;
mod matches;
mod memory;
mod preamble;
mod slabs;
mod token;
mod window;

pub use encoder::Encoder;
pub use error::LevelError;
