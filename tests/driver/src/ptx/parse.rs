//! From the text of a module to its instructions.

use std::collections::BTreeMap;

use super::arithmetic::Type;
use super::{Instruction, Kernel, Module, Op, Operand, SPECIAL};

type Result<T> = std::result::Result<T, String>;

/// Computations: their names, and how many operands they take.
const COMPUTATIONS: [(&str, usize); 8] = [
    ("add", 2),
    ("add.rn", 2),
    ("mul.rn", 2),
    ("mul.lo", 2),
    ("mul.wide", 2),
    ("mad.lo", 3),
    ("div", 2),
    ("rem", 2),
];

const COMPARISONS: [&str; 5] = ["eq", "ne", "ge", "le", "nan"];

pub fn module(text: &str) -> Result<Module> {
    if !text.is_ascii() {
        return Err("a character that is not ASCII".into());
    }
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or("").trim());
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut entries = text.split(".visible .entry ");
    let head: Vec<&str> = entries.next().unwrap_or("").split_whitespace().collect();
    let [".version", _, ".target", target, ".address_size", "64"] = head[..] else {
        return Err(format!("a head of {head:?}"));
    };
    if !target.starts_with("sm_") {
        return Err(format!("the target {target}"));
    }
    entries.map(kernel).collect::<Result<_>>().map(Module)
}

fn kernel(text: &str) -> Result<(String, Kernel)> {
    let cut = |text: &'_ str, at: char| {
        let (left, right) = text.split_once(at).ok_or_else(|| format!("no '{at}' in {text:.40}"))?;
        Ok::<_, String>((left.trim().to_owned(), right.trim().to_owned()))
    };
    let (name, rest) = cut(text, '(')?;
    let (params, rest) = cut(&rest, ')')?;
    let (_, body) = cut(&rest, '{')?;
    let body = body.strip_suffix('}').ok_or("no end of a kernel")?;
    let mut names = Names::default();
    let mut sizes = Vec::new();
    for param in params.split(',') {
        let [".param", of, param] = param.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("the parameter {param}"));
        };
        names.params.insert(param.to_owned(), sizes.len());
        sizes.push(of.strip_prefix('.').and_then(Type::new).ok_or(of)?.bytes());
    }
    let mut statements = Vec::new();
    for statement in body.split(';') {
        let mut statement = statement.trim();
        while let Some((label, rest)) = statement.split_once(':').filter(|(label, _)| is_name(label)) {
            names.labels.insert(label.to_owned(), statements.len());
            statement = rest.trim();
        }
        match statement.strip_prefix(".reg ") {
            Some(registers) => {
                let (_, list) = cut(registers, ' ')?;
                for register in list.split(',') {
                    names.registers.insert(register.trim().to_owned(), names.registers.len());
                }
            }
            None if !statement.is_empty() => statements.push(statement),
            None => {}
        }
    }
    let code = statements
        .iter()
        .map(|statement| names.instruction(statement).ok_or_else(|| format!("the instruction `{statement}`")))
        .collect::<Result<Vec<_>>>()?;
    match code.last() {
        Some(Instruction { guard: None, op: Op::Return | Op::Branch(_) }) => {}
        _ => return Err(format!("{name} has no end")),
    }
    Ok((name, Kernel { params: sizes, num_registers: names.registers.len(), code }))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[derive(Default)]
struct Names {
    params: BTreeMap<String, usize>,
    registers: BTreeMap<String, usize>,
    labels: BTreeMap<String, usize>,
}

impl Names {
    fn register(&self, name: &str) -> Option<usize> {
        self.registers.get(name.trim()).copied()
    }

    fn operand(&self, text: &str) -> Option<Operand> {
        let text = text.trim();
        let special = || SPECIAL.iter().position(|name| *name == text).map(Operand::Special);
        let constant = || match text.strip_prefix("0d") {
            Some(bits) => u64::from_str_radix(bits, 16).ok().map(Operand::Constant),
            None => text.parse().ok().map(Operand::Constant),
        };
        self.register(text).map(Operand::Register).or_else(special).or_else(constant)
    }

    /// The register between the brackets.
    fn address(&self, text: &str) -> Option<usize> {
        self.register(between(text, '[', ']')?)
    }

