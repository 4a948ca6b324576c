//! Values set aside between two threads: the classic staging areas.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};

/// A value, and how many bytes it took when it was put in.
type Weighed<T> = (T, usize);

/// How much an area holds at the most.
struct Limits<T> {
    values: usize,
    bytes: usize,
    size: Box<dyn Fn(&T) -> usize + Send + Sync>,
}

impl<T> Limits<T> {
    fn none() -> Self {
        Limits { values: usize::MAX, bytes: usize::MAX, size: Box::new(|_| 0) }
    }

    /// Whether a value of `bytes` bytes has to wait while `values` values of `held` bytes are inside. A value too large
    /// for any room gets in when there is nothing else.
    fn are_met(&self, values: usize, held: usize, bytes: usize) -> bool {
        values > 0 && (values >= self.values || held.saturating_add(bytes) > self.bytes)
    }
}

/// A buffer of values in the order in which they were put: `put` waits while it is full, `get` and `peek` while what they
/// ask for is not there yet.
///
/// ```
/// use forebay::coordinator::StagingArea;
///
/// let area = StagingArea::new().capacity(2);
/// area.put("first")?;
/// area.put("second")?;
/// assert_eq!(area.peek(1)?, "second");
/// assert_eq!(area.get()?, "first");
/// assert_eq!(area.size(), 1);
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct StagingArea<T> {
    limits: Limits<T>,
    inside: Mutex<Inside<T>>,
    changed: Condvar,
}

struct Inside<T> {
    values: VecDeque<Weighed<T>>,
    bytes: usize,
    cancelled: bool,
}

impl<T> StagingArea<T> {
    /// An empty area without limits.
    pub fn new() -> Self {
        StagingArea {
            limits: Limits::none(),
            inside: Mutex::new(Inside { values: VecDeque::new(), bytes: 0, cancelled: false }),
            changed: Condvar::new(),
        }
    }

    /// How many values there is room for.
    ///
    /// # Panics
    ///
    /// For none.
    #[must_use]
    pub fn capacity(mut self, values: usize) -> Self {
        assert!(values > 0, "the capacity of a staging area must be at least 1, got 0");
        self.limits.values = values;
        self
    }

    /// How many bytes there is room for, where `size` says how many a value takes when it is put in.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize, size: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        (self.limits.bytes, self.limits.size) = (bytes, Box::new(size));
        self
    }

    /// Puts `value` last; waits for room.
    ///
    /// # Errors
    ///
    /// `Cancelled` once the area is cancelled.
    pub fn put(&self, value: T) -> Result<()> {
        let bytes = (self.limits.size)(&value);
        let mut inside =
            self.wait_while(|inside| self.limits.are_met(inside.values.len(), inside.bytes, bytes))?;
        inside.bytes = inside.bytes.saturating_add(bytes);
        inside.values.push_back((value, bytes));
        drop(inside);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the first value; waits for one.
    ///
    /// # Errors
    ///
    /// `Cancelled` once the area is cancelled.
    pub fn get(&self) -> Result<T> {
        let mut inside = self.wait_while(|inside| inside.values.is_empty())?;
        let (value, bytes) = inside.values.pop_front().expect("waited for");
        inside.bytes -= bytes.min(inside.bytes);
        drop(inside);
        self.changed.notify_all();
        Ok(value)
    }

    /// A copy of the value at `index`, counted from the first; waits until there is one. The value stays.
    ///
    /// # Errors
    ///
    /// `Cancelled` once the area is cancelled.
    pub fn peek(&self, index: usize) -> Result<T>
    where
        T: Clone,
    {
        Ok(self.wait_while(|inside| inside.values.len() <= index)?.values[index].0.clone())
    }

    /// Ends every call that waits, and every later one that puts or takes.
    pub fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_all();
    }

    /// How many values are inside.
    pub fn size(&self) -> usize {
        self.lock().values.len()
    }

    /// Drops all values.
    pub fn clear(&self) {
        let mut inside = self.lock();
        let values = std::mem::take(&mut inside.values);
        inside.bytes = 0;
        drop(inside);
        self.changed.notify_all();
        drop(values);
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        // The functions that run under the lock leave nothing half done when they panic.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, mut condition: impl FnMut(&Inside<T>) -> bool) -> Result<MutexGuard<'_, Inside<T>>> {
        let waited = self.changed.wait_while(self.lock(), |inside| !inside.cancelled && condition(inside));
        let inside = waited.unwrap_or_else(PoisonError::into_inner);
        if inside.cancelled { Err(cancelled()) } else { Ok(inside) }
    }
}

