//! The sequence of rows depends on the dataset, the seed and the options alone, and goes on where it was left.

use forebay::sampler::{Audit, Order};
use forebay::{Batch, Dataset, ErrorKind, Loader, LoaderBuilder, LoaderState, Remainder, Shuffle, col};
use proptest::prelude::*;

const REMAINDERS: [Remainder; 3] = [Remainder::Drop, Remainder::Keep, Remainder::Pad];
const SHUFFLES: [Shuffle; 2] = [Shuffle::None, Shuffle::Exact];

/// A dataset whose row `i` is `i`, but for an offset by which a row is told from a zero.
fn numbers(n: u64) -> Dataset {
    Dataset::from_tensor("row", &[], (BASE..BASE + n).collect()).unwrap()
}

const BASE: u64 = 1 << 40;

/// What a sequence of batches depends on.
#[derive(Clone, Copy, Debug)]
struct Case {
    n: u64,
    batch_size: usize,
    shuffle: Shuffle,
    seed: u64,
    remainder: Remainder,
    epochs: u64,
}

/// Epoch, step, rows of one batch.
type Step = (u64, u64, Vec<u64>);

impl Case {
    fn builder(&self, dataset: &Dataset, threads: usize, depth: usize) -> LoaderBuilder {
        Loader::builder(dataset)
            .batch_size(self.batch_size)
            .shuffle(self.shuffle)
            .seed(self.seed)
            .remainder(self.remainder)
            .epochs(self.epochs)
            .threads(threads)
            .depth(depth)
    }

    fn loader(&self, threads: usize, depth: usize) -> Loader {
        self.builder(&numbers(self.n), threads, depth).build().unwrap()
    }

    /// The slow way: one position after another.
    fn oracle(&self) -> Vec<Step> {
        let order = Order::new(self.n, self.shuffle, self.seed);
        let mut steps = Vec::new();
        for epoch in 0..self.epochs {
            let epoch_order = order.epoch(epoch);
            let rows: Vec<_> = (0..self.n).map(|position| epoch_order.get(position)).collect();
            for (step, rows) in rows.chunks(self.batch_size).enumerate() {
                if self.remainder != Remainder::Drop || rows.len() == self.batch_size {
                    steps.push((epoch, step as u64, rows.to_vec()));
                }
            }
        }
        steps
    }

    /// Checks what is true of each batch by itself, and takes its rows out.
    fn open(&self, batch: &Batch) -> Step {
        let tensor = batch.tensor::<u64>("row").unwrap();
        let (rows, padding) = tensor.as_slice().split_at(batch.num_rows());
        assert_eq!(tensor.shape(), [batch.len()]);
        assert!(padding.iter().all(|&row| row == 0));
        match self.remainder {
            Remainder::Pad => {
                assert_eq!(batch.len(), self.batch_size);
                let mask: Vec<_> = (0..batch.len()).map(|row| u8::from(row < batch.num_rows())).collect();
                assert_eq!(batch.mask().unwrap(), mask);
            }
            _ => assert!(batch.mask().is_none() && padding.is_empty()),
        }
        assert_eq!(batch.record_batch().unwrap().num_rows(), batch.num_rows());
        (batch.epoch(), batch.step(), rows.iter().map(|row| row - BASE).collect())
    }

    /// Runs `loader` to its end and closes the books of every epoch.
    fn run(&self, mut loader: Loader) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(batch) = loader.next() {
            let batch = batch.unwrap();
            steps.push(self.open(&batch));
            if batch.step() + 1 == loader.steps_per_epoch() {
                let (epoch, delivered, expected) = loader.audit();
                assert_eq!((epoch, delivered), (batch.epoch(), expected));
                let whole = self.n - if self.remainder == Remainder::Drop { self.left_over() } else { 0 };
                assert_eq!(delivered.count(), whole);
                if whole == self.n {
                    assert_eq!(delivered, Audit::complete(self.n));
                }
            }
        }
        assert!(loader.next().is_none());
        steps
    }

    fn left_over(&self) -> u64 {
        self.n % self.batch_size as u64
    }
}

#[test]
fn any_number_of_threads_and_any_depth_give_the_sequence_of_the_oracle() {
    for shuffle in SHUFFLES {
        for remainder in REMAINDERS {
            let case = Case { n: 1000, batch_size: 24, shuffle, seed: 42, remainder, epochs: 3 };
            let oracle = case.oracle();
            let defaults = Loader::builder(&numbers(1000)).batch_size(24).shuffle(shuffle).seed(42);
            assert_eq!(case.run(defaults.remainder(remainder).epochs(3).build().unwrap()), oracle);
            for threads in [0, 1, 2, 3, 8, 32] {
                for depth in [1, 2, 3, 8, 100] {
                    let steps = case.run(case.loader(threads, depth));
                    assert_eq!(steps, oracle, "{case:?}, {threads} threads, depth {depth}");
                }
            }
        }
    }
}

