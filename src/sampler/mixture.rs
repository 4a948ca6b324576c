//! The order of the rows of several datasets that take turns.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;

use super::audit::Audit;
use super::feistel::LANES;
use super::interleaving::Interleaving;
use super::key::epoch_key;
use super::order::Shuffle;
use super::permutation::{Permutation, check_range};
use super::single::Single;

/// Rows computed at a time: as many as there are bits in a word.
const CHUNK: usize = 64;

/// Tells the seeds of components from that of one dataset alone.
const COMPONENTS: u64 = 0xC0B1_9E5A_3D27_4F68;

/// One order for all epochs together, which are runs of it, one after another.
///
/// ```text
/// position      0   1   2   3   4   5   6   7   8  …        cut into epochs of any length
/// component     a   b   a   c   a   b   a   c   a  …        Interleaving
/// its turn      0   0   1   0   2   1   3   1   4  …
/// its row       └── turn mod rows, in the order of pass (turn div rows) ──┘
/// ```
///
/// A component is gone through again and again, in a new order each time; where an epoch ends in the middle of a pass, the
/// next goes on there. The rows of each component are numbered behind those of the one before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mixed {
    interleaving: Interleaving,
    parts: Box<[Part]>,
    epoch_len: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    /// The number of its first row.
    base: u64,
    order: Single,
}

impl Mixed {
    /// # Panics
    ///
    /// If there are not as many lengths as weights, one is 0, or a sum of rows is past [`Permutation::MAX_LEN`].
    pub(super) fn new(
        interleaving: &Interleaving,
        lens: &[u64],
        epoch_len: u64,
        shuffle: Shuffle,
        seed: u64,
    ) -> Self {
        assert_eq!(lens.len(), interleaving.weights().len(), "a mixture has a weight for each component");
        assert!(
            epoch_len <= Permutation::MAX_LEN,
            "cannot order {epoch_len} rows: at most 2^63 are possible"
        );
        let mut base = 0u64;
        let parts = lens.iter().zip(0..).map(|(&len, component)| {
            assert!(len > 0, "component {component} of the mixture has no rows");
            let part =
                Part { base, order: Single::new(len, shuffle, epoch_key(seed ^ COMPONENTS, component)) };
            base =
                base.checked_add(len).filter(|&all| all <= Permutation::MAX_LEN).expect("at most 2^63 rows");
            part
        });
        let parts = parts.collect();
        Mixed { interleaving: interleaving.clone(), parts, epoch_len }
    }

    pub(super) fn len(&self) -> u64 {
        self.epoch_len
    }

    pub(super) fn epoch(self: &Arc<Self>, epoch: u64) -> MixedEpoch {
        let first = u128::from(epoch) * u128::from(self.epoch_len);
        let period = u128::from(self.interleaving.period());
        let starts = self.interleaving.weights().iter().zip(&self.parts).map(|(&weight, part)| {
            let turns = first / period * u128::from(weight);
            let len = u128::from(part.order.len());
            // A pass past 2⁶⁴ has the order of one long before it.
            Start { pass: (turns / len) as u64, position: (turns % len) as u64 }
        });
        MixedEpoch { starts: starts.collect(), offset: (first % period) as u64, run: self.clone() }
    }
}

/// A run of a mixture's order.
#[derive(Debug)]
pub(super) struct MixedEpoch {
    run: Arc<Mixed>,
    /// Where in a period the epoch begins.
    offset: u64,
    /// Where each component is at the beginning of that period.
    starts: Box<[Start]>,
}

/// A place in the passes through a component.
#[derive(Debug)]
struct Start {
    pass: u64,
    position: u64,
}

