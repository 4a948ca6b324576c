//! From a compressed byte string to what it inflates to.
#![forbid(unsafe_code)]

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::format::Compression;

/// What `bytes` inflate to, which may be `max_bytes` bytes at most. Memory grows with what was inflated.
///
/// ```
/// use forebay::coordinator::decode::decode_compressed;
/// use forebay::format::Compression;
///
/// assert_eq!(decode_compressed(b"as it is", Compression::None, 100)?, b"as it is");
/// assert!(decode_compressed(b"no gzip", Compression::Gzip, 100).is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
///
/// # Errors
///
/// `Malformed` for bytes that are not compressed so, or break off; `TooLarge` for more than `max_bytes`.
pub fn decode_compressed(bytes: &[u8], compression: Compression, max_bytes: u64) -> Result<Vec<u8>> {
    let mut inflated = Vec::new();
    // One byte more than is allowed shows that there is more.
    let decoder = compression.decoder(bytes);
    let read =
        decoder.and_then(|decoder| decoder.take(max_bytes.saturating_add(1)).read_to_end(&mut inflated));
    if let Err(e) = read {
        let at = inflated.len();
        return Err(Error::malformed(format!(
            "expected {} bytes compressed with {compression}, found that they break off after {at} inflated bytes: {e}",
            bytes.len()
        ))
        .with_source(e));
    }
    if inflated.len() as u64 > max_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "expected {} bytes compressed with {compression} to inflate to at most {max_bytes}, found more",
                bytes.len()
            ),
        ));
    }
    Ok(inflated)
}
