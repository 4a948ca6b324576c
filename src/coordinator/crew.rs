//! The threads of a coordinator, and the stop they share.
//!
//! # Invariants
//!
//! - Nothing that others wrote runs under the lock: threads are started and joined, and what a stop has to do is done,
//!   with the lock free.
//! - What a stop has to do is done once, and before any thread that stops the crew waits for the others: who finds some
//!   of it undone goes on with it, even from within another piece of it.
//! - A thread that is being started or joined is counted until it is in the list again or gone, so that nobody else takes
//!   the list for all there is.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How often a thread that was started elsewhere is looked at while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Threads that stop together.
pub(super) struct Crew {
    stop: AtomicBool,
    /// Kinds of errors that are a clean stop.
    clean: Vec<ErrorKind>,
    state: Mutex<State>,
    /// Notified when a thread ends, when one is no longer in hand, and when a stop is requested.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    joined: bool,
    error: Option<Error>,
    /// What is to be done at the next stop.
    on_stop: Vec<Hook>,
    /// How many hooks there may be before those nobody needs are looked for.
    crowded: usize,
    /// What is still to be done for the last stop.
    undone: VecDeque<Hook>,
    /// Threads that somebody starts or joins at the moment.
    in_hand: usize,
    threads: Vec<Member>,
}

/// Something to do when a stop is requested.
struct Hook {
    act: Box<dyn FnOnce() + Send>,
    /// Whether there is still something to act on.
    is_needed: Box<dyn Fn() -> bool + Send>,
}

struct Member {
    name: String,
    handle: JoinHandle<()>,
    /// Set when a thread of our own is done; `None` for one that was started elsewhere.
    done: Option<Arc<AtomicBool>>,
    /// Whether it outlived the grace period of a join: nobody waits for it without a limit again.
    given_up: bool,
}

impl Member {
    fn is_done(&self) -> bool {
        // Acquire pairs with the Release in `Done::drop`: what the thread did is seen.
        self.done.as_ref().map_or_else(|| self.handle.is_finished(), |done| done.load(Ordering::Acquire))
    }

    fn is_current(&self) -> bool {
        self.handle.thread().id() == thread::current().id()
    }
}

/// Tells that a thread is done, however it ends.
struct Done {
    crew: Arc<Crew>,
    done: Arc<AtomicBool>,
}

impl Drop for Done {
    fn drop(&mut self) {
        let state = self.crew.lock();
        // Release pairs with the Acquire in `Member::is_done`.
        self.done.store(true, Ordering::Release);
        drop(state);
        self.crew.changed.notify_all();
    }
}

impl Crew {
    pub(super) fn new(clean: Vec<ErrorKind>) -> Self {
        Crew { stop: AtomicBool::new(false), clean, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn should_stop(&self) -> bool {
        // Acquire pairs with the Release in `stop_with`: who sees the stop sees what came before it.
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn error(&self) -> Option<Error> {
        self.lock().error.clone()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().threads.iter().map(|thread| thread.name.clone()).collect()
    }

    pub(super) fn request_stop(&self, error: Option<Error>) -> Result<()> {
        let state = self.lock();
        if state.joined {
            let late = Error::new(
                ErrorKind::Closed,
                "the coordinator's threads were joined: clear_stop() begins anew",
            );
            return Err(match error {
                Some(error) => late.with_source(error),
                None => late,
            });
        }
        self.stop_with(state, error);
        Ok(())
    }

    /// Stops the crew, whether it was joined or not.
    pub(super) fn stop(&self, error: Option<Error>) {
        self.stop_with(self.lock(), error);
    }

    fn stop_with<'a>(&'a self, mut state: MutexGuard<'a, State>, error: Option<Error>) {
        let stopped = self.should_stop();
        let is_clean = |error: &Error| {
            self.clean.contains(&error.kind()) || (stopped && error.kind() == ErrorKind::Cancelled)
        };
        if let Some(error) = error.filter(|error| !is_clean(error)) {
            state.error.get_or_insert(error);
        }
        let hooks = std::mem::take(&mut state.on_stop);
        state.undone.extend(hooks);
        // Release pairs with the Acquire in `should_stop`.
        self.stop.store(true, Ordering::Release);
        self.changed.notify_all();
        while let Some(hook) = state.undone.pop_front() {
            drop(state);
            // One that panics does not keep the others from being done.
            let acted = catch_unwind(AssertUnwindSafe(hook.act));
            state = self.lock();
            if let Err(panic) = acted {
                let error = Error::panicked("what was to be done when the coordinator stops", &*panic);
                state.error.get_or_insert(error);
            }
        }
    }

    pub(super) fn wait_for_stop(&self, timeout: Option<Duration>) -> bool {
        let state = self.lock();
        let go_on = |_: &mut State| !self.should_stop();
        match timeout {
            Some(timeout) => {
                let waited = self.changed.wait_timeout_while(state, timeout, go_on);
                !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            }
            None => {
                drop(self.changed.wait_while(state, go_on));
                true
            }
        }
    }

    pub(super) fn stop_on_error<T>(&self, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let name = thread::current().name().unwrap_or("a thread").to_owned();
            Err(Error::panicked(&name, &*panic))
        });
        // After the threads were joined, nobody is left to return the error to: it is kept all the same.
        done.map_err(|error| self.stop(Some(error))).ok()
    }

