//! One rank's share of the rows.
#![forbid(unsafe_code)]

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Result};

/// Which of several processes that train together this one is: rank `rank` of `world`.
///
/// Together they go through the dataset as one: in each step every rank takes its slice of the *global* batch, which is
/// `world` batches long. So every rank makes as many steps, no row is taken by two, and with the same global batch the
/// sequence of global batches does not depend on how many ranks there are.
///
/// ```
/// use forebay::Partition;
///
/// let partition = Partition::new(1, 4)?;
/// assert_eq!((partition.rank(), partition.world()), (1, 4));
/// assert!(Partition::new(4, 4).is_err());
/// # Ok::<(), forebay::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    rank: u32,
    world: u32,
}

/// The variables in which launchers say who a process is: rank and world, and whose they are.
const VARIABLES: [(&str, &str, &str); 4] = [
    ("RANK", "WORLD_SIZE", "torchrun"),
    ("SLURM_PROCID", "SLURM_NTASKS", "Slurm"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "Open MPI"),
    ("PMI_RANK", "PMI_SIZE", "MPICH, Intel MPI"),
];

impl Default for Partition {
    /// The only process.
    fn default() -> Self {
        Partition { rank: 0, world: 1 }
    }
}

impl Partition {
    /// Rank `rank`, counted from 0, of `world` ranks.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if there is no such rank.
    pub fn new(rank: u32, world: u32) -> Result<Self> {
        if rank >= world {
            return Err(Error::invalid(format!(
                "expected a rank below the number of ranks, found rank {rank} of {world}"
            )));
        }
        Ok(Partition { rank, world })
    }

    /// What the launcher of this process says, in environment variables: torchrun (`RANK`, `WORLD_SIZE`), Slurm
    /// (`SLURM_PROCID`, `SLURM_NTASKS`), Open MPI (`OMPI_COMM_WORLD_RANK`, `OMPI_COMM_WORLD_SIZE`), MPICH and Intel MPI
    /// (`PMI_RANK`, `PMI_SIZE`); the first of these that is there. Without any, the only process.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if one of a pair is there without the other, or they are no rank and number of ranks: it names
    /// them.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        for (rank_name, world_name, launcher) in VARIABLES {
            let missing = |there: &str, name: &str| {
                Err(Error::invalid(format!("{there} is set and {name} is not: {launcher} sets both")))
            };
            let (rank, world) = match (variable(rank_name), variable(world_name)) {
                (None, None) => continue,
                (Some(_), None) => return missing(rank_name, world_name),
                // A shell that Slurm allocated says how many tasks there will be, and is none of them.
                (None, Some(_)) if launcher == "Slurm" => continue,
                (None, Some(_)) => return missing(world_name, rank_name),
                (Some(rank), Some(world)) => (rank, world),
            };
            let number = |name: &str, text: &str| {
                let bad = |_| Error::invalid(format!("expected a number in {name}, found '{text}'"));
                text.trim().parse::<u32>().map_err(bad)
            };
            let (rank, world) = (number(rank_name, &rank)?, number(world_name, &world)?);
            return Self::new(rank, world)
                .map_err(|error| Error::invalid(format!("{rank_name}, {world_name}: {}", error.message())));
        }
        Ok(Partition::default())
    }

    /// The number of this rank, counted from 0.
    pub fn rank(self) -> u32 {
        self.rank
    }

    /// How many ranks there are.
    pub fn world(self) -> u32 {
        self.world
    }

    /// This rank's slice of the positions `global`, those of one global batch: as long as that of every other rank, or
    /// one position longer.
    #[inline]
    pub(super) fn slice(self, global: Range<u64>) -> Range<u64> {
        let len = u128::from(global.end - global.start);
        // Below 2⁶⁴ each, since the rank is at most the world.
        let cut = |rank: u32| (len * u128::from(rank) / u128::from(self.world)) as u64;
        global.start + cut(self.rank)..global.start + cut(self.rank + 1)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.world)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Partition> {
        Partition::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn every_launcher_is_understood() {
        assert_eq!(from(&[]).unwrap(), Partition::default());
        for (rank, world, _) in VARIABLES {
            assert_eq!(from(&[(rank, "2"), (world, " 5 ")]).unwrap(), Partition { rank: 2, world: 5 });
        }
        let both = [("SLURM_PROCID", "1"), ("SLURM_NTASKS", "2"), ("RANK", "3"), ("WORLD_SIZE", "4")];
        assert_eq!(from(&both).unwrap(), Partition { rank: 3, world: 4 }, "torchrun under Slurm");
        assert_eq!(from(&[("SLURM_NTASKS", "8")]).unwrap(), Partition::default(), "a shell of Slurm");
    }

    #[test]
    fn half_a_pair_and_nonsense_are_refused_by_name() {
        for (variables, words) in [
            (&[("RANK", "0")][..], "RANK is set and WORLD_SIZE is not: torchrun sets both"),
            (&[("WORLD_SIZE", "2")], "WORLD_SIZE is set and RANK is not"),
            (&[("PMI_RANK", "x"), ("PMI_SIZE", "2")], "expected a number in PMI_RANK, found 'x'"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "RANK, WORLD_SIZE: expected a rank below"),
            (&[("RANK", "0"), ("WORLD_SIZE", "0")], "found rank 0 of 0"),
            (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "expected a number in RANK"),
        ] {
            let error = from(variables).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }

    #[test]
    fn slices_follow_one_another_and_differ_by_one_at_most() {
        for world in [1, 2, 3, 7, 64, u32::MAX] {
            for len in [0, 1, 2, 5, 63, 64, 1000, u64::MAX - 9] {
                let mut end = 9;
                for rank in (0..world).take(64) {
                    let slice = Partition { rank, world }.slice(9..9 + len);
                    assert_eq!(slice.start, end);
                    end = slice.end;
                    let share = len / u64::from(world);
                    assert!((share..=share + 1).contains(&(slice.end - slice.start)));
                }
                assert_eq!(Partition { rank: world - 1, world }.slice(9..9 + len).end, 9 + len);
            }
        }
    }
}
