//! An entry of `expected.json`, which remembers what was looked at, so that nothing it tells goes unchecked.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::thread;

use serde_json::{Map, Value};

/// The files of `format`, and what is expected of each.
pub fn files_of<'a>(expected: &'a Value, format: &str) -> Vec<(&'a str, &'a Value)> {
    let files = expected["files"].as_object().unwrap().iter();
    let files: Vec<_> = files.filter(|(_, entry)| entry["format"] == format).collect();
    assert!(!files.is_empty(), "no file is of format {format}");
    files.into_iter().map(|(path, entry)| (path.as_str(), entry)).collect()
}

/// What is told of a file or a part of it. Panics when it is dropped before everything was looked at.
pub struct Told<'a> {
    of: String,
    told: &'a Map<String, Value>,
    seen: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Told<'a> {
    pub fn new(of: impl Into<String>, told: &'a Value) -> Self {
        let of = of.into();
        let told = told.as_object().unwrap_or_else(|| panic!("{of}: {told} is no object"));
        Told { of, told, seen: RefCell::default() }
    }

    /// What it is told of, for messages.
    pub fn of(&self) -> &str {
        &self.of
    }

    /// What is told under `key`, if anything is.
    pub fn maybe(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.told.get_key_value(key)?;
        self.seen.borrow_mut().insert(key);
        Some(value)
    }

    /// What is told under `key`.
    pub fn get(&self, key: &str) -> &'a Value {
        self.maybe(key).unwrap_or_else(|| panic!("{}: nothing is told of {key}", self.of))
    }

    pub fn number(&self, key: &str) -> u64 {
        self.get(key).as_u64().unwrap()
    }

    pub fn text(&self, key: &str) -> &'a str {
        self.get(key).as_str().unwrap()
    }

    pub fn list(&self, key: &str) -> &'a [Value] {
        self.get(key).as_array().unwrap()
    }

    /// The parts under `key`, by name.
    pub fn parts(&self, key: &str) -> impl Iterator<Item = (&'a str, Told<'a>)> {
        let parts = self.get(key).as_object().unwrap().iter();
        parts.map(move |(name, part)| (name.as_str(), Told::new(format!("{}, {name}", self.of), part)))
    }

    /// Passes over `keys`: they say nothing of the rows.
    pub fn pass_over(&self, keys: &[&str]) {
        self.seen.borrow_mut().extend(self.told.keys().map(String::as_str).filter(|key| keys.contains(key)));
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        let seen = self.seen.borrow();
        let unseen: Vec<_> = self.told.keys().filter(|key| !seen.contains(key.as_str())).collect();
        assert!(thread::panicking() || unseen.is_empty(), "{}: not looked at: {unseen:?}", self.of);
    }
}
