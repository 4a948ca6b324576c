//! Copies of rows from anywhere into their places in a slot.
//!
//! A shuffled row is a cache miss, and several when it is long: what a gather waits for is memory, so its loops ask
//! for the lines of rows to come while they copy the row at hand. The copies themselves are loops of fixed-size
//! moves rather than calls of the C library's `memcpy`, whose `rep movsb` can fall to a quarter of its speed when
//! source and destination differ by a little more than a multiple of a page.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the cache line of `address`. Any address is allowed: nothing is read.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address has no effect but on the caches.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for every line of the `len` bytes at `address`.
#[inline(always)]
pub(super) fn prefetch_row(address: *const u8, len: usize) {
    let mut offset = 0;
    while offset < len {
        prefetch(address.wrapping_add(offset));
        offset += LINE_BYTES;
    }
}

/// Copies the row of `row_bytes` bytes at each address of `rows` into `dst`, one after another; asks for the lines of the
/// rows `ahead`.
///
/// # Safety
///
/// Each address of `rows` is valid for reads of a row, and no row overlaps `dst`.
#[inline(always)]
pub(super) unsafe fn copy_rows(rows: &[*const u8], ahead: &[*const u8], dst: &mut [u8], row_bytes: usize) {
    assert_eq!(dst.len(), rows.len() * row_bytes, "the destination holds these rows");
    // SAFETY: the caller's, and the destination was just measured.
    unsafe {
        match row_bytes {
            0 => {}
            1 => copy_rows_of::<1>(rows, ahead, dst),
            2 => copy_rows_of::<2>(rows, ahead, dst),
            4 => copy_rows_of::<4>(rows, ahead, dst),
            8 => copy_rows_of::<8>(rows, ahead, dst),
            16 => copy_rows_of::<16>(rows, ahead, dst),
            32 => copy_rows_of::<32>(rows, ahead, dst),
            64 => copy_rows_of::<64>(rows, ahead, dst),
            256 => copy_rows_of::<256>(rows, ahead, dst),
            _ => for_rows(rows, ahead, row_bytes, |i, src| {
                copy_bytes(src, dst.as_mut_ptr().add(i * row_bytes), row_bytes)
            }),
        }
    }
}

/// # Safety
///
/// As [`copy_rows`], for rows of `N` bytes that fill `dst`.
#[inline(always)]
unsafe fn copy_rows_of<const N: usize>(rows: &[*const u8], ahead: &[*const u8], dst: &mut [u8]) {
    // SAFETY: row `i` of `dst` begins at `i * N`, within it; the source is valid by the caller's promise.
    for_rows(rows, ahead, N, |i, src| unsafe {
        dst.as_mut_ptr().add(i * N).cast::<[u8; N]>().write_unaligned(src.cast::<[u8; N]>().read_unaligned())
    });
}

/// Visits the rows in turn, and with each asks for the lines of one of the rows `ahead`.
#[inline(always)]
pub(super) fn for_rows(
    rows: &[*const u8],
    ahead: &[*const u8],
    row_bytes: usize,
    mut visit: impl FnMut(usize, *const u8),
) {
    let both = rows.len().min(ahead.len());
    for i in 0..both {
        prefetch_row(ahead[i], row_bytes);
        visit(i, rows[i]);
    }
    for &row in &ahead[both..] {
        prefetch_row(row, row_bytes);
    }
    for (i, &row) in rows.iter().enumerate().skip(both) {
        visit(i, row);
    }
}

/// Copies `len` bytes in moves of 64, 16 or fewer; the last move overlaps the one before it.
///
/// # Safety
///
/// `src` is valid for reads and `dst` for writes of `len` bytes, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn copy_bytes(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: every move lies within the first `len` bytes of both sides.
    unsafe {
        match len {
            64.. => moves::<64>(src, dst, len),
            16.. => moves::<16>(src, dst, len),
            8.. => moves::<8>(src, dst, len),
            4.. => moves::<4>(src, dst, len),
            _ => {
                for i in 0..len {
                    *dst.add(i) = *src.add(i);
                }
            }
        }
    }
}

/// # Safety
///
/// As [`copy_bytes`], and `len` is at least `N`.
#[inline(always)]
unsafe fn moves<const N: usize>(src: *const u8, dst: *mut u8, len: usize) {
    let mut offset = 0;
    // SAFETY: moves begin at multiples of `N` below `len - N` and at `len - N`, so all end within `len`.
    unsafe {
        while offset + N <= len {
            dst.add(offset)
                .cast::<[u8; N]>()
                .write_unaligned(src.add(offset).cast::<[u8; N]>().read_unaligned());
            offset += N;
        }
        if offset < len {
            let last = len - N;
            dst.add(last).cast::<[u8; N]>().write_unaligned(src.add(last).cast::<[u8; N]>().read_unaligned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_whole_and_no_further() {
        let src: Vec<u8> = (0..400).map(|i| (i * 7 % 251) as u8).collect();
        for len in 0..300 {
            let mut dst = vec![0xEE; len + 8];
            // SAFETY: `src` holds 400 bytes and `dst` `len + 8`.
            unsafe { copy_bytes(src.as_ptr().add(3), dst.as_mut_ptr(), len) };
            assert_eq!(dst[..len], src[3..3 + len]);
            assert_eq!(dst[len..], [0xEE; 8]);
        }
    }

    #[test]
    fn rows_of_every_width_come_in_their_order() {
        let src: Vec<u8> = (0..20_000).map(|i| (i * 31 % 253) as u8).collect();
        for row_bytes in [0, 1, 2, 3, 4, 5, 8, 12, 16, 31, 32, 64, 100, 256, 784] {
            for count in [0usize, 1, 2, 3, 50, 100] {
                let starts: Vec<_> = (0..count).map(|i| i * 6151 % (src.len() - 800)).collect();
                let rows: Vec<_> = starts.iter().map(|&start| src[start..].as_ptr()).collect();
                let mut dst = vec![0; count * row_bytes];
                // SAFETY: every row begins 800 bytes before the end of `src` or earlier.
                unsafe { copy_rows(&rows, &rows, &mut dst, row_bytes) };
                let expected: Vec<u8> = starts.iter().flat_map(|&s| src[s..s + row_bytes].to_vec()).collect();
                assert_eq!(dst, expected, "{count} rows of {row_bytes} bytes");
            }
        }
    }
}
