//! In which order the components of a mixture take turns.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Turns of components, by weight: at every position, how often a component had its turn so far differs by less than one
/// from its share of the positions.
///
/// One period is tabled, as many positions as the weights, in lowest terms, sum up to; it repeats without end. So which
/// component has the turn at a position, and for the how manieth time, is one look at the table.
///
/// Turn number `j` of a component of weight `w` in a period of `p` may be taken from position `⌊j·p/w⌋` on, and must be
/// before `⌈(j+1)·p/w⌉`: that is what keeps its count near its share. Of the turns that may be taken, the one with the
/// earliest end is, and of several the one of the first component. This never misses an end: earliest deadline first
/// schedules unit jobs on one machine wherever a schedule exists, and for windows of this kind one does (Baruah, Cohen,
/// Plaxton, Varvel, *Proportionate Progress*, 1996).
///
/// ```
/// use forebay::sampler::Interleaving;
/// let turns = Interleaving::new(&[2, 1, 1])?;
/// let first: Vec<usize> = (0..8).map(|position| turns.get(position).0).collect();
/// assert_eq!(first, [0, 1, 0, 2, 0, 1, 0, 2]);
/// assert_eq!(turns.get(1_000_000_002), (0, 500_000_001)); // as near as the first
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interleaving(Arc<Period>);

#[derive(Debug, PartialEq, Eq)]
struct Period {
    /// Turns of each component.
    weights: Box<[u64]>,
    turns: Box<[Turn]>,
    /// The positions of each component's turns.
    slots: Box<[Box<[u32]>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    component: u32,
    /// Turns of the component before this one.
    nth: u32,
}

impl Interleaving {
    /// The longest period there can be, in positions.
    pub const MAX_PERIOD: u64 = 1 << 20;

    /// Turns of as many components as there are weights.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no weight, one is 0, or in lowest terms they sum up to more than
    /// [`MAX_PERIOD`](Self::MAX_PERIOD).
    pub fn new(weights: &[u64]) -> Result<Self> {
        if weights.is_empty() {
            return Err(Error::invalid("expected the weight of at least one component, found none"));
        }
        if let Some(component) = weights.iter().position(|&weight| weight == 0) {
            return Err(Error::invalid(format!(
                "expected a weight of at least 1, found 0 for component {component}: leave it out"
            )));
        }
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
        let weights: Box<[u64]> = weights.iter().map(|weight| weight / divisor).collect();
        let period = weights.iter().try_fold(0u64, |sum, &weight| sum.checked_add(weight));
        let period = period.filter(|&period| period <= Self::MAX_PERIOD).ok_or_else(|| {
            let list: Vec<_> = weights.iter().map(u64::to_string).collect();
            Error::invalid(format!(
                "expected weights that sum up to at most {} in lowest terms, found {}: give rounder ones",
                Self::MAX_PERIOD,
                list.join(", ")
            ))
        })?;
        let turns = turns(&weights, period);
        let mut slots: Vec<Vec<u32>> =
            weights.iter().map(|&weight| Vec::with_capacity(weight as usize)).collect();
        for (turn, slot) in turns.iter().zip(0..) {
            slots[turn.component as usize].push(slot);
        }
        let slots = slots.into_iter().map(Vec::into_boxed_slice).collect();
        Ok(Interleaving(Arc::new(Period { weights, turns: turns.into(), slots })))
    }

    /// The weights, in lowest terms: how many turns of a period each component has.
    pub fn weights(&self) -> &[u64] {
        &self.0.weights
    }

    /// The number of positions after which turns repeat: the sum of the weights.
    pub fn period(&self) -> u64 {
        self.0.turns.len() as u64
    }

    /// The component whose turn it is at `position`, and how many turns it had before.
    #[inline]
    pub fn get(&self, position: u64) -> (usize, u64) {
        let period = self.period();
        let turn = self.0.turns[(position % period) as usize];
        let component = turn.component as usize;
        (component, position / period * self.0.weights[component] + u64::from(turn.nth))
    }

    /// How many turns `component` has before `position`.
    ///
    /// # Panics
    ///
    /// If there is no such component.
    pub fn count(&self, component: usize, position: u64) -> u64 {
        let (period, slot) = (position / self.period(), position % self.period());
        let before = self.0.slots[component].partition_point(|&turn| u64::from(turn) < slot);
        period * self.0.weights[component] + before as u64
    }

    /// The position at which `component` has its turn number `nth`, counted from 0; `None` past 2⁶⁴.
    ///
    /// # Panics
    ///
    /// If there is no such component.
    pub fn position(&self, component: usize, nth: u64) -> Option<u64> {
        let weight = self.0.weights[component];
        let slot = self.0.slots[component][(nth % weight) as usize];
        (nth / weight).checked_mul(self.period())?.checked_add(slot.into())
    }
}

/// The turns of one period, by earliest end.
fn turns(weights: &[u64], period: u64) -> Vec<Turn> {
    // All numbers stay below the square of the longest period.
    let from = |component: usize, nth: u64| nth * period / weights[component];
    let end = |component: usize, nth: u64| ((nth + 1) * period).div_ceil(weights[component]);
    let mut taken = vec![0u64; weights.len()];
    // Components whose next turn may be taken, by its end; and those whose may not yet, by when it may.
    let mut ready: BinaryHeap<_> =
        (0..weights.len()).map(|component| Reverse((end(component, 0), component))).collect();
    let mut later: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut turns = Vec::with_capacity(period as usize);
    for position in 0..period {
        while let Some(&Reverse((when, component))) = later.peek()
            && when <= position
        {
            later.pop();
            ready.push(Reverse((end(component, taken[component]), component)));
        }
        let Some(Reverse((_, component))) = ready.pop() else {
            unreachable!("before the last position of a period some turn may be taken")
        };
        turns.push(Turn { component: component as u32, nth: taken[component] as u32 });
        taken[component] += 1;
        if taken[component] < weights[component] {
            later.push(Reverse((from(component, taken[component]), component)));
        }
    }
    turns
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
