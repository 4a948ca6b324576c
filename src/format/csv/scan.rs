//! Where the records of a file begin, found in blocks of any size, by as many threads as there are blocks.
//!
//! Whether a line end ends a record depends on all quotes before it, so a block by itself does not know.
//! What is carried from block to block is one of six states:
//!
//! ```text
//!                 ┌──────────────── line end ───────────────┐
//!                 ▼                                         │
//!     comment ┌───────────┐   other    ┌─────────┐ ─────────┤
//!       ┌─────│ LineStart │ ─────────► │ InField │ ◄──┐     │
//!       ▼     └───────────┘            └─────────┘    │     │
//!    Comment     │ quote   delimiter │      ▲ other   │     │
//!       │        │                   ▼      │         │     │
//!       │        │             ┌────────────┐         │ other
//!    line end    │             │ FieldStart │    delimiter: FieldStart
//!       │        │             └────────────┘         │     │
//!       ▼        ▼                   │ quote     ┌─────────────┐
//!    LineStart  ┌────────┐ ◄─────────┘           │ QuoteClosed │
//!               │ Quoted │ ─────── quote ──────► └─────────────┘
//!               └────────┘ ◄────── quote ───────────────┘
//! ```
//!
//! A quote opens only where a field begins, so a stray one (which the decoder refuses) spoils its record and
//! not the rest of the file. [`BlockSummary`] is the state after a block for each state before it. Started in
//! different states, the machine soon is in the same one (a quoted field read as plain ends at its closing
//! quote), so a summary costs one pass, at the speed of `memchr` where there are no quotes. Summaries are chained
//! in the order of the file, a step a block; then [`record_starts`] walks each block in the state it has.
#![forbid(unsafe_code)]

use memchr::{memchr, memrchr2};

use super::Dialect;

/// What a scan knows behind the bytes it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScanState {
    /// At the beginning of the file or behind a line end: a record may begin.
    #[default]
    LineStart,
    /// Behind a delimiter.
    FieldStart,
    /// In a plain field, or in a quoted one that went on behind its closing quote.
    InField,
    /// In a quoted field.
    Quoted,
    /// Behind a quote that closes the field unless another one follows.
    QuoteClosed,
    /// In a line that is no record.
    Comment,
}

const STATES: [ScanState; 6] = [
    ScanState::LineStart,
    ScanState::FieldStart,
    ScanState::InField,
    ScanState::Quoted,
    ScanState::QuoteClosed,
    ScanState::Comment,
];

/// The state behind a block, for each state before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSummary {
    after: [ScanState; STATES.len()],
}

impl BlockSummary {
    /// The summary of `block`.
    pub(crate) fn of(dialect: &Dialect, block: &[u8]) -> Self {
        // States are told apart in steps, so that no more than a step is walked twice.
        const STEP_BYTES: usize = 256;
        let mut after = STATES;
        let mut rest = block;
        loop {
            let plain = match dialect.quote {
                Some(quote) => memchr(quote, rest).unwrap_or(rest.len()),
                None => rest.len(),
            };
            after = after.map(|state| after_plain(dialect, state, &rest[..plain]));
            rest = &rest[plain..];
            if rest.is_empty() {
                return BlockSummary { after };
            }
            let alike = after.iter().all(|&state| state == after[0]);
            let (step, behind) = rest.split_at(if alike { rest.len() } else { rest.len().min(STEP_BYTES) });
            let mut walked = [None; STATES.len()];
            after = after.map(|state| {
                *walked[state as usize].get_or_insert_with(|| walk_quoted(dialect, state, step, |_| ()))
            });
            rest = behind;
        }
    }

    /// The state behind the block where the one before it is `before`.
    pub(crate) fn after(&self, before: ScanState) -> ScanState {
        self.after[before as usize]
    }
}

/// Appends where in the file records begin within `block`, which lies at byte `base` of the file; gives the
/// state behind the block, `before` being the one in front of it.
///
/// A record goes on to the next start, or to the end of the file; line ends, blank lines and comments at its
/// end are not part of it.
pub(crate) fn record_starts(
    dialect: &Dialect,
    before: ScanState,
    block: &[u8],
    base: u64,
    out: &mut Vec<u64>,
) -> ScanState {
    let plain = match dialect.quote {
        Some(quote) => memchr(quote, block).unwrap_or(block.len()),
        None => block.len(),
    };
    let (plain, rest) = block.split_at(plain);
    let between = walk_plain(dialect, before, plain, |start| out.push(base + start as u64));
    let base = base + plain.len() as u64;
    walk_quoted(dialect, between, rest, |start| out.push(base + start as u64))
}

