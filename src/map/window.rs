//! Which pages are wanted, and until when.
//!
//! Work comes in tickets, numbered and done in order, or nearly so. Each wants some pages, perhaps ones that others want
//! as well: a page is *fresh* when nobody wanted it yet, and *left* when the last ticket that wanted it is done.
//!
//! Pages are numbers; a run of them is a half-open range. Nothing here knows what a page is, or asks the system anything.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

/// Runs of pages that are wanted.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Runs that lie apart, under their first page: where they end, and the last ticket that wants them.
    wanted: BTreeMap<u64, (u64, u64)>,
    /// The runs that each ticket was the last to want when they were asked for.
    last: BTreeMap<u64, Vec<Range<u64>>>,
}

impl Window {
    /// Wants the pages of `run` until ticket `until` is done. Appends those that are fresh to `fresh`.
    pub(crate) fn want(&mut self, run: Range<u64>, until: u64, fresh: &mut Vec<Range<u64>>) {
        if run.is_empty() {
            return;
        }
        let mut at = run.start;
        while at < run.end {
            let held = self.wanted.range(..=at).next_back().filter(|(_, (end, _))| *end > at);
            let Some((&first, &(end, last))) = held else {
                let next = self.wanted.range(at..run.end).next().map_or(run.end, |(&next, _)| next);
                fresh.push(at..next);
                self.wanted.insert(at, (next, until));
                at = next;
                continue;
            };
            let stop = end.min(run.end);
            if last < until {
                // What lies before and behind keeps its own last ticket.
                self.wanted.insert(at, (stop, until));
                if first < at {
                    self.wanted.insert(first, (at, last));
                }
                if stop < end {
                    self.wanted.insert(stop, (end, last));
                }
            }
            at = stop;
        }
        self.last.entry(until).or_default().push(run);
    }

    /// Says that every ticket up to `ticket` is done. Appends the pages that are left to `left`.
    pub(crate) fn done(&mut self, ticket: u64, left: &mut Vec<Range<u64>>) {
        while let Some(entry) = self.last.first_entry().filter(|entry| *entry.key() <= ticket) {
            for run in entry.remove() {
                let ended = self.wanted.range(run).filter(|(_, (_, last))| *last <= ticket);
                let ended: Vec<_> = ended.map(|(&first, &(end, _))| first..end).collect();
                for run in ended {
                    self.wanted.remove(&run.start);
                    left.push(run);
                }
            }
        }
    }
}

/// Sorts `runs`, and joins those that touch or overlap.
pub(crate) fn join(runs: &mut Vec<Range<u64>>) {
    runs.sort_unstable_by_key(|run| run.start);
    runs.dedup_by(|next, run| {
        let together = next.start <= run.end;
        if together {
            run.end = run.end.max(next.end);
        }
        together
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    fn pages(runs: &[Range<u64>]) -> Vec<u64> {
        let mut pages: Vec<_> = runs.iter().cloned().flatten().collect();
        pages.sort_unstable();
        pages
    }

    /// Tickets that want some runs each, some of them until a later ticket.
    fn tickets() -> impl Strategy<Value = Vec<Vec<(Range<u64>, u64)>>> {
        let run = (0u64..60, 0u64..12, 0u64..4).prop_map(|(start, len, more)| (start..start + len, more));
        prop::collection::vec(prop::collection::vec(run, 0..6), 0..30)
    }

    proptest! {
        #[test]
        fn a_page_is_fresh_once_and_left_once_nobody_wants_it(tickets in tickets(), lag in 0u64..6) {
            let mut window = Window::default();
            // The slow way: the last ticket of each page.
            let mut last: HashMap<u64, u64> = HashMap::new();
            for (ticket, runs) in (0u64..).zip(&tickets) {
                for (run, more) in runs {
                    let until = ticket + more;
                    let mut fresh = Vec::new();
                    window.want(run.clone(), until, &mut fresh);
                    let expected: Vec<_> = run.clone().filter(|page| !last.contains_key(page)).collect();
                    prop_assert_eq!(pages(&fresh), expected);
                    for page in run.clone() {
                        let known = last.entry(page).or_insert(until);
                        *known = until.max(*known);
                    }
                }
                if let Some(done) = ticket.checked_sub(lag) {
                    let mut left = Vec::new();
                    window.done(done, &mut left);
                    let mut expected: Vec<_> =
                        last.iter().filter(|(_, last)| **last <= done).map(|(&page, _)| page).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(pages(&left), expected);
                    last.retain(|_, last| *last > done);
                }
            }
            let mut left = Vec::new();
            window.done(u64::MAX, &mut left);
            prop_assert_eq!(pages(&left).len(), last.len());
            prop_assert!(window.wanted.is_empty() && window.last.is_empty(), "nothing is remembered: {:?}", window);
        }

        #[test]
        fn joined_runs_lie_apart_and_hold_the_same_pages(
            mut runs in prop::collection::vec((0u64..60, 1u64..12).prop_map(|(start, len)| start..start + len), 0..20)
        ) {
            let expected: BTreeSet<u64> = runs.iter().cloned().flatten().collect();
            join(&mut runs);
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{runs:?}");
            prop_assert_eq!(pages(&runs), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