impl MixedEpoch {
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.run.epoch_len
    }

    pub(super) fn get(&self, position: u64) -> u64 {
        let mut row = [0];
        self.fill_inlined::<1>(position, &mut row);
        row[0]
    }

    /// The component whose turn it is at `position`.
    #[inline]
    pub(super) fn source(&self, position: u64) -> usize {
        check_range(position, 1, self.len());
        self.run.interleaving.get(self.offset + position).0
    }

    /// Writes the rows of positions `first..first + out.len()` to `out`; always inlined, as
    /// [`Permutation::fill_inlined`] is.
    #[inline(always)]
    pub(super) fn fill_inlined<const LANES: usize>(&self, first: u64, out: &mut [u64]) {
        check_range(first, out.len(), self.len());
        let mut position = self.offset + first;
        for out in out.chunks_mut(CHUNK) {
            self.fill_chunk::<LANES>(position, out);
            position += out.len() as u64;
        }
    }

    /// As above, for no more than a chunk, from `position` of the period the epoch begins in.
    #[inline(always)]
    fn fill_chunk<const LANES: usize>(&self, position: u64, out: &mut [u64]) {
        let mut turns = [(0, 0); CHUNK];
        for (turn, position) in turns.iter_mut().zip(position..position + out.len() as u64) {
            *turn = self.run.interleaving.get(position);
        }
        let turns = &turns[..out.len()];
        let mut left = u64::MAX >> (CHUNK - out.len());
        while left != 0 {
            // All turns of one component, which follow one another.
            let (component, first) = turns[left.trailing_zeros() as usize];
            let (mut places, mut count) = ([0; CHUNK], 0);
            for (place, turn) in turns.iter().enumerate() {
                if turn.0 == component {
                    places[count] = place;
                    count += 1;
                    left &= !(1 << place);
                }
            }
            let mut rows = [0; CHUNK];
            self.fill_turns::<LANES>(component, first, &mut rows[..count]);
            for (&place, &row) in places[..count].iter().zip(&rows) {
                out[place] = row;
            }
        }
    }

    /// Writes the rows of turns `first..first + out.len()` of `component`, counted from the beginning of the period.
    #[inline(always)]
    fn fill_turns<const LANES: usize>(&self, component: usize, first: u64, out: &mut [u64]) {
        let len = self.run.parts[component].order.len();
        let mut turn = self.starts[component].position + first;
        let mut out = out;
        while !out.is_empty() {
            let (pass, position) = (turn / len, turn % len);
            let count = out.len().min(usize::try_from(len - position).unwrap_or(usize::MAX));
            let (now, after) = out.split_at_mut(count);
            self.fill_pass::<LANES>(component, pass, position, now);
            turn += count as u64;
            out = after;
        }
    }

    /// Writes the rows at `position` and on of a pass through `component`; passes are counted from that of the start.
    #[inline(always)]
    fn fill_pass<const LANES: usize>(&self, component: usize, pass: u64, position: u64, out: &mut [u64]) {
        let part = &self.run.parts[component];
        let pass = self.starts[component].pass.wrapping_add(pass);
        part.order.epoch(pass).fill_inlined::<LANES>(position, out);
        out.iter_mut().for_each(|row| *row += part.base);
    }

    /// The audit of all its rows. Whole passes have a closed form; of a pass that begins or ends outside the epoch, the rows
    /// inside are gone through, or those outside, whichever are fewer.
    pub(super) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for (component, (part, start)) in self.run.parts.iter().zip(&self.starts).enumerate() {
            let len = part.order.len();
            let turn = |position| start.position + self.run.interleaving.count(component, position);
            let (mut first, end) = (turn(self.offset), turn(self.offset + self.len()));
            let mut whole = Audit::default();
            whole.add_run(part.base..part.base + len);
            while first < end {
                let (pass, inside) = (first / len, first % len..(first % len + end - first).min(len));
                let passes = if inside == (0..len) { (end - first) / len } else { 1 };
                first += passes * (inside.end - inside.start);
                audit.merge(if inside == (0..len) {
                    whole.times(passes)
                } else if inside.end - inside.start <= len / 2 {
                    self.audit_pass(component, pass, inside)
                } else {
                    let (before, behind) = (0..inside.start, inside.end..len);
                    let before = self.audit_pass(component, pass, before);
                    whole.less(before).less(self.audit_pass(component, pass, behind))
                });
            }
        }
        audit
    }

    fn audit_pass(&self, component: usize, pass: u64, positions: Range<u64>) -> Audit {
        let mut audit = Audit::default();
        let mut rows = [0; 16 * CHUNK];
        let mut first = positions.start;
        while first < positions.end {
            let count = (positions.end - first).min(rows.len() as u64);
            let rows = &mut rows[..count as usize];
            self.fill_pass::<LANES>(component, pass, first, rows);
            audit.add_all(rows);
            first += count;
        }
        audit
    }
}
