//! Promise 2 over several ranks: they go through an epoch as one, whatever the options, and another number of them goes on
//! where they were.

use std::collections::BTreeMap;
use std::process::Command;

use forebay::sampler::{Audit, Interleaving, Order, Steps};
use forebay::{
    Batch, Dataset, Loader, LoaderBuilder, LoaderState, Mixture, Partition, Remainder, Result, Shuffle,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Random configurations; `FOREBAY_CONFIGURATIONS` says how many, and with `FOREBAY_EVERY_BATCH` each goes on from every batch,
/// rather than from one.
const CONFIGURATIONS: u64 = 1000;

fn numbers(n: u64) -> Dataset {
    Dataset::from_tensor("x", &[], (0..n).collect()).unwrap()
}

/// The rows of a batch, without its padding.
fn rows(batch: &Batch) -> Vec<u64> {
    batch.tensor::<u64>("x").unwrap().as_slice()[..batch.num_rows()].to_vec()
}

/// Components of so many rows and such a weight each, which hold the numbers a mixture gives their rows.
fn mixed(parts: &[(u64, u64)], n: u64) -> Mixture {
    let mut builder = Mixture::builder().rows_per_epoch(n);
    let mut first = 0;
    for (number, &(len, weight)) in parts.iter().enumerate() {
        let part = Dataset::from_tensor("x", &[], (first..first + len).collect()).unwrap();
        builder = builder.add(number.to_string(), &part, weight);
        first += len;
    }
    builder.build().unwrap()
}

/// What a case goes through.
enum Data {
    One(Dataset),
    Mixed(Mixture),
}

#[derive(Clone, Debug)]
struct Case {
    /// Rows in an epoch.
    n: u64,
    /// Rows and weights of the components, if it is a mixture.
    mixture: Vec<(u64, u64)>,
    batch_size: usize,
    world: u32,
    shuffle: Shuffle,
    remainder: Remainder,
    epochs: u64,
    seed: u64,
}

impl Case {
    fn draw(dice: &mut StdRng) -> Self {
        let shuffle = match dice.random_range(0..4) {
            0 => Shuffle::None,
            1 => Shuffle::Exact,
            _ => Shuffle::Block { rows: dice.random_range(1..12), blocks: dice.random_range(1..5) },
        };
        let mixture: Vec<_> = match dice.random_range(0..3) {
            0 => (0..dice.random_range(1..5))
                .map(|_| (dice.random_range(1..30), dice.random_range(1..6)))
                .collect(),
            _ => Vec::new(),
        };
        Case {
            n: dice.random_range(u64::from(!mixture.is_empty())..60),
            mixture,
            batch_size: dice.random_range(1..9),
            world: dice.random_range(1..5),
            shuffle,
            remainder: [Remainder::Drop, Remainder::Keep, Remainder::Pad][dice.random_range(0..3)],
            epochs: dice.random_range(1..4),
            seed: dice.random(),
        }
    }

    fn global_batch(&self) -> u64 {
        self.batch_size as u64 * u64::from(self.world)
    }

    fn data(&self) -> Data {
        if self.mixture.is_empty() {
            Data::One(numbers(self.n))
        } else {
            Data::Mixed(mixed(&self.mixture, self.n))
        }
    }

    fn builder(&self, data: &Data, rank: u32) -> LoaderBuilder {
        let builder = match data {
            Data::One(dataset) => Loader::builder(dataset),
            Data::Mixed(mixture) => Loader::mixture(mixture),
        };
        builder
            .batch_size(self.batch_size)
            .shuffle(self.shuffle)
            .seed(self.seed)
            .remainder(self.remainder)
            .epochs(self.epochs)
            .partition(Partition::new(rank, self.world).unwrap())
    }

    /// The global batches, from the order alone.
    fn expected(&self) -> Vec<Vec<u64>> {
        let order = if self.mixture.is_empty() {
            Order::new(self.n, self.shuffle, self.seed)
        } else {
            let (lens, weights): (Vec<u64>, Vec<u64>) = self.mixture.iter().copied().unzip();
            let turns = Interleaving::new(&weights).unwrap();
            Order::mixture(&turns, &lens, self.n, self.shuffle, self.seed)
        };
        let global = Steps::new(self.n, self.global_batch(), self.remainder).unwrap();
        let steps = (0..self.epochs).flat_map(|epoch| (0..global.len()).map(move |step| (epoch, step)));
        steps
            .map(|(epoch, step)| {
                global.positions(step).map(|position| order.epoch(epoch).get(position)).collect()
            })
            .collect()
    }
}

fn batches(loader: Loader) -> Vec<Batch> {
    loader.collect::<Result<_>>().unwrap()
}

/// What the ranks of a case deliver after `states`, those of all ranks that were there before. In each epoch it is, together
/// with what those delivered, the whole of it.
fn rest(case: &Case, data: &Data, states: &[LoaderState], dice: &mut StdRng) -> Vec<Vec<Vec<u64>>> {
    // For each epoch, what was delivered, and what the whole must give.
    let mut audits = BTreeMap::<u64, (Audit, Audit)>::new();
    // Any rank's state will do.
    let state = &states[dice.random_range(0..states.len())];
    let same_world = states.len() as u32 == case.world;
    let mut all = Vec::new();
    for rank in 0..case.world {
        let state = if same_world { &states[rank as usize] } else { state };
        let state = LoaderState::from_json(&state.to_json()).unwrap();
        let builder = case.builder(data, rank).threads(dice.random_range(0..2)).resume(&state);
        let mut loader = builder.build().unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = loader.next() {
            seen.push(rows(&batch.unwrap()));
            let (epoch, of_rank, of_all) = loader.audit();
            if loader.state().step() == 0 {
                audits.entry(epoch).or_insert((Audit::default(), of_all)).0.merge(of_rank);
            }
        }
        all.push(seen);
    }
    if let Some((delivered, _)) = audits.get_mut(&state.epoch()).filter(|_| !same_world) {
        states.iter().for_each(|state| delivered.merge(state.audit()));
    }
    for (epoch, (delivered, of_all)) in audits {
        delivered.check(of_all).unwrap_or_else(|error| panic!("{case:?}: epoch {epoch}: {error}"));
    }
    all
}

/// Batches of all ranks, laid side by side: one list of rows for each step.
fn joined(ranks: &[Vec<Vec<u64>>]) -> Vec<Vec<u64>> {
    (0..ranks[0].len()).map(|step| ranks.iter().flat_map(|rank| rank[step].clone()).collect()).collect()
}

#[test]
fn random_configurations_deliver_each_epoch_once_and_go_on_from_every_batch() {
    let configurations = std::env::var("FOREBAY_CONFIGURATIONS").ok().and_then(|text| text.parse().ok());
    let every_batch = std::env::var_os("FOREBAY_EVERY_BATCH").is_some();
    let mut dice = StdRng::seed_from_u64(3);
    for _ in 0..configurations.unwrap_or(CONFIGURATIONS) {
        let case = Case::draw(&mut dice);
        let (data, expected) = (case.data(), case.expected());
        let mut delivered = Audit::default();
        let mut all = Vec::new();
        // The states of all ranks after each batch.
        let mut states: Vec<Vec<LoaderState>> = Vec::new();
        for rank in 0..case.world {
            let threads = dice.random_range(0..3);
            let mut loader = case.builder(&data, rank).threads(threads).build().unwrap();
            let (mut seen, mut after) = (Vec::new(), vec![loader.state()]);
            while let Some(batch) = loader.next() {
                let batch = batch.unwrap();
                assert!(batch.num_rows() <= case.batch_size, "{case:?}");
                if case.remainder == Remainder::Pad {
                    assert_eq!(batch.len(), case.batch_size, "{case:?}");
                }
                seen.push(rows(&batch));
                after.push(loader.state());
            }
            assert_eq!(seen.len(), expected.len(), "{case:?}: every rank makes as many steps");
            if !expected.is_empty() {
                let (epoch, of_rank, of_all) = loader.audit();
                assert_eq!(epoch, case.epochs - 1);
                delivered.merge(of_rank);
                if rank + 1 == case.world {
                    delivered.check(of_all).unwrap_or_else(|error| panic!("{case:?}: {error}"));
                }
            }
            all.push(seen);
            states.push(after);
        }
        assert_eq!(joined(&all), expected, "{case:?}");

        // From a batch, with other threads, and other ranks where the global batch is cut anew.
        let step = dice.random_range(0..=expected.len());
        let worlds = (1..=case.global_batch())
            .filter(|world| case.global_batch().is_multiple_of(*world))
            .collect::<Vec<_>>();
        let world = worlds[dice.random_range(0..worlds.len())] as u32;
        let recut =
            Case { world, batch_size: (case.global_batch() / u64::from(world)) as usize, ..case.clone() };
        for step in if every_batch { 0..=expected.len() } else { step..=step } {
            let states: Vec<_> = states.iter().map(|after| after[step].clone()).collect();
            for (case, what) in [(&case, "the same ranks"), (&recut, "other ranks")] {
                let rest = rest(case, &data, &states, &mut dice);
                assert_eq!(joined(&rest), expected[step..], "{case:?}: {what} go on from step {step}");
            }
        }
    }
}

#[test]
fn every_batch_of_an_epoch_is_a_place_to_go_on_from() {
    for shuffle in [Shuffle::None, Shuffle::Exact, Shuffle::Block { rows: 7, blocks: 3 }] {
        for remainder in [Remainder::Drop, Remainder::Keep, Remainder::Pad] {
            let mixture = if remainder == Remainder::Keep { vec![(40, 3), (9, 2)] } else { Vec::new() };
            let case =
                Case { n: 101, mixture, batch_size: 5, world: 3, shuffle, remainder, epochs: 2, seed: 1 };
            let (data, expected) = (case.data(), case.expected());
            for step in 0..=expected.len() {
                let mut loader = case.builder(&data, 1).threads(1).build().unwrap();
                loader.by_ref().take(step).for_each(|batch| drop(batch.unwrap()));
                let state = loader.state();
                let rest: Vec<Vec<Vec<u64>>> = (0..case.world)
                    .map(|rank| {
                        let loader = case.builder(&data, rank).threads(0).resume(&state).build().unwrap();
                        batches(loader).iter().map(rows).collect()
                    })
                    .collect();
                assert_eq!(joined(&rest), expected[step..], "{case:?}, step {step}");
            }
        }
    }
}

#[test]
fn a_state_of_another_global_batch_is_refused() {
    let case = Case {
        n: 100,
        mixture: Vec::new(),
        batch_size: 4,
        world: 3,
        shuffle: Shuffle::None,
        remainder: Remainder::Keep,
        epochs: 1,
        seed: 0,
    };
    let data = case.data();
    let state = case.builder(&data, 2).build().unwrap().state();
    let error = Case { world: 2, ..case }.builder(&data, 0).resume(&state).build().unwrap_err();
    assert_eq!(
        error.message(),
        "the state was taken with batch_size 12 on 3 ranks together, and this loader has 8 on 2 ranks together"
    );
}

/// What one rank prints: run in a process of its own by the test below, and nothing else.
#[test]
fn as_a_rank() {
    if std::env::var_os("FOREBAY_TEST_AS_A_RANK").is_none() {
        return;
    }
    let data = numbers(1000);
    let builder = Loader::builder(&data).batch_size(7).shuffle(Shuffle::Exact).seed(9).epochs(2);
    for batch in builder.partition(Partition::from_env().unwrap()).build().unwrap() {
        println!("rows {:?}", rows(&batch.unwrap()));
    }
}

#[test]
fn processes_of_their_own_share_an_epoch() {
    let variables = [
        ("RANK", "WORLD_SIZE"),
        ("SLURM_PROCID", "SLURM_NTASKS"),
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
    ];
    for (rank_variable, world_variable) in variables {
        let world = 3;
        let processes: Vec<_> = (0..world)
            .map(|rank: u32| {
                let mut command = Command::new(std::env::current_exe().unwrap());
                command.args(["--exact", "as_a_rank", "--nocapture"]).env("FOREBAY_TEST_AS_A_RANK", "1");
                for (rank, world) in variables {
                    command.env_remove(rank).env_remove(world);
                }
                command.env(rank_variable, rank.to_string()).env(world_variable, world.to_string());
                command.stdout(std::process::Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let all: Vec<Vec<Vec<u64>>> = processes
            .into_iter()
            .map(|process| {
                let output = process.wait_with_output().unwrap();
                assert!(output.status.success());
                let text = String::from_utf8(output.stdout).unwrap();
                let lines = text.lines().filter_map(|line| line.split_once("rows ["));
                let numbers =
                    lines.map(|(_, list)| list.trim_end_matches(']').split(", ").map(|n| n.parse().unwrap()));
                numbers.map(Iterator::collect).collect()
            })
            .collect();
        let case = Case {
            n: 1000,
            mixture: Vec::new(),
            batch_size: 7,
            world,
            shuffle: Shuffle::Exact,
            remainder: Remainder::Keep,
            epochs: 2,
            seed: 9,
        };
        assert_eq!(joined(&all), case.expected(), "by {rank_variable}");
    }
}