impl<T> Default for StagingArea<T> {
    fn default() -> Self {
        StagingArea::new()
    }
}

impl<T> fmt::Debug for StagingArea<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagingArea").field("size", &self.size()).finish_non_exhaustive()
    }
}

/// A buffer of keyed values of several components, which may be put and taken apart. `get` and `peek` wait for the key.
///
/// An entry is complete when each of its components was put; until then nobody sees it.
///
/// ```
/// use forebay::coordinator::MapStagingArea;
///
/// let area = MapStagingArea::new(["image", "label"]);
/// area.put(7, [("image", 0.5)])?;
/// assert_eq!((area.size(), area.incomplete_size()), (0, 1));
/// area.put(7, [("label", 1.0)])?;
/// assert_eq!(area.get(&7, &["label"])?, [1.0]);
/// assert_eq!(area.get(&7, &["image"])?, [0.5]);
/// assert_eq!(area.size(), 0);
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct MapStagingArea<K, T> {
    components: Vec<String>,
    limits: Limits<T>,
    entries: Mutex<Entries<K, T>>,
    changed: Condvar,
}

struct Entries<K, T> {
    /// In the order of their keys.
    complete: BTreeMap<K, Vec<Option<Weighed<T>>>>,
    incomplete: BTreeMap<K, Vec<Option<Weighed<T>>>>,
    bytes: usize,
    cancelled: bool,
}

