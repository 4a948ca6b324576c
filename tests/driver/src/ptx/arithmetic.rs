//! What the instructions compute. Registers are 64 bits wide; a value of a type lies in the low ones, the rest is of no meaning.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Unsigned(u32),
    Signed(u32),
    Float(u32),
}

impl Type {
    /// The type called `name`; bits are unsigned numbers.
    pub fn new(name: &str) -> Option<Self> {
        let bits = name.get(1..)?.parse().ok()?;
        match (name.get(..1)?, bits) {
            ("u" | "b", 8 | 16 | 32 | 64) => Some(Type::Unsigned(bits)),
            ("s", 8 | 16 | 32 | 64) => Some(Type::Signed(bits)),
            ("f", 16 | 32 | 64) => Some(Type::Float(bits)),
            _ => None,
        }
    }

    pub fn bits(self) -> u32 {
        let (Type::Unsigned(bits) | Type::Signed(bits) | Type::Float(bits)) = self;
        bits
    }

    pub fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// The value in the low bits, with all above them as this type has them.
    pub fn extend(self, value: u64) -> u64 {
        let above = 64 - self.bits();
        match self {
            Type::Signed(_) => ((value << above) as i64 >> above) as u64,
            _ => value << above >> above,
        }
    }
}

/// Three operands, as many as the instruction takes, and what becomes of them.
pub fn compute(what: &str, of: Type, args: [u64; 3]) -> Result<u64, String> {
    let [a, b, c] = args.map(|arg| of.extend(arg));
    Ok(match (what, of) {
        ("add.rn", Type::Float(32)) => (single(a) + single(b)).to_bits().into(),
        ("mul.rn", Type::Float(32)) => (single(a) * single(b)).to_bits().into(),
        ("add.rn", Type::Float(64)) => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        ("mul.rn", Type::Float(64)) => (f64::from_bits(a) * f64::from_bits(b)).to_bits(),
        ("add", Type::Unsigned(_)) => of.extend(a.wrapping_add(b)),
        ("mul.lo", Type::Unsigned(_)) => of.extend(a.wrapping_mul(b)),
        ("mad.lo", Type::Unsigned(_)) => of.extend(a.wrapping_mul(b).wrapping_add(c)),
        ("mul.wide", Type::Unsigned(32)) => a * b,
        ("shl", Type::Unsigned(64)) => a.checked_shl(b as u32).unwrap_or(0),
        ("div", Type::Unsigned(_)) => a.checked_div(b).ok_or("a kernel divides by zero")?,
        ("rem", Type::Unsigned(_)) => a.checked_rem(b).ok_or("a kernel divides by zero")?,
        _ => return Err(format!("no kernel here computes {what} of {of:?}")),
    })
}

pub fn compare(what: &str, of: Type, left: u64, right: u64) -> bool {
    let (left, right) = (of.extend(left), of.extend(right));
    match what {
        "eq" => left == right,
        "ne" => left != right,
        "ge" => left >= right,
        "le" => left <= right,
        _ => f64::from_bits(left).is_nan() || f64::from_bits(right).is_nan(),
    }
}

/// A number that every type's values can be seen as.
enum Number {
    Whole(i128),
    Real(f64),
}

/// Rounded to nearest where a float becomes of it, towards zero and within its range where an integer does of a float; an
/// integer that becomes a smaller one keeps its low bits.
pub fn convert(to: Type, from: Type, value: u64) -> u64 {
    let value = from.extend(value);
    let number = match from {
        Type::Unsigned(_) => Number::Whole(value.into()),
        Type::Signed(_) => Number::Whole((value as i64).into()),
        Type::Float(16) => Number::Real(from_half(value as u16)),
        Type::Float(32) => Number::Real(single(value).into()),
        Type::Float(_) => Number::Real(f64::from_bits(value)),
    };
    match (number, to) {
        (Number::Whole(whole), Type::Float(32)) => (whole as f32).to_bits().into(),
        (Number::Whole(whole), Type::Float(_)) => (whole as f64).to_bits(),
        (Number::Whole(whole), _) => to.extend(whole as u64),
        (Number::Real(real), Type::Float(16)) => to_half(real).into(),
        (Number::Real(real), Type::Float(32)) => (real as f32).to_bits().into(),
        (Number::Real(real), Type::Float(_)) => real.to_bits(),
        // Of what an f64 that is no number becomes.
        (Number::Real(real), Type::Unsigned(bits) | Type::Signed(bits)) if real.is_nan() => 1 << (bits - 1),
        (Number::Real(real), Type::Unsigned(bits)) => (real as u64).min(u64::MAX >> (64 - bits)),
        (Number::Real(real), Type::Signed(bits)) => {
            let most = i64::MAX >> (64 - bits);
            (real as i64).clamp(-most - 1, most) as u64
        }
    }
}

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

/// The value of an IEEE 754 binary16.
fn from_half(half: u16) -> f64 {
    let sign = if half >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(half >> 10 & 31), f64::from(half & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// The nearest IEEE 754 binary16, the even one of two.
fn to_half(value: f64) -> u16 {
    let sign = u16::from(value.is_sign_negative()) << 15;
    let size = value.abs();
    if size.is_nan() {
        return 0x7FFF;
    }
    if size >= 65520.0 {
        return sign | 0x7C00;
    }
    // The weight of the last bit: that of a subnormal, or 2¹⁰ below the value's own.
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(-14);
    let steps = (size * 2f64.powi(10 - exponent)).round_ties_even();
    // Steps of 1024 are a fraction of zero one exponent up: the addition carries.
    sign | ((((exponent + 14) as u16) << 10) + steps as u16)
}
