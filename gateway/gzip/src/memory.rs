//! In: the size of an array. Out: that array on the heap, zeroed, and numbers
//! read from arrays of bytes without a check that can fail.

/// A zeroed array that never lies on the stack, where large ones may not fit.
pub(crate) fn zeroed<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].try_into().unwrap_or_else(|_| Box::new([T::default(); N]))
}

/// Copies as much of the input as there is room for, and says how much.
pub(crate) fn fill(room: &mut [u8], input: &[u8]) -> usize {
    let taken = room.len().min(input.len());
    room[..taken].copy_from_slice(&input[..taken]);
    taken
}

/// How many bytes arrays have past the last position that is read from.
pub(crate) const SLACK: usize = 8;

/// The four bytes at `at`, the first the lowest.
///
/// Arrays are `SLACK` bytes longer than the last place anyone asks for, so the
/// zero for places past the end is never seen.
#[inline(always)]
pub(crate) fn load32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.copied().map_or(0, u32::from_le_bytes)
}

/// The eight bytes at `at`, the first the lowest; see [`load32`].
#[inline(always)]
pub(crate) fn load64(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.copied().map_or(0, u64::from_le_bytes)
}

/// How many bytes at `a` and at `b` are the same, `limit` at most.
#[inline(always)]
pub(crate) fn common(bytes: &[u8], a: usize, b: usize, limit: usize) -> usize {
    let mut same = 0;
    while same < limit {
        let differ = load64(bytes, a + same) ^ load64(bytes, b + same);
        if differ != 0 {
            // What lies past the limit may be left over from earlier data.
            return limit.min(same + (differ.trailing_zeros() / 8) as usize);
        }
        same += 8;
    }
    limit
}