/// The state behind `block`, in which no quote matters.
fn after_plain(dialect: &Dialect, before: ScanState, block: &[u8]) -> ScanState {
    let Some(&last) = block.last() else { return before };
    if before == ScanState::Quoted {
        return before;
    }
    if Dialect::is_line_end(last) {
        return ScanState::LineStart;
    }
    if let Some(comment) = dialect.comment {
        let commented = match memrchr2(b'\n', b'\r', block) {
            Some(end) => block[end + 1] == comment,
            None => match before {
                ScanState::LineStart => block[0] == comment,
                before => before == ScanState::Comment,
            },
        };
        if commented {
            return ScanState::Comment;
        }
    }
    if last == dialect.delimiter { ScanState::FieldStart } else { ScanState::InField }
}

/// Walks `block`, in which no quote matters.
fn walk_plain(
    dialect: &Dialect,
    before: ScanState,
    block: &[u8],
    mut on_start: impl FnMut(usize),
) -> ScanState {
    if before == ScanState::Quoted {
        return before;
    }
    // Whether a line end is the byte before the chunk.
    let mut behind_end = u64::from(before == ScanState::LineStart);
    for (index, chunk) in block.chunks(64).enumerate() {
        let ends = match chunk.first_chunk::<64>() {
            Some(chunk) => marks(chunk, b'\n'),
            None => marks_of_tail(chunk, b'\n'),
        };
        let within = u64::MAX >> (64 - chunk.len());
        let mut starts = (ends << 1 | behind_end) & !ends & within;
        behind_end = ends >> 63;
        while starts != 0 {
            let at = index * 64 + starts.trailing_zeros() as usize;
            starts &= starts - 1;
            if dialect.comment.is_none_or(|comment| block[at] != comment) {
                on_start(at);
            }
        }
    }
    after_plain(dialect, before, block)
}

/// Walks `block`, from quote or line end to quote or line end.
fn walk_quoted(
    dialect: &Dialect,
    before: ScanState,
    block: &[u8],
    mut on_start: impl FnMut(usize),
) -> ScanState {
    let (Some(quote), Some(&last)) = (dialect.quote, block.last()) else { return before };
    let mut quoted = before == ScanState::Quoted;
    let mut comment = before == ScanState::Comment;
    // The quote that closed a field last; one before the block is at byte −1.
    let mut closed = if before == ScanState::QuoteClosed { usize::MAX } else { usize::MAX - 1 };
    let in_front = match before {
        ScanState::LineStart => b'\n',
        ScanState::FieldStart => dialect.delimiter,
        _ => 0,
    };
    let mut at_line = |start: usize, comment: &mut bool| match block.get(start) {
        Some(&byte) if Some(byte) == dialect.comment => *comment = true,
        Some(&byte) if !Dialect::is_line_end(byte) => on_start(start),
        _ => {}
    };
    if before == ScanState::LineStart {
        at_line(0, &mut comment);
    }
    for (index, chunk) in block.chunks(64).enumerate() {
        let mut marks = match chunk.first_chunk::<64>() {
            Some(chunk) => marks(chunk, quote),
            None => marks_of_tail(chunk, quote),
        };
        while marks != 0 {
            let at = index * 64 + marks.trailing_zeros() as usize;
            marks &= marks - 1;
            if block[at] != quote {
                if !quoted {
                    comment = false;
                    at_line(at + 1, &mut comment);
                }
            } else if quoted {
                quoted = false;
                closed = at;
            } else if !comment {
                let previous = if at == 0 { in_front } else { block[at - 1] };
                quoted = previous == dialect.delimiter
                    || Dialect::is_line_end(previous)
                    || closed.wrapping_add(1) == at;
            }
        }
    }
    if quoted {
        ScanState::Quoted
    } else if comment {
        ScanState::Comment
    } else if closed == block.len() - 1 {
        ScanState::QuoteClosed
    } else if Dialect::is_line_end(last) {
        ScanState::LineStart
    } else if last == dialect.delimiter {
        ScanState::FieldStart
    } else {
        ScanState::InField
    }
}

/// [`marks`] of less than 64 bytes.
#[inline(never)]
fn marks_of_tail(tail: &[u8], quote: u8) -> u64 {
    let mut padded = [0; 64];
    padded[..tail.len()].copy_from_slice(tail);
    marks(&padded, quote)
}

/// Bit i is set where byte i is a quote or a line end.
///
/// The comparisons are written so that they become vector instructions; the bits are gathered eight at a
/// time, byte i of a word keeping its bit i, and a multiplication adding up the bytes.
#[inline(always)]
fn marks(chunk: &[u8; 64], quote: u8) -> u64 {
    let hits =
        chunk.map(|byte| 0u8.wrapping_sub(u8::from((byte == quote) | (byte == b'\n') | (byte == b'\r'))));
    let (words, _) = hits.as_chunks::<8>();
    words.iter().enumerate().fold(0, |marks, (index, word)| {
        let kept = u64::from_le_bytes(*word) & 0x8040_2010_0804_0201;
        marks | (kept.wrapping_mul(0x0101_0101_0101_0101) >> 56) << (8 * index)
    })
}