#[test]
fn awkward_sizes_give_the_sequence_of_the_oracle() {
    for n in [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 255, 256, 257] {
        for batch_size in [1, 2, 7, 8, 32, 33, 300] {
            for (shuffle, remainder) in SHUFFLES.into_iter().flat_map(|s| REMAINDERS.map(|r| (s, r))) {
                let case = Case { n, batch_size, shuffle, seed: n, remainder, epochs: 2 };
                assert_eq!(case.run(case.loader(2, 3)), case.oracle(), "{case:?}");
            }
        }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let options = (0u64..400, 1usize..50, any::<bool>(), any::<u64>(), 0usize..3, 1u64..4);
    options.prop_map(|(n, batch_size, exact, seed, remainder, epochs)| Case {
        n,
        batch_size,
        shuffle: SHUFFLES[usize::from(exact)],
        seed,
        remainder: REMAINDERS[remainder],
        epochs,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_options_give_the_sequence_of_the_oracle(case in cases(), threads in 0usize..6, depth in 1usize..20) {
        prop_assert_eq!(case.run(case.loader(threads, depth)), case.oracle());
    }

    #[test]
    fn a_run_cut_anywhere_and_resumed_is_the_uninterrupted_one(
        case in cases(),
        cut in any::<prop::sample::Index>(),
        before in (0usize..4, 1usize..9),
        after in (0usize..4, 1usize..9),
    ) {
        let oracle = case.oracle();
        let cut = cut.index(oracle.len() + 1);
        prop_assert_eq!(cut_and_resumed(&case, cut, before, after), oracle);
    }
}

/// The batches of a run of `before` threads and depth that ends after `cut` batches, and of one that goes on.
fn cut_and_resumed(case: &Case, cut: usize, before: (usize, usize), after: (usize, usize)) -> Vec<Step> {
    let mut first = case.loader(before.0, before.1);
    let mut steps: Vec<_> = first.by_ref().take(cut).map(|batch| case.open(&batch.unwrap())).collect();
    let state = first.state();
    drop(first);
    let state = LoaderState::from_json(&state.to_json()).unwrap();
    let oracle = case.oracle();
    if let Some((epoch, step, _)) = oracle.get(cut) {
        assert_eq!((state.epoch(), state.step()), (*epoch, *step));
    }
    let second = case.builder(&numbers(case.n), after.0, after.1).resume(&state).build().unwrap();
    assert_eq!(second.size_hint(), (oracle.len() - cut, Some(oracle.len() - cut)));
    assert_eq!(second.state(), state);
    steps.extend(case.run(second));
    steps
}

#[test]
fn resumed_after_every_batch_of_three_epochs_it_goes_on_as_if_never_interrupted() {
    for remainder in REMAINDERS {
        let case = Case { n: 103, batch_size: 10, shuffle: Shuffle::Exact, seed: 9, remainder, epochs: 3 };
        let oracle = case.oracle();
        for cut in 0..=oracle.len() {
            for (before, after) in [((2, 3), (3, 8)), ((0, 1), (2, 2)), ((3, 9), (0, 1))] {
                assert_eq!(cut_and_resumed(&case, cut, before, after), oracle, "{case:?} after {cut}");
            }
        }
    }
}

#[test]
fn a_state_says_the_same_however_far_the_threads_ran_ahead() {
    let case = Case {
        n: 500,
        batch_size: 7,
        shuffle: Shuffle::Exact,
        seed: 1,
        remainder: Remainder::Keep,
        epochs: 2,
    };
    let states = |threads, depth| {
        let mut loader = case.loader(threads, depth);
        let mut states = vec![loader.state()];
        while let Some(batch) = loader.next() {
            drop(batch.unwrap());
            states.push(loader.state());
        }
        states
    };
    assert_eq!(states(0, 1), states(4, 16));
}

#[test]
fn a_run_that_is_over_stays_over_when_resumed() {
    let case = Case {
        n: 20,
        batch_size: 6,
        shuffle: Shuffle::Exact,
        seed: 1,
        remainder: Remainder::Keep,
        epochs: 2,
    };
    let mut loader = case.loader(2, 2);
    assert_eq!(loader.by_ref().count(), 8);
    let state = loader.state();
    assert_eq!((state.epoch(), state.step()), (2, 0));
    assert!(case.builder(&numbers(20), 1, 1).resume(&state).build().unwrap().next().is_none());
    // Epochs are counted from the beginning.
    let longer = Case { epochs: 3, ..case };
    let more = longer.builder(&numbers(20), 1, 1).resume(&state).build().unwrap();
    assert_eq!(longer.run(more), longer.oracle()[8..]);
    let endless = case.builder(&numbers(20), 2, 4).repeat().resume(&state).build().unwrap();
    let rows: Vec<_> = endless.take(4).map(|batch| case.open(&batch.unwrap())).collect();
    assert_eq!(rows, longer.oracle()[8..]);
}

#[test]
fn a_state_of_another_sequence_is_refused_and_the_difference_named() {
    let case = Case {
        n: 50,
        batch_size: 8,
        shuffle: Shuffle::Exact,
        seed: 7,
        remainder: Remainder::Keep,
        epochs: 2,
    };
    let mut loader = case.loader(1, 2);
    loader.next().unwrap().unwrap();
    let state = loader.state();
    let refused = |other: Case, dataset: &Dataset, said: &[&str]| {
        let error = other.builder(dataset, 1, 2).resume(&state).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
        assert!(said.iter().all(|words| error.message().contains(words)), "{error}");
    };
    let same = numbers(50);
    refused(Case { seed: 8, ..case }, &same, &["seed", "7", "8"]);
    refused(Case { batch_size: 9, ..case }, &same, &["batch_size", "8", "9"]);
    refused(Case { shuffle: Shuffle::None, ..case }, &same, &["shuffle", "exact", "none"]);
    refused(Case { remainder: Remainder::Drop, ..case }, &same, &["remainder", "keep", "drop"]);
    refused(case, &numbers(51), &["50 rows of", "51 rows of"]);
    refused(case, &same.rename("row", "line").unwrap(), &["column 'row'", "column 'line'"]);
    refused(case, &same.skip(1).concat(&same.take(1)).unwrap(), &["and 1 more"]);
    refused(case, &same.split(1.0, 3).unwrap().0, &["chosen"]);
    // Threads, depth and the number of epochs are no part of the sequence.
    assert!(Case { epochs: 5, ..case }.builder(&same, 3, 9).resume(&state).build().is_ok());

    assert_eq!(LoaderState::from_json("{}").unwrap_err().kind(), ErrorKind::Malformed);
    assert_eq!(LoaderState::from_json(&state.to_json()[..20]).unwrap_err().kind(), ErrorKind::Malformed);
    let newer = state.to_json().replace("\"version\":1", "\"version\":2");
    assert_eq!(LoaderState::from_json(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn another_seed_or_epoch_gives_an_unrelated_order() {
    let n = 20_000;
    let epochs = |seed| {
        let case =
            Case { n, batch_size: 128, shuffle: Shuffle::Exact, seed, remainder: Remainder::Keep, epochs: 3 };
        let mut orders = vec![Vec::new(); 3];
        for (epoch, _, rows) in case.run(case.loader(2, 8)) {
            orders[epoch as usize].extend(rows);
        }
        orders
    };
    let mut orders: Vec<_> = [1, 2, u64::MAX].into_iter().flat_map(epochs).collect();
    orders.push((0..n).collect());
    for (i, a) in orders.iter().enumerate() {
        for b in &orders[..i] {
            // Of two random orders some one position holds the same row, and some one pair follows itself in both:
            // 25 is past one in 10²⁰.
            let fixed = a.iter().zip(b).filter(|(a, b)| a == b).count();
            assert!(fixed < 25, "{fixed} rows in the same place");
            let mut next = vec![u64::MAX; n as usize];
            b.windows(2).for_each(|pair| next[pair[0] as usize] = pair[1]);
            let kept = a.windows(2).filter(|pair| next[pair[0] as usize] == pair[1]).count();
            assert!(kept < 25, "{kept} rows still follow the row they followed");
        }
    }
}

#[test]
fn bad_options_are_refused_with_their_value() {
    let rows = numbers(10);
    let refused = |builder: LoaderBuilder, said: &str| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(said), "{error}");
    };
    let builder = || Loader::builder(&rows);
    refused(builder().batch_size(0), "found 0");
    refused(builder().depth(0), "found 0");
    refused(builder().epochs(0), "found 0");
    refused(builder().epochs(u64::MAX), "2⁶³");
    refused(builder().columns(["colour"]), "'colour'");
    refused(builder().columns(["row", "row"]), "'row'");
    refused(builder().columns([col("row").scale(0.5)]), "'row'");
}

/// A change of a dataset.
#[derive(Clone, Debug)]
enum Change {
    Take(u64),
    Skip(u64),
    Subset(Vec<prop::sample::Index>),
    Split {
        fraction: f64,
        seed: u64,
        second: bool,
    },
    /// With the rows of itself from some row on.
    ConcatWithItself(u64),
    /// With rows of another table, whose columns are in another order.
    ConcatWithOther(u8),
    /// With a new column.
    Zip,
    Select(Vec<prop::sample::Index>),
    Rename(prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Change> {
    let indices = |most| prop::collection::vec(any::<prop::sample::Index>(), 1..most);
    prop_oneof![
        (0u64..60).prop_map(Change::Take),
        (0u64..10).prop_map(Change::Skip),
        indices(40).prop_map(Change::Subset),
        (0.3f64..=1.0, any::<u64>(), any::<bool>()).prop_map(|(fraction, seed, second)| Change::Split {
            fraction,
            seed,
            second
        }),
        (0u64..20).prop_map(Change::ConcatWithItself),
        (0u8..20).prop_map(Change::ConcatWithOther),
        Just(Change::Zip),
        indices(4).prop_map(Change::Select),
        any::<prop::sample::Index>().prop_map(Change::Rename),
    ]
}

/// A dataset, and the same as plain vectors: for each column its name and values.
struct Both {
    dataset: Dataset,
    columns: Vec<(String, Vec<i64>)>,
    fresh: i64,
}

impl Both {
    fn new(n: i64) -> Self {
        let columns = vec![("a".to_owned(), (0..n).collect()), ("b".to_owned(), (1000..1000 + n).collect())];
        Both { dataset: dataset_of(&columns), columns, fresh: 1 }
    }

    fn len(&self) -> usize {
        self.columns[0].1.len()
    }

    /// Keeps the rows listed.
    fn pick(&mut self, rows: &[usize]) {
        for (_, values) in &mut self.columns {
            *values = rows.iter().map(|&row| values[row]).collect();
        }
    }

    fn change(&mut self, change: &Change) {
        let len = self.len();
        self.fresh += 1;
        let fresh = self.fresh * 10_000;
        match change {
            Change::Take(n) => {
                self.dataset = self.dataset.take(*n);
                self.pick(&(0..len.min(*n as usize)).collect::<Vec<_>>());
            }
            Change::Skip(n) => {
                self.dataset = self.dataset.skip(*n);
                self.pick(&(len.min(*n as usize)..len).collect::<Vec<_>>());
            }
            Change::Subset(indices) => {
                let rows: Vec<_> =
                    if len == 0 { vec![] } else { indices.iter().map(|index| index.index(len)).collect() };
                self.dataset =
                    self.dataset.subset(&rows.iter().map(|&row| row as u64).collect::<Vec<_>>()).unwrap();
                self.pick(&rows);
            }
            Change::Split { fraction, seed, second } => {
                // Which rows a part has depends on the length alone.
                let all = Dataset::from_tensor("row", &[], (0..len as i64).collect()).unwrap();
                let parts = all.split(*fraction, *seed).unwrap();
                let parts = [loaded(&parts.0, "row"), loaded(&parts.1, "row")];
                assert_eq!(parts[0].len(), (len as f64 * fraction).round() as usize);
                let mut rows = parts.concat();
                rows.sort_unstable();
                assert_eq!(rows, (0..len as i64).collect::<Vec<_>>());
                let split = self.dataset.split(*fraction, *seed).unwrap();
                self.dataset = if *second { split.1 } else { split.0 };
                let rows: Vec<_> = parts[usize::from(*second)].iter().map(|&row| row as usize).collect();
                self.pick(&rows);
            }
            Change::ConcatWithItself(from) => {
                self.dataset = self.dataset.concat(&self.dataset.skip(*from)).unwrap();
                let from = len.min(*from as usize);
                self.pick(&(0..len).chain(from..len).collect::<Vec<_>>());
            }
            Change::ConcatWithOther(rows) => {
                let other: Vec<(String, Vec<i64>)> = self
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(i, (name, _))| {
                        let first = fresh + 1000 * i as i64;
                        (name.clone(), (first..first + i64::from(*rows)).collect())
                    })
                    .collect();
                let mut reversed = other.clone();
                reversed.reverse();
                self.dataset = self.dataset.concat(&dataset_of(&reversed)).unwrap();
                for ((_, values), (_, more)) in self.columns.iter_mut().zip(other) {
                    values.extend(more);
                }
            }
            Change::Zip => {
                let column = (format!("c{fresh}"), (fresh..fresh + len as i64).collect());
                self.dataset = self.dataset.zip(&dataset_of(std::slice::from_ref(&column))).unwrap();
                self.columns.push(column);
            }
            Change::Select(indices) => {
                let mut chosen: Vec<_> = indices
                    .iter()
                    .map(|index| self.columns[index.index(self.columns.len())].clone())
                    .collect();
                let mut seen = Vec::new();
                chosen.retain(|(name, _)| {
                    !seen.contains(name) && {
                        seen.push(name.clone());
                        true
                    }
                });
                self.dataset = self.dataset.select(seen.iter().map(String::as_str)).unwrap();
                self.columns = chosen;
            }
            Change::Rename(index) => {
                let index = index.index(self.columns.len());
                let to = format!("r{fresh}");
                self.dataset = self.dataset.rename(&self.columns[index].0, &to).unwrap();
                self.columns[index].0 = to;
            }
        }
    }

    fn check(&self, seed: u64) {
        let dataset = &self.dataset;
        assert_eq!(dataset.len(), self.len() as u64);
        let names: Vec<_> = dataset.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, self.columns.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
        for (name, values) in &self.columns {
            assert_eq!(loaded(dataset, name), *values, "column {name}");
        }
        let order = Order::new(dataset.len(), Shuffle::Exact, seed).epoch(0);
        let loader = Loader::builder(dataset)
            .batch_size(7)
            .shuffle(Shuffle::Exact)
            .seed(seed)
            .threads(1)
            .build()
            .unwrap();
        let mut position = 0;
        for batch in loader {
            let batch = batch.unwrap();
            let rows: Vec<_> = (position..).take(batch.num_rows()).map(|p| order.get(p)).collect();
            position += batch.num_rows() as u64;
            for (name, values) in &self.columns {
                let expected: Vec<_> = rows.iter().map(|&row| values[row as usize]).collect();
                assert_eq!(batch.tensor::<i64>(name).unwrap().as_slice(), expected, "column {name}");
            }
            assert_eq!(batch.record_batch().unwrap(), dataset.gather(&rows).unwrap());
        }
        assert_eq!(position, dataset.len());
    }
}

fn dataset_of(columns: &[(String, Vec<i64>)]) -> Dataset {
    let mut columns =
        columns.iter().map(|(name, values)| Dataset::from_tensor(name, &[], values.clone()).unwrap());
    let first = columns.next().unwrap();
    columns.fold(first, |all, column| all.zip(&column).unwrap())
}

/// The column `name` in the order of the dataset.
fn loaded(dataset: &Dataset, name: &str) -> Vec<i64> {
    let loader = Loader::builder(dataset).columns([name]).batch_size(16).threads(0).build().unwrap();
    loader.flat_map(|batch| batch.unwrap().tensor::<i64>(name).unwrap().as_slice().to_vec()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn datasets_compose_as_vectors_do(
        n in 0i64..80,
        changes in prop::collection::vec(changes(), 0..7),
        seed in any::<u64>(),
    ) {
        let mut both = Both::new(n);
        for change in &changes {
            both.change(change);
        }
        both.check(seed);
    }
}

#[test]
fn datasets_that_do_not_fit_together_are_refused() {
    let (three, four) = (numbers(3), numbers(4));
    assert_eq!(three.zip(&four.rename("row", "x").unwrap()).unwrap_err().kind(), ErrorKind::Mismatch);
    assert_eq!(three.zip(&three).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(three.concat(&four.rename("row", "x").unwrap()).unwrap_err().kind(), ErrorKind::Mismatch);
    let other = Dataset::from_tensor("row", &[], vec![1i64]).unwrap();
    assert_eq!(three.concat(&other).unwrap_err().kind(), ErrorKind::Mismatch);
    assert!(three.subset(&[3]).unwrap_err().message().contains("below 3, found 3"));
    assert!(three.split(1.5, 0).unwrap_err().message().contains("1.5"));
    assert!(three.select(["x"]).unwrap_err().message().contains("'x'"));
    let both = three.zip(&three.rename("row", "x").unwrap()).unwrap();
    assert!(both.rename("x", "row").unwrap_err().message().contains("'row'"));
}
