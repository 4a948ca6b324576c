//! Conversion of elements while they are copied.

use half::f16;

use crate::layout::DType;

/// Converts `count` elements from `src`, of any alignment, into `dst` and multiplies them by the scale.
///
/// # Safety
///
/// - `src` is valid for reads of `count` elements of the type converted from.
/// - `dst` is valid for writes of `count` elements of the type converted to.
/// - The two do not overlap.
pub(crate) type CastRow = unsafe fn(src: *const u8, dst: *mut u8, count: usize, scale: f64);

/// An element that can be converted to `D`, as `as` converts.
trait CastTo<D> {
    fn cast(self) -> D;
}

/// An element that can be multiplied by a scale; integers are never asked to.
trait Scale: Copy {
    /// The factor in the arithmetic of this type.
    type Factor: Copy;
    fn factor(scale: f64) -> Self::Factor;
    fn scaled(self, factor: Self::Factor) -> Self;
}

macro_rules! cast_as {
    ($from:ty => $($to:ty),*) => {$(
        impl CastTo<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                self as $to
            }
        }
    )*};
}

macro_rules! cast_all {
    ($($from:ty),*) => {$(
        cast_as!($from => u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);
        impl CastTo<f16> for $from {
            #[inline(always)]
            fn cast(self) -> f16 {
                f16::from_f64(self as f64)
            }
        }
        impl CastTo<$from> for f16 {
            #[inline(always)]
            fn cast(self) -> $from {
                self.to_f64() as $from
            }
        }
    )*};
}

cast_all!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl CastTo<f16> for f16 {
    #[inline(always)]
    fn cast(self) -> f16 {
        self
    }
}

macro_rules! scale_never {
    ($($integer:ty),*) => {$(
        impl Scale for $integer {
            type Factor = ();
            fn factor(_: f64) {}
            #[inline(always)]
            fn scaled(self, (): ()) -> Self {
                self
            }
        }
    )*};
}

scale_never!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Scale for f16 {
    type Factor = f32;
    fn factor(scale: f64) -> f32 {
        scale as f32
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        f16::from_f32(self.to_f32() * factor)
    }
}

impl Scale for f32 {
    type Factor = f32;
    fn factor(scale: f64) -> f32 {
        scale as f32
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        self * factor
    }
}

impl Scale for f64 {
    type Factor = f64;
    fn factor(scale: f64) -> f64 {
        scale
    }
    #[inline(always)]
    fn scaled(self, factor: f64) -> Self {
        self * factor
    }
}

/// # Safety
///
/// Those of [`CastRow`].
unsafe fn convert<S: CastTo<D> + Copy, D: Scale>(src: *const u8, dst: *mut u8, count: usize, scale: f64) {
    let factor = D::factor(scale);
    let (src, dst) = (src.cast::<S>(), dst.cast::<D>());
    for i in 0..count {
        // SAFETY: `i < count` elements are valid on both sides, which the caller promises; alignment is not
        // asked for.
        unsafe { dst.add(i).write_unaligned(src.add(i).read_unaligned().cast().scaled(factor)) }
    }
}

/// The conversion of rows of `from` to rows of `to`. Truth values convert as the bytes 0 and 1.
pub(crate) fn cast_row(from: DType, to: DType) -> CastRow {
    macro_rules! table {
        ($($from_dtype:ident: $from:ty),*) => {
            match from {
                $(DType::$from_dtype => table!(@to $from),)*
            }
        };
        (@to $from:ty) => {
            match to {
                DType::Bool | DType::U8 => convert::<$from, u8>,
                DType::I8 => convert::<$from, i8>,
                DType::U16 => convert::<$from, u16>,
                DType::I16 => convert::<$from, i16>,
                DType::U32 => convert::<$from, u32>,
                DType::I32 => convert::<$from, i32>,
                DType::U64 => convert::<$from, u64>,
                DType::I64 => convert::<$from, i64>,
                DType::F16 => convert::<$from, f16>,
                DType::F32 => convert::<$from, f32>,
                DType::F64 => convert::<$from, f64>,
            }
        };
    }
    table!(Bool: u8, U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, U64: u64, I64: i64, F16: f16, F32: f32, F64: f64)
}

/// Writes `value` as one element of `to`.
///
/// # Panics
///
/// If `out` is shorter than an element.
pub(crate) fn cast_one(value: f64, to: DType, out: &mut [u8]) {
    assert!(out.len() >= to.width_bytes(), "expected room for one {to}");
    let bytes = value.to_ne_bytes();
    // SAFETY: `bytes` holds one f64, `out` has room for one element of `to`, as was just checked.
    unsafe { cast_row(DType::F64, to)(bytes.as_ptr(), out.as_mut_ptr(), 1, 1.0) }
}

/// One element of `from` as a float.
///
/// # Panics
///
/// If `bytes` is shorter than an element.
pub(crate) fn read_one(from: DType, bytes: &[u8]) -> f64 {
    assert!(bytes.len() >= from.width_bytes(), "expected one {from}");
    let mut out = [0u8; 8];
    // SAFETY: `bytes` holds one element of `from`, as was just checked; `out` has room for one f64.
    unsafe { cast_row(from, DType::F64)(bytes.as_ptr(), out.as_mut_ptr(), 1, 1.0) }
    f64::from_ne_bytes(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slow way: through f64, which holds every value tried here exactly.
    fn expected(value: f64, to: DType) -> f64 {
        let clamp = |low: f64, high: f64| value.trunc().clamp(low, high);
        match to {
            DType::Bool | DType::U8 => clamp(0.0, 255.0),
            DType::I8 => clamp(-128.0, 127.0),
            DType::U16 => clamp(0.0, 65535.0),
            DType::I16 => clamp(-32768.0, 32767.0),
            DType::U32 => clamp(0.0, u32::MAX.into()),
            DType::I32 => clamp(i32::MIN.into(), i32::MAX.into()),
            DType::U64 => clamp(0.0, u64::MAX as f64),
            DType::I64 => clamp(i64::MIN as f64, i64::MAX as f64),
            DType::F16 => f16::from_f64(value).to_f64(),
            DType::F32 => value as f32 as f64,
            DType::F64 => value,
        }
    }

    #[test]
    fn floats_saturate_and_truncate_into_every_type() {
        for to in DType::ALL {
            for value in [0.0, 1.0, 2.75, 100.0, 200.0, 300.0, 40000.0] {
                let mut out = [0u8; 8];
                cast_one(value, to, &mut out);
                assert_eq!(read_one(to, &out), expected(value, to), "{value} to {to}");
            }
        }
    }

    #[test]
    fn every_pair_keeps_small_numbers() {
        for from in DType::ALL {
            for to in DType::ALL {
                let (mut a, mut b) = ([0u8; 8], [0u8; 8]);
                cast_one(1.0, from, &mut a);
                // SAFETY: one element on each side, 8 bytes of room.
                unsafe { cast_row(from, to)(a.as_ptr(), b.as_mut_ptr(), 1, 1.0) };
                assert_eq!(read_one(to, &b), 1.0, "{from} to {to}");
            }
        }
    }

    #[test]
    fn scales_in_the_arithmetic_of_the_target() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = vec![0f32; 256];
        // SAFETY: 256 elements on each side.
        unsafe { cast_row(DType::U8, DType::F32)(bytes.as_ptr(), out.as_mut_ptr().cast(), 256, 1.0 / 255.0) };
        for (byte, value) in bytes.iter().zip(&out) {
            assert_eq!(*value, f32::from(*byte) * (1.0f64 / 255.0) as f32);
        }
    }
}
