//! Kernels without a device: the part of PTX that `forebay`'s kernels are written in, parsed and executed thread by thread.
//!
//! Written after NVIDIA's "PTX ISA". A module with anything else in it is refused as a whole, as a driver refuses what it cannot
//! compile. Threads run one after another: what they would do at once, such as two writes to one place, is not seen. A load or a store
//! has to lie in live memory of the device, at a multiple of its size.

mod arithmetic;
mod parse;

use std::collections::BTreeMap;

use arithmetic::{Type, compare, compute, convert};

/// The kernels of a module, by name.
pub struct Module(pub BTreeMap<String, Kernel>);

pub struct Kernel {
    /// Bytes of each parameter.
    pub params: Vec<usize>,
    num_registers: usize,
    code: Vec<Instruction>,
}

struct Instruction {
    /// Executed only if this register is so.
    guard: Option<(usize, bool)>,
    op: Op,
}

enum Op {
    Return,
    Branch(usize),
    Param { to: usize, param: usize },
    Load { of: Type, to: Vec<usize>, at: usize },
    Store { of: Type, at: usize, from: Vec<Operand> },
    Move { to: usize, from: Operand },
    Compute { what: &'static str, of: Type, to: usize, args: Vec<Operand> },
    Compare { what: &'static str, of: Type, to: usize, args: [Operand; 2] },
    Convert { to_type: Type, from_type: Type, to: usize, from: Operand },
}

#[derive(Clone, Copy)]
enum Operand {
    Register(usize),
    Constant(u64),
    /// Which thread this is: of `Thread::special`.
    Special(usize),
}

/// How many blocks, and how many threads each.
#[derive(Clone, Copy)]
pub struct Grid {
    pub blocks: [u32; 3],
    pub threads: [u32; 3],
}

/// Memory as a kernel sees it.
pub trait Memory {
    fn bytes(&mut self, at: u64, len: usize) -> Option<&mut [u8]>;
}

/// Instructions a thread may take: one that does not end is a violation.
const MOST_INSTRUCTIONS: usize = 50_000_000;

/// The special registers, in the order of their numbers.
const SPECIAL: [&str; 8] =
    ["%tid.x", "%tid.y", "%ntid.x", "%ntid.y", "%ctaid.x", "%ctaid.y", "%nctaid.x", "%nctaid.y"];

impl Module {
    /// The module of the text, or what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        parse::module(text)
    }
}

impl Kernel {
    /// Runs every thread of the grid; says what one of them did that it must not.
    pub fn run(&self, grid: Grid, args: &[u64], memory: &mut impl Memory) -> Result<(), String> {
        let Grid { blocks, threads } = grid;
        let mut thread = Thread { registers: vec![0; self.num_registers], special: [0; SPECIAL.len()], args };
        for block in (0..blocks[1]).flat_map(|y| (0..blocks[0]).map(move |x| (x, y))) {
            for number in (0..threads[1]).flat_map(|y| (0..threads[0]).map(move |x| (x, y))) {
                let special =
                    [number.0, number.1, threads[0], threads[1], block.0, block.1, blocks[0], blocks[1]];
                thread.special = special.map(u64::from);
                // A register holds no particular value before it is written.
                thread.registers.fill(0xDEAD_BEEF_DEAD_BEEF);
                thread.run(&self.code, memory)?;
            }
        }
        Ok(())
    }
}

struct Thread<'a> {
    registers: Vec<u64>,
    special: [u64; SPECIAL.len()],
    args: &'a [u64],
}

impl Thread<'_> {
    fn get(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Register(register) => self.registers[register],
            Operand::Constant(value) => value,
            Operand::Special(number) => self.special[number],
        }
    }

    fn run(&mut self, code: &[Instruction], memory: &mut impl Memory) -> Result<(), String> {
        let mut next = 0;
        for _ in 0..MOST_INSTRUCTIONS {
            let Instruction { guard, op } = &code[next];
            next += 1;
            if guard.is_some_and(|(register, wanted)| (self.registers[register] != 0) != wanted) {
                continue;
            }
            match op {
                Op::Return => return Ok(()),
                Op::Branch(target) => next = *target,
                Op::Param { to, param } => self.registers[*to] = self.args[*param],
                Op::Load { of, to, at } => {
                    let bytes = place(memory, self.registers[*at], of.bytes(), to.len(), "reads")?;
                    for (register, bytes) in to.iter().zip(bytes.chunks(of.bytes())) {
                        self.registers[*register] = of.extend(little_endian(bytes));
                    }
                }
                Op::Store { of, at, from } => {
                    let values: Vec<u64> = from.iter().map(|&from| self.get(from)).collect();
                    let bytes = place(memory, self.registers[*at], of.bytes(), from.len(), "writes")?;
                    for (bytes, value) in bytes.chunks_mut(of.bytes()).zip(values) {
                        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
                    }
                }
                Op::Move { to, from } => self.registers[*to] = self.get(*from),
                Op::Compute { what, of, to, args } => {
                    let arg = |i: usize| args.get(i).map_or(0, |&arg| self.get(arg));
                    self.registers[*to] = compute(what, *of, [arg(0), arg(1), arg(2)])?;
                }
                Op::Compare { what, of, to, args } => {
                    let [left, right] = args.map(|arg| self.get(arg));
                    self.registers[*to] = compare(what, *of, left, right).into();
                }
                Op::Convert { to_type, from_type, to, from } => {
                    self.registers[*to] = convert(*to_type, *from_type, self.get(*from));
                }
            }
        }
        Err("a kernel that does not end".into())
    }
}

/// The bytes of `count` values of `width` bytes at `at`.
fn place<'a>(
    memory: &'a mut impl Memory,
    at: u64,
    width: usize,
    count: usize,
    does: &str,
) -> Result<&'a mut [u8], String> {
    let len = width * count;
    if !at.is_multiple_of(len as u64) {
        return Err(format!("a kernel {does} {len} bytes at {at:#x}, which is no multiple of {len}"));
    }
    memory
        .bytes(at, len)
        .ok_or_else(|| format!("a kernel {does} {len} bytes of device memory that is not there"))
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}
