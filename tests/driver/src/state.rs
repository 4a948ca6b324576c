//! What is queued, in what order it happens, and what must not happen.
//!
//! Work of one stream happens in its order; between streams the order is random. Nothing happens at once: every call to the
//! driver may let some of the work happen, and a call that waits lets happen what it takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::memory::{DeviceMemory, Pinned, hash};
use crate::ptx::{Grid, Memory, Module};

pub const MAX_DEVICES: usize = 16;

pub enum Op {
    /// `hash` is that of the source when the copy was asked for; a pageable source was taken down then (`staged`).
    ToDevice {
        source: usize,
        to: u64,
        len: usize,
        hash: u64,
        staged: Option<Vec<u8>>,
    },
    ToHost {
        from: u64,
        to: usize,
        len: usize,
    },
    Set {
        to: u64,
        len: usize,
        byte: u8,
    },
    /// Kernel `kernel` of the module `module`.
    Launch {
        module: usize,
        kernel: String,
        grid: Grid,
        args: Vec<u64>,
    },
    /// A kernel of the trainer's that reads the bytes, and must find those with this hash.
    Expect {
        at: u64,
        len: usize,
        hash: u64,
    },
    Record {
        event: usize,
        turn: u64,
    },
    Wait {
        event: usize,
        turn: u64,
    },
}

pub struct Stream {
    pub device: usize,
    pub queue: VecDeque<Op>,
}

#[derive(Default)]
pub struct Event {
    pub device: usize,
    /// How often it was recorded, and which of these recordings was passed.
    pub recorded: u64,
    pub passed: u64,
}

/// Which call is to fail.
pub struct Failure {
    pub at: u64,
    /// The next call of this name, whatever its number; if it is not empty.
    pub name: String,
    pub code: i32,
    /// Every later call fails as well.
    pub sticky: bool,
    /// A call that queues work does so, and fails nevertheless.
    pub with_effect: bool,
}

pub struct State {
    pub calls: u64,
    pub failure: Option<Failure>,
    /// The call that was made to fail; empty before.
    pub failed: &'static str,
    pub broken: Option<i32>,
    pub random: u64,
    /// Work that a call lets happen on average, in sixteenths of an operation.
    pub eagerness: u64,
    pub devices: usize,
    pub device_bytes: usize,
    pub retained: [u64; MAX_DEVICES],
    pub pinned: Pinned,
    pub memory: DeviceMemory,
    pub streams: BTreeMap<usize, Stream>,
    pub events: BTreeMap<usize, Event>,
    pub modules: BTreeMap<usize, Module>,
    /// Kernels that were asked for by name; their module, and their name.
    pub functions: BTreeMap<usize, (usize, String)>,
    next_handle: usize,
    pub copies: u64,
    pub launches: u64,
    pub violations: u64,
    pub first_violation: String,
}

static STATE: Mutex<State> = Mutex::new(State {
    calls: 0,
    failure: None,
    failed: "",
    broken: None,
    random: 1,
    eagerness: 16,
    devices: 2,
    device_bytes: 8 << 30,
    retained: [0; MAX_DEVICES],
    pinned: Pinned::new(),
    memory: DeviceMemory::new(),
    streams: BTreeMap::new(),
    events: BTreeMap::new(),
    modules: BTreeMap::new(),
    functions: BTreeMap::new(),
    next_handle: 0x10_0000,
    copies: 0,
    launches: 0,
    violations: 0,
    first_violation: String::new(),
});

pub fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of a stream: of the default streams, each device has its own; 0 and 1 are the same.
pub fn key_of(handle: usize, device: usize) -> usize {
    if handle <= 2 { handle / 2 * MAX_DEVICES + device } else { handle }
}

impl State {
    pub fn handle(&mut self) -> usize {
        self.next_handle += 0x40;
        self.next_handle
    }

    pub fn violation(&mut self, what: String) {
        self.violations += 1;
        if self.first_violation.is_empty() {
            self.first_violation = what;
        }
    }

