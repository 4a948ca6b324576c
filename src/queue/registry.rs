//! How do two parts of a program that know only a name find the same queue?
//!
//! By one table for the whole process, from names to queues and to what they were asked to be.
//!
//! # Invariants
//!
//! - The table keeps no queue alive: a name is held as long as anybody holds a handle of the queue, and is free after.
//! - No code of a queue or of its elements runs while the table is locked.
//! - Two who open the same name at once get the same queue.
//!
//! # Deliberately absent
//!
//! Containers of names; names across processes.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};
use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What a shared queue was asked to be, property by property, in words: its kind first.
///
/// ```
/// use forebay::queue::Spec;
///
/// let spec = Spec::new("FIFO queue").with("element type", "i64").with("capacity", 10);
/// assert_eq!(spec.to_string(), "FIFO queue, element type i64, capacity 10");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec(Vec<(&'static str, String)>);

impl Spec {
    /// A queue of this kind.
    pub fn new(kind: impl fmt::Display) -> Self {
        Spec(vec![("kind", kind.to_string())])
    }

    /// The same, whose `property` is `value`.
    #[must_use]
    pub fn with(mut self, property: &'static str, value: impl fmt::Display) -> Self {
        self.0.push((property, value.to_string()));
        self
    }

    /// The value of `property`.
    pub fn get(&self, property: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == property).map(|(_, value)| value.as_str())
    }

    /// The first property in which `asked` differs, and its value here and there.
    fn difference<'a>(&'a self, asked: &'a Spec) -> Option<(&'static str, &'a str, &'a str)> {
        let properties = self.0.iter().chain(&asked.0).map(|(property, _)| *property);
        let values = |property| {
            (self.get(property).unwrap_or("not given"), asked.get(property).unwrap_or("not given"))
        };
        properties
            .map(|property| (property, values(property)))
            .find_map(|(property, (here, there))| (here != there).then_some((property, here, there)))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (property, value)) in self.0.iter().enumerate() {
            match i {
                0 => f.write_str(value)?,
                _ => write!(f, ", {property} {value}")?,
            }
        }
        Ok(())
    }
}

struct Entry {
    spec: Spec,
    queue: Weak<dyn Any + Send + Sync>,
}

static TABLE: Mutex<BTreeMap<String, Entry>> = Mutex::new(BTreeMap::new());

fn table() -> MutexGuard<'static, BTreeMap<String, Entry>> {
    // What is done under the lock is done in one step each.
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    table.retain(|_, entry| entry.queue.strong_count() > 0);
    table
}

/// The spec and the queue that go by `name`.
fn find(name: &str) -> Option<(Spec, Arc<dyn Any + Send + Sync>)> {
    let table = table();
    let entry = table.get(name)?;
    Some((entry.spec.clone(), entry.queue.upgrade()?))
}

/// The queue that this process knows by `name`, which is what `spec` says; made by `make` if nobody holds one of that name.
///
/// It is forgotten when the last handle is dropped: the next to open the name makes a new one. The queues of this module have
/// a `shared` of their own; this is what it is made of, for others.
///
/// ```
/// use forebay::queue::{Spec, shared};
/// use std::sync::Mutex;
///
/// # fn main() -> forebay::Result<()> {
/// let spec = Spec::new("stack").with("element type", "u8");
/// let first = shared("plates", &spec, || Ok(Mutex::new(Vec::<u8>::new())))?;
/// let second = shared("plates", &spec, || Ok(Mutex::new(Vec::<u8>::new())))?;
/// first.lock().unwrap().push(7);
/// assert_eq!(second.lock().unwrap().pop(), Some(7));
///
/// let other = Spec::new("stack").with("element type", "u16");
/// let error = shared("plates", &other, || Ok(Mutex::new(Vec::<u16>::new()))).unwrap_err();
/// assert_eq!(error.message(), "the shared queue 'plates' has element type u8, but u16 was asked for");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if a queue of that name is there and its spec or its type differs.
/// What `make` fails with.
pub fn shared<Q: Any + Send + Sync>(
    name: &str,
    spec: &Spec,
    make: impl FnOnce() -> Result<Q>,
) -> Result<Arc<Q>> {
    if let Some((found, queue)) = find(name) {
        return same(name, &found, spec, queue);
    }
    let made: Arc<Q> = Arc::new(make()?);
    let mut table = table();
    if let Some(entry) = table.get(name)
        && let Some(queue) = entry.queue.upgrade()
    {
        // Somebody else was faster; ours is dropped after the lock.
        let found = entry.spec.clone();
        drop(table);
        return same(name, &found, spec, queue);
    }
    let queue: Arc<dyn Any + Send + Sync> = made.clone();
    table.insert(name.to_owned(), Entry { spec: spec.clone(), queue: Arc::downgrade(&queue) });
    Ok(made)
}

/// The queue that this process knows by `name`, whatever it was asked to be beside its type.
///
/// # Errors
///
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no queue of that name, or one of another type.
pub fn attach<Q: Any + Send + Sync>(name: &str) -> Result<Arc<Q>> {
    let Some((spec, queue)) = find(name) else {
        let known: Vec<String> = table().keys().map(|known| format!("'{known}'")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Error::invalid(format!("no shared queue is named '{name}'; there are: {known}")));
    };
    queue.downcast().map_err(|_| {
        let asked = type_name::<Q>();
        Error::invalid(format!("the shared queue '{name}' is a {spec}, but {asked} was asked for"))
    })
}

/// What the queue that this process knows by `name` was asked to be, if there is one.
///
/// ```
/// use forebay::queue::{PriorityQueue, shared_spec};
///
/// # fn main() -> forebay::Result<()> {
/// let jobs = PriorityQueue::<u8>::shared("jobs", Some(10))?;
/// assert_eq!(shared_spec("jobs").unwrap().get("capacity"), Some("10"));
/// drop(jobs);
/// assert_eq!(shared_spec("jobs"), None);
/// # Ok(())
/// # }
/// ```
pub fn shared_spec(name: &str) -> Option<Spec> {
    find(name).map(|(spec, _)| spec)
}

/// `queue`, if it is what was asked for.
fn same<Q: Any + Send + Sync>(
    name: &str,
    found: &Spec,
    asked: &Spec,
    queue: Arc<dyn Any + Send + Sync>,
) -> Result<Arc<Q>> {
    if let Some((property, here, there)) = found.difference(asked) {
        let message = format!("the shared queue '{name}' has {property} {here}, but {there} was asked for");
        return Err(Error::invalid(message));
    }
    queue.downcast().map_err(|_| {
        let asked = type_name::<Q>();
        Error::invalid(format!("the shared queue '{name}' is a {found} of another type than {asked}"))
    })
}
