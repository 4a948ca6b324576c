//! The controls of the test driver (`tests/driver`): found by name, so that a program links against any driver.

#![allow(dead_code)] // Each test uses its part.

use std::ffi::{CStr, c_int, c_void};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Control = unsafe extern "C" fn(u32, u64, u64, u64) -> u64;
type Text = unsafe extern "C" fn(*mut u8, usize) -> usize;
type Named = unsafe extern "C" fn(*const u8, usize);
type Expect = unsafe extern "C" fn(*mut c_void, u32, u64, *const u8, usize) -> c_int;

/// The test driver, for one test at a time.
pub struct Driver {
    control: Control,
    violation: Text,
    failed: Text,
    named: Named,
    expect: Expect,
    _alone: MutexGuard<'static, ()>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Once, and nothing happens.
    Once,
    /// Once; but work it was to queue is queued.
    OnceWithEffect,
    /// It and every later call.
    Sticky,
}

/// `CUDA_ERROR_ILLEGAL_ADDRESS`.
const ILLEGAL_ADDRESS: u64 = 700;

/// What the driver holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub pinned_bytes: u64,
    pub device_bytes: u64,
    pub events: u64,
    pub streams: u64,
    pub contexts: u64,
    pub modules: u64,
}

fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: a search by a name that ends with a zero.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

fn text(of: Text) -> String {
    let mut text = [0; 200];
    // SAFETY: there is room for 200 bytes.
    let len = unsafe { of(text.as_mut_ptr(), text.len()) };
    String::from_utf8_lossy(&text[..len]).into_owned()
}

impl Driver {
    /// The test driver, empty and drawing its order from `seed`; `None`, which is said, with any other.
    pub fn alone(seed: u64) -> Option<Driver> {
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (control, violation) = (symbol(c"testdriver_control"), symbol(c"testdriver_violation"));
        let (failed, expect) = (symbol(c"testdriver_failed"), symbol(c"testdriver_expect"));
        let named = symbol(c"testdriver_fail_named");
        if [control, violation, failed, expect, named].iter().any(|symbol| symbol.is_null()) {
            println!("skipped: this driver is not the test driver");
            return None;
        }
        // SAFETY: symbols of these names have these types.
        let driver = unsafe {
            Driver {
                control: mem::transmute::<*mut c_void, Control>(control),
                violation: mem::transmute::<*mut c_void, Text>(violation),
                failed: mem::transmute::<*mut c_void, Text>(failed),
                named: mem::transmute::<*mut c_void, Named>(named),
                expect: mem::transmute::<*mut c_void, Expect>(expect),
                _alone: alone,
            }
        };
        driver.reset(seed);
        Some(driver)
    }

    fn command(&self, command: u32, a: u64, b: u64, c: u64) -> u64 {
        // SAFETY: the control takes any numbers.
        unsafe { (self.control)(command, a, b, c) }
    }

    /// Forgets everything.
    pub fn reset(&self, seed: u64) {
        // The bits of a small seed are spread.
        self.command(0, seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15), 0, 0);
    }

    /// Makes the `after`-th call from here on fail; 1 is the next.
    pub fn fail(&self, after: u64, how: Failure) {
        let flags = match how {
            Failure::Once => 0,
            Failure::Sticky => 1,
            Failure::OnceWithEffect => 2,
        };
        self.command(1, after, ILLEGAL_ADDRESS, flags);
    }

    /// Makes the next call of this name fail.
    pub fn fail_named(&self, name: &str, how: Failure) {
        self.fail(1, how);
        // SAFETY: the bytes of a slice.
        unsafe { (self.named)(name.as_ptr(), name.len()) };
    }

    /// How much happens in a call that does not wait, on average, in sixteenths of an operation: 0 is nothing.
    pub fn eagerness(&self, sixteenths: u64) {
        self.command(2, sixteenths, 0, 0);
    }

    pub fn devices(&self, count: u64) {
        self.command(3, count, 0, 0);
    }

    pub fn device_memory(&self, bytes: u64) {
        self.command(4, bytes, 0, 0);
    }

    pub fn calls(&self) -> u64 {
        self.command(10, 0, 0, 0)
    }

    pub fn copies(&self) -> u64 {
        self.command(18, 0, 0, 0)
    }

    pub fn launches(&self) -> u64 {
        self.command(20, 0, 0, 0)
    }

    pub fn held(&self) -> Held {
        let ask = |command| self.command(command, 0, 0, 0);
        Held {
            pinned_bytes: ask(12),
            device_bytes: ask(13),
            events: ask(14),
            streams: ask(15),
            contexts: ask(16),
            modules: ask(19),
        }
    }

    /// The first violation of the protocol, and how many there were.
    pub fn violations(&self) -> Option<(String, u64)> {
        let count = self.command(11, 0, 0, 0);
        (count > 0).then(|| (text(self.violation), count))
    }

    /// The name of the call that was made to fail; empty where it was never made.
    pub fn failed(&self) -> String {
        text(self.failed)
    }

    /// Queues a kernel in the legacy default stream of `device` that must find `expected` at `at`.
    pub fn expect(&self, device: u32, at: u64, expected: &[u8]) {
        // SAFETY: the bytes of a slice.
        let code =
            unsafe { (self.expect)(std::ptr::null_mut(), device, at, expected.as_ptr(), expected.len()) };
        assert_eq!(code, 0);
    }

    /// Nothing is held, and nothing was done that must not be.
    pub fn assert_clean(&self) {
        assert_eq!(self.violations(), None);
        assert_eq!(self.held(), Held::default());
    }
}