    fn instruction(&self, statement: &str) -> Option<Instruction> {
        let (guard, statement) = match statement.strip_prefix('@') {
            None => (None, statement),
            Some(guarded) => {
                let (register, rest) = guarded.split_once(' ')?;
                let wanted = !register.starts_with('!');
                (Some((self.register(register.trim_start_matches('!'))?, wanted)), rest)
            }
        };
        let (name, args) = statement.split_once(' ').unwrap_or((statement, ""));
        Some(Instruction { guard, op: self.op(name, args)? })
    }

    fn op(&self, name: &str, args: &str) -> Option<Op> {
        match name {
            "ret" if args.is_empty() => return Some(Op::Return),
            "bra" => return self.labels.get(args.trim()).copied().map(Op::Branch),
            _ => {}
        }
        let (stem, of) = name.rsplit_once('.')?;
        let of = Type::new(of)?;
        if let "ld.global.v4" | "st.global.v4" = stem {
            let mut list = between(args, '{', '}')?.split(',');
            let at = self.address(args)?;
            return match stem {
                "ld.global.v4" => {
                    Some(Op::Load { of, to: list.map(|to| self.register(to)).collect::<Option<_>>()?, at })
                }
                _ => Some(Op::Store {
                    of,
                    at,
                    from: list.try_fold(vec![], |mut from, arg| {
                        from.push(self.operand(arg)?);
                        Some(from)
                    })?,
                }),
            };
        }
        let args: Vec<&str> = args.split(',').map(str::trim).collect();
        let first = || self.register(args[0]);
        if let ("st.global", [at, from]) = (stem, &args[..]) {
            return Some(Op::Store { of, at: self.address(at)?, from: vec![self.operand(from)?] });
        }
        match (stem, &args[1..]) {
            ("ld.param", [param]) => {
                let param = *self.params.get(between(param, '[', ']')?.trim())?;
                Some(Op::Param { to: first()?, param })
            }
            ("ld.global", [at]) => Some(Op::Load { of, to: vec![first()?], at: self.address(at)? }),
            ("mov" | "cvta.to.global", [from]) => Some(Op::Move { to: first()?, from: self.operand(from)? }),
            ("shl", [from, by]) => {
                let args = vec![self.operand(from)?, self.operand(by)?];
                Some(Op::Compute { what: "shl", of, to: first()?, args })
            }
            (_, rest) => {
                if let Some(how) = stem.strip_prefix("setp.") {
                    let what = COMPARISONS.into_iter().find(|what| *what == how)?;
                    let [left, right] = rest else { return None };
                    let args = [self.operand(left)?, self.operand(right)?];
                    // Signed numbers would be ordered otherwise, and only an f64 is asked whether it is one.
                    let fits = (what == "nan") == (of == Type::Float(64));
                    return (fits && !matches!(of, Type::Signed(_))).then_some(Op::Compare {
                        what,
                        of,
                        to: first()?,
                        args,
                    });
                }
                if let Some(to_type) = stem.strip_prefix("cvt.") {
                    return self.convert(to_type, of, first()?, rest);
                }
                let (what, _) = COMPUTATIONS.into_iter().find(|entry| *entry == (stem, rest.len()))?;
                let args = rest.iter().map(|arg| self.operand(arg)).collect::<Option<_>>()?;
                // A float is rounded as the instruction says, or could be contracted.
                let fits = what.ends_with(".rn") == matches!(of, Type::Float(_));
                fits.then_some(Op::Compute { what, of, to: first()?, args })
            }
        }
    }

    /// A conversion says how it rounds, where it may have to, and only there.
    fn convert(&self, to_type: &str, from_type: Type, to: usize, rest: &[&str]) -> Option<Op> {
        let (rounds, to_type) = match to_type.rsplit_once('.') {
            Some((rounds, to_type)) => (rounds, Type::new(to_type)?),
            None => ("", Type::new(to_type)?),
        };
        let expected = match (to_type, from_type) {
            (Type::Float(to), Type::Float(from)) if to > from => "",
            (Type::Float(_), _) => "rn",
            (_, Type::Float(_)) => "rzi",
            _ => "",
        };
        let [from] = rest else { return None };
        (rounds == expected).then_some(Op::Convert { to_type, from_type, to, from: self.operand(from)? })
    }
}

fn between(text: &str, open: char, close: char) -> Option<&str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inside, _)| inside)
}
