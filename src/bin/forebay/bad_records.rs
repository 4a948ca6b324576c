//! What becomes of records that cannot be read, as the command line says it.
#![forbid(unsafe_code)]

use clap::{Args, ValueEnum};
use forebay::OnBadRecord;

#[derive(Args)]
pub struct BadRecordArgs {
    /// What becomes of a record that cannot be read.
    #[arg(long, value_enum, default_value_t = Policy::Fail, value_name = "POLICY")]
    on_bad_record: Policy,
    /// How many records may be left out; one more is an error.
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    max_bad_records: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// It is an error.
    Fail,
    /// It is left out and noted: by convert in bad-records.jsonl, by bench in what it prints.
    Skip,
}

impl BadRecordArgs {
    pub fn policy(&self) -> OnBadRecord {
        match self.on_bad_record {
            Policy::Fail => OnBadRecord::Fail,
            Policy::Skip => OnBadRecord::Skip { limit: self.max_bad_records },
        }
    }
}
