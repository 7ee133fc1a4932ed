//! What a body of N bytes holds: bytes that both ends derive from N and the offset.
//!
//! The stream repeats only every 65,521 bytes, a prime, so a segment that is lost, doubled or swapped never
//! happens to fit, and each length begins at another place of it.

use std::sync::LazyLock;

const PERIOD: usize = 65_521;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..PERIOD).map(|_| next()).collect()
});

/// Pieces of the body of `length` bytes from `offset` on, `wanted` bytes in all.
fn pieces(length: usize, offset: usize, wanted: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut at = (length.wrapping_mul(31).wrapping_add(offset)) % PERIOD;
    let mut left = wanted;
    std::iter::from_fn(move || {
        let piece = &TABLE[at..(at + left).min(PERIOD)];
        at = (at + piece.len()) % PERIOD;
        left -= piece.len();
        (!piece.is_empty()).then_some(piece)
    })
}

/// Bytes `offset..offset + wanted` of the body of `length` bytes.
pub fn part(length: usize, offset: usize, wanted: usize) -> Vec<u8> {
    pieces(length, offset, wanted).flatten().copied().collect()
}

/// The whole body.
pub fn body(length: usize) -> Vec<u8> {
    part(length, 0, length)
}

/// The offset of the first byte of `found`, read at `offset`, that isn't the body's.
pub fn first_difference(length: usize, offset: usize, found: &[u8]) -> Option<usize> {
    let mut at = 0;
    for piece in pieces(length, offset, found.len()) {
        let found = &found[at..at + piece.len()];
        if found != piece {
            let inside = found.iter().zip(piece).position(|(a, b)| a != b)?;
            return Some(offset + at + inside);
        }
        at += piece.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        let length = 3 * PERIOD + 7;
        let whole = body(length);
        assert_eq!(whole.len(), length);
        for (offset, wanted) in [
            (0, 1),
            (PERIOD - 1, 2),
            (5, 2 * PERIOD),
            (length - 1, 1),
            (9, 0),
        ] {
            assert_eq!(part(length, offset, wanted), whole[offset..offset + wanted]);
            assert_eq!(
                first_difference(length, offset, &whole[offset..offset + wanted]),
                None
            );
        }
        assert_ne!(body(length - 1)[..100], whole[..100]);
    }

    #[test]
    fn a_difference_is_found_where_it_is() {
        let mut bytes = part(200_000, 1000, 100_000);
        bytes[70_000] ^= 1;
        assert_eq!(first_difference(200_000, 1000, &bytes), Some(71_000));
    }
}