    pub(super) fn clear_stop(&self) {
        let mut state = self.lock();
        let error = state.error.take();
        state.joined = false;
        // Relaxed: threads started from here on see it by the lock or by being started.
        self.stop.store(false, Ordering::Relaxed);
        drop(state);
        drop(error);
    }

    /// Does `act` when a stop is requested, or at once if one was.
    pub(super) fn on_stop(&self, act: impl FnOnce() + Send + 'static) {
        self.hook(Hook { act: Box::new(act), is_needed: Box::new(|| true) });
    }

    /// As [`on_stop`](Self::on_stop), as long as `target` is there; it is not kept alive.
    pub(super) fn on_stop_of<T: ?Sized + Send + Sync + 'static>(
        &self,
        target: &Arc<T>,
        act: impl FnOnce(&T) + Send + 'static,
    ) {
        let target = Arc::downgrade(target);
        let watched: Weak<T> = target.clone();
        self.hook(Hook {
            act: Box::new(move || {
                if let Some(target) = target.upgrade() {
                    act(&target);
                }
            }),
            is_needed: Box::new(move || watched.strong_count() > 0),
        });
    }

    fn hook(&self, hook: Hook) {
        let mut state = self.lock();
        if self.should_stop() {
            drop(state);
            return (hook.act)();
        }
        state.on_stop.push(hook);
        if state.on_stop.len() > state.crowded {
            // A crew that serves one pipeline after another does not remember them all.
            let (needed, idle) =
                std::mem::take(&mut state.on_stop).into_iter().partition(|hook| (hook.is_needed)());
            state.on_stop = needed;
            state.crowded = 2 * state.on_stop.len() + 16;
            drop(state);
            drop::<Vec<Hook>>(idle);
        }
    }

    pub(super) fn register(&self, handle: JoinHandle<()>) {
        let name = handle.thread().name().unwrap_or("a thread without a name").to_owned();
        self.lock().threads.push(Member { name, handle, done: None, given_up: false });
        // Who joins already has one more to wait for, and no longer knows for how long to sleep.
        self.changed.notify_all();
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        name: String,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        if name.contains('\0') {
            return Err(Error::invalid(format!("the name of a thread has no zero byte, found {name:?}")));
        }
        let mut state = self.lock();
        if state.joined {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("'{name}' cannot be started: the coordinator's threads were joined"),
            ));
        }
        state.in_hand += 1;
        // Threads that ended are let go of, lest a program that starts some now and then keep them all.
        let (ended, threads) = std::mem::take(&mut state.threads)
            .into_iter()
            .partition(|thread| thread.done.is_some() && thread.is_done());
        state.threads = threads;
        drop(state);
        join_all(ended);

        let done = Arc::new(AtomicBool::new(false));
        let end = Done { crew: self.clone(), done: done.clone() };
        let started = thread::Builder::new().name(name.clone()).spawn(move || {
            let end = end;
            end.crew.stop_on_error(work);
        });

        let mut state = self.lock();
        state.in_hand -= 1;
        let started = started.map(|handle| {
            state.threads.push(Member { name: name.clone(), handle, done: Some(done), given_up: false });
        });
        drop(state);
        self.changed.notify_all();
        started.map_err(|e| {
            Error::new(ErrorKind::Io, format!("cannot start the thread '{name}': {e}")).with_source(e)
        })
    }

    /// Waits until every thread has ended; once a stop is requested, for no longer than `grace`. Returns the names of those
    /// that live on, and has every later call to start a thread refused if `for_good`.
    pub(super) fn wait_for_threads(&self, grace: Duration, for_good: bool) -> Result<Vec<String>> {
        let mut deadline = None;
        let mut state = self.lock();
        loop {
            if let Some(current) = state.threads.iter().find(|thread| thread.is_current()) {
                let name = &current.name;
                return Err(Error::invalid(format!(
                    "'{name}' is one of the coordinator's threads: joined from there, it would wait for itself"
                )));
            }
            if deadline.is_none() && self.should_stop() {
                deadline = Some(Instant::now().checked_add(grace));
            }
            let left = deadline.flatten().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if state.in_hand == 0 && (is_over || state.threads.iter().all(Member::is_done)) {
                break;
            }
            let is_foreign = |thread: &Member| thread.done.is_none() && !thread.is_done();
            let look = state.threads.iter().any(is_foreign).then_some(LOOK_EVERY);
            state = match left.filter(|_| !is_over).into_iter().chain(look).min() {
                Some(patience) => {
                    self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.joined |= for_good;
        let (done, mut live): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.threads).into_iter().partition(Member::is_done);
        live.iter_mut().for_each(|thread| thread.given_up = true);
        let names = live.iter().map(|thread| thread.name.clone()).collect();
        state.threads = live;
        state.in_hand += 1;
        drop(state);

        let panicked = join_all(done);

        let mut state = self.lock();
        state.in_hand -= 1;
        if let Some(error) = panicked {
            state.error.get_or_insert(error);
        }
        drop(state);
        self.changed.notify_all();
        Ok(names)
    }

    /// Stops the crew, and waits for the threads it started, but for those that were given up, and the one that calls.
    pub(super) fn disband(&self) {
        self.stop(None);
        let threads = std::mem::take(&mut self.lock().threads);
        // A thread that was started elsewhere may have reasons of its own to go on.
        let own = |thread: &Member| thread.done.is_some() && !thread.given_up && !thread.is_current();
        join_all(threads.into_iter().filter(own).collect());
    }
}

/// Joins threads, and returns the first panic that nobody caught: that of a thread which was started elsewhere.
fn join_all(threads: Vec<Member>) -> Option<Error> {
    let mut first = None;
    for thread in threads {
        if let Err(panic) = thread.handle.join() {
            first.get_or_insert_with(|| Error::panicked(&format!("the thread '{}'", thread.name), &*panic));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_that_nobody_needs_are_forgotten() {
        let crew = Crew::new(Vec::new());
        let done = Arc::new(Mutex::new(Vec::new()));
        let targets: Vec<Arc<usize>> = (0..100).map(Arc::new).collect();
        for round in 0..10_000 {
            let (idle, does) = (Arc::new(round), done.clone());
            crew.on_stop_of(&idle, move |round| does.lock().unwrap().push(*round));
            if let Some(target) = targets.get(round) {
                let does = done.clone();
                crew.on_stop_of(target, move |target| does.lock().unwrap().push(*target));
            }
        }
        let kept = crew.lock().on_stop.len();
        assert!((100..300).contains(&kept), "{kept} hooks for 100 targets");
        crew.stop(None);
        assert_eq!(*done.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }
}