    /// xorshift64*.
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below
    }

    /// The stream of a handle; the two default streams of a device exist once they are named.
    pub fn stream(&mut self, handle: usize, device: usize) -> Option<&mut Stream> {
        let key = key_of(handle, device);
        if handle <= 2 {
            self.streams.entry(key).or_insert_with(|| Stream { device, queue: VecDeque::new() });
        }
        self.streams.get_mut(&key)
    }

    pub fn live_streams(&self) -> usize {
        self.streams.keys().filter(|&&key| key >= 3 * MAX_DEVICES).count()
    }

    pub fn pending(&self) -> usize {
        self.streams.values().map(|stream| stream.queue.len()).sum()
    }

    /// Lets some work happen.
    pub fn drift(&mut self) {
        let sixteenths = self.random(self.eagerness as usize * 2 + 1);
        let steps = sixteenths / 16 + usize::from(self.random(16) < sixteenths % 16);
        for _ in 0..steps {
            if !self.step() {
                return;
            }
        }
    }

    /// Lets one operation happen that may: the first of a stream, unless it waits for an event. False if there is none.
    fn step(&mut self) -> bool {
        let ready: Vec<usize> = self
            .streams
            .iter()
            .filter(|(_, stream)| match stream.queue.front() {
                Some(Op::Wait { event, turn }) => {
                    self.events.get(event).is_none_or(|event| event.passed >= *turn)
                }
                other => other.is_some(),
            })
            .map(|(&key, _)| key)
            .collect();
        if ready.is_empty() {
            return false;
        }
        let key = ready[self.random(ready.len())];
        let stream = self.streams.get_mut(&key).expect("a stream of the list");
        let (device, op) = (stream.device, stream.queue.pop_front().expect("a stream with work"));
        self.run(device, op);
        true
    }

    /// Lets work happen until `done`. False if nothing can happen any more: work that waits for itself.
    pub fn wait(&mut self, done: impl Fn(&State) -> bool) -> bool {
        while !done(self) {
            if !self.step() {
                self.violation("a wait that never ends".into());
                return false;
            }
        }
        true
    }

    fn run(&mut self, device: usize, op: Op) {
        match op {
            Op::ToDevice { source, to, len, hash: expected, staged } => {
                self.copies += 1;
                let from = match &staged {
                    Some(bytes) => bytes.as_ptr(),
                    None if self.pinned.holds(source, len) => source as *const u8,
                    None => return self.violation(format!("the source of a copy of {len} bytes was freed")),
                };
                // SAFETY: page-locked and live, or our own.
                if unsafe { hash(from, len) } != expected {
                    self.violation(format!(
                        "the source of a copy of {len} bytes changed before it was copied"
                    ));
                }
                match self.memory.bytes_mut(device, to, len) {
                    // SAFETY: as above; device memory lies elsewhere.
                    Some(to) => unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), len) },
                    None => {
                        self.violation(format!("a copy of {len} bytes to device memory that is not there"))
                    }
                }
            }
            Op::ToHost { from, to, len } => match self.memory.bytes_mut(device, from, len) {
                // SAFETY: the caller of a copy to the host keeps its target alive.
                Some(from) => unsafe { from.as_ptr().copy_to_nonoverlapping(to as *mut u8, len) },
                None => self.violation(format!("a copy of {len} bytes of device memory that is not there")),
            },
            Op::Expect { at, len, hash: expected } => match self.memory.bytes_mut(device, at, len) {
                // SAFETY: the bytes of a slice.
                Some(bytes) if unsafe { hash(bytes.as_ptr(), len) } == expected => {}
                Some(_) => {
                    self.violation(format!("a kernel read {len} bytes that are not those of its batch"))
                }
                None => {
                    self.violation(format!("a kernel read {len} bytes of device memory that is not there"))
                }
            },
            Op::Set { to, len, byte } => match self.memory.bytes_mut(device, to, len) {
                Some(to) => to.fill(byte),
                None => self.violation(format!("{len} bytes of device memory that is not there are set")),
            },
            Op::Launch { module, kernel, grid, args } => {
                self.launches += 1;
                let ran = match self.modules.get(&module).and_then(|module| module.0.get(&kernel)) {
                    Some(kernel) => kernel.run(grid, &args, &mut OfDevice(&mut self.memory, device)),
                    None => Err("a kernel ran after its module was unloaded".into()),
                };
                if let Err(what) = ran {
                    self.violation(format!("{what} ({kernel})"));
                }
            }
            Op::Record { event, turn } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.passed = event.passed.max(turn);
                }
            }
            Op::Wait { .. } => {}
        }
    }

    /// Whether work still to happen reads or writes the host memory at `start..start + len`.
    pub fn host_in_use(&self, start: usize, len: usize) -> bool {
        self.streams.values().flat_map(|stream| &stream.queue).any(|op| match op {
            Op::ToDevice { source, staged: None, .. } => (start..start + len).contains(source),
            Op::ToHost { to, .. } => (start..start + len).contains(to),
            _ => false,
        })
    }

    /// Whether work still to happen reads or writes the device memory at `start..start + len`.
    pub fn device_in_use(&self, start: u64, len: usize) -> bool {
        let range = start..start + len as u64;
        self.streams.values().flat_map(|stream| &stream.queue).any(|op| match op {
            Op::ToDevice { to, .. } => range.contains(to),
            Op::ToHost { from, .. } => range.contains(from),
            Op::Set { to, .. } => range.contains(to),
            Op::Launch { args, .. } => args.iter().any(|arg| range.contains(arg)),
            Op::Expect { at, .. } => range.contains(at),
            _ => false,
        })
    }

    /// Whether work still to happen is of the module.
    pub fn module_in_use(&self, handle: usize) -> bool {
        let mut queued = self.streams.values().flat_map(|stream| &stream.queue);
        queued.any(|op| matches!(op, Op::Launch { module, .. } if *module == handle))
    }

    /// Forgets everything, and counts anew.
    pub fn reset(&mut self, seed: u64) {
        self.streams.clear();
        self.events.clear();
        self.modules.clear();
        self.functions.clear();
        self.pinned.clear();
        self.memory.clear();
        self.retained = [0; MAX_DEVICES];
        (self.calls, self.copies, self.launches, self.violations) = (0, 0, 0, 0);
        (self.failure, self.failed, self.broken) = (None, "", None);
        self.first_violation.clear();
        (self.random, self.eagerness) = (seed | 1, 16);
        (self.devices, self.device_bytes) = (2, 8 << 30);
    }
}

/// The memory of one device.
struct OfDevice<'a>(&'a mut DeviceMemory, usize);

impl Memory for OfDevice<'_> {
    fn bytes(&mut self, at: u64, len: usize) -> Option<&mut [u8]> {
        self.0.bytes_mut(self.1, at, len)
    }
}