impl<K: Ord + Clone + fmt::Debug, T> MapStagingArea<K, T> {
    /// An empty area without limits, for values of the components named.
    pub fn new(components: impl IntoIterator<Item = impl Into<String>>) -> Self {
        MapStagingArea {
            components: components.into_iter().map(Into::into).collect(),
            limits: Limits::none(),
            entries: Mutex::new(Entries {
                complete: BTreeMap::new(),
                incomplete: BTreeMap::new(),
                bytes: 0,
                cancelled: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// How many entries there is room for.
    ///
    /// # Panics
    ///
    /// For none.
    #[must_use]
    pub fn capacity(mut self, entries: usize) -> Self {
        assert!(entries > 0, "the capacity of a staging area must be at least 1, got 0");
        self.limits.values = entries;
        self
    }

    /// How many bytes there is room for, where `size` says how many a component takes when it is put in.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize, size: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        (self.limits.bytes, self.limits.size) = (bytes, Box::new(size));
        self
    }

    /// Puts components of the entry `key`; waits for room where the entry is new.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a component the area does not have, one that is there already, and a key that is complete;
    /// `Cancelled` once the area is cancelled.
    pub fn put(&self, key: K, components: impl IntoIterator<Item = (impl AsRef<str>, T)>) -> Result<()> {
        let mut put = Vec::new();
        for (name, value) in components {
            let index = self.component(name.as_ref())?;
            if put.iter().any(|(other, _): &(usize, Weighed<T>)| *other == index) {
                return Err(Error::invalid(format!("component '{}' is put twice", name.as_ref())));
            }
            let bytes = (self.limits.size)(&value);
            put.push((index, (value, bytes)));
        }
        let bytes = put.iter().fold(0usize, |sum, (_, (_, bytes))| sum.saturating_add(*bytes));
        let mut entries = self.wait_while(|entries| {
            let values = entries.complete.len() + entries.incomplete.len();
            !entries.incomplete.contains_key(&key)
                && !entries.complete.contains_key(&key)
                && self.limits.are_met(values, entries.bytes, bytes)
        })?;
        if entries.complete.contains_key(&key) {
            return Err(Error::invalid(format!("the key {key:?} is in the staging area already")));
        }
        let known = entries.incomplete.get(&key);
        if let Some(&(twice, _)) =
            put.iter().find(|(index, _)| known.is_some_and(|known| known[*index].is_some()))
        {
            let name = &self.components[twice];
            return Err(Error::invalid(format!("component '{name}' of the key {key:?} is there already")));
        }
        let entry = entries
            .incomplete
            .entry(key.clone())
            .or_insert_with(|| self.components.iter().map(|_| None).collect());
        put.into_iter().for_each(|(index, value)| entry[index] = Some(value));
        if entry.iter().all(Option::is_some) {
            let entry = entries.incomplete.remove(&key).expect("put above");
            entries.complete.insert(key, entry);
        }
        entries.bytes = entries.bytes.saturating_add(bytes);
        drop(entries);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes the components named of the entry `key`; waits until the entry is complete. With the last component the
    /// entry is gone.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a component the area does not have, or one that was taken before; `Cancelled` once the
    /// area is cancelled.
    pub fn get(&self, key: &K, components: &[&str]) -> Result<Vec<T>> {
        let indices = self.indices(components)?;
        let mut entries = self.wait_while(|entries| !entries.complete.contains_key(key))?;
        let taken = self.take(&mut entries, key, &indices)?;
        drop(entries);
        self.changed.notify_all();
        Ok(taken)
    }

    /// Takes the entry of the smallest key, whole; waits for one.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if a component of it was taken before; `Cancelled` once the area is cancelled.
    pub fn get_first(&self) -> Result<(K, Vec<T>)> {
        let mut entries = self.wait_while(|entries| entries.complete.is_empty())?;
        let key = entries.complete.keys().next().expect("waited for").clone();
        let all: Vec<_> = (0..self.components.len()).collect();
        let taken = self.take(&mut entries, &key, &all)?;
        drop(entries);
        self.changed.notify_all();
        Ok((key, taken))
    }

    /// A copy of the components named of the entry `key`; waits until the entry is complete. They stay.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn peek(&self, key: &K, components: &[&str]) -> Result<Vec<T>>
    where
        T: Clone,
    {
        let indices = self.indices(components)?;
        let entries = self.wait_while(|entries| !entries.complete.contains_key(key))?;
        self.check(&entries, key, &indices)?;
        let entry = &entries.complete[key];
        Ok(indices
            .iter()
            .filter_map(|&index| entry[index].as_ref())
            .map(|(value, _)| value.clone())
            .collect())
    }

    /// Ends every call that waits, and every later one that puts or takes.
    pub fn cancel(&self) {
        self.lock().cancelled = true;
        self.changed.notify_all();
    }

    /// How many entries are complete.
    pub fn size(&self) -> usize {
        self.lock().complete.len()
    }

    /// How many entries wait for a component.
    pub fn incomplete_size(&self) -> usize {
        self.lock().incomplete.len()
    }

    /// Drops all entries.
    pub fn clear(&self) {
        let mut entries = self.lock();
        let dropped = (std::mem::take(&mut entries.complete), std::mem::take(&mut entries.incomplete));
        entries.bytes = 0;
        drop(entries);
        self.changed.notify_all();
        drop(dropped);
    }

    fn take(&self, entries: &mut Entries<K, T>, key: &K, indices: &[usize]) -> Result<Vec<T>> {
        self.check(entries, key, indices)?;
        let entry = entries.complete.get_mut(key).expect("waited for");
        let taken: Vec<Weighed<T>> = indices.iter().filter_map(|&index| entry[index].take()).collect();
        if entry.iter().all(Option::is_none) {
            entries.complete.remove(key);
        }
        let bytes = taken.iter().fold(0usize, |sum, (_, bytes)| sum.saturating_add(*bytes));
        entries.bytes -= bytes.min(entries.bytes);
        Ok(taken.into_iter().map(|(value, _)| value).collect())
    }

    /// That none of the components was taken from the entry, which is there.
    fn check(&self, entries: &Entries<K, T>, key: &K, indices: &[usize]) -> Result<()> {
        match indices.iter().find(|&&index| entries.complete[key][index].is_none()) {
            None => Ok(()),
            Some(&taken) => {
                let name = &self.components[taken];
                Err(Error::invalid(format!("component '{name}' of the key {key:?} was taken before")))
            }
        }
    }

    fn indices(&self, components: &[&str]) -> Result<Vec<usize>> {
        let mut indices = Vec::with_capacity(components.len());
        for name in components {
            let index = self.component(name)?;
            if indices.contains(&index) {
                return Err(Error::invalid(format!("component '{name}' is asked for twice")));
            }
            indices.push(index);
        }
        Ok(indices)
    }

    fn component(&self, name: &str) -> Result<usize> {
        self.components.iter().position(|component| component == name).ok_or_else(|| {
            Error::invalid(format!(
                "no component is called '{name}': the staging area has {}",
                self.components.join(", ")
            ))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, T>> {
        // The functions that run under the lock leave nothing half done when they panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        mut condition: impl FnMut(&Entries<K, T>) -> bool,
    ) -> Result<MutexGuard<'_, Entries<K, T>>> {
        let waited = self.changed.wait_while(self.lock(), |entries| !entries.cancelled && condition(entries));
        let entries = waited.unwrap_or_else(PoisonError::into_inner);
        if entries.cancelled { Err(cancelled()) } else { Ok(entries) }
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the staging area was cancelled")
}

impl<K: Ord + Clone + fmt::Debug, T> fmt::Debug for MapStagingArea<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapStagingArea")
            .field("components", &self.components)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
