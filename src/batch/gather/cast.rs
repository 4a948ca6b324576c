//! Conversion of elements while they are copied.

use half::f16;

use crate::layout::DType;

/// Converts `count` elements, those of whole rows, from `src`, of any alignment, into `dst`, and does the arithmetic.
///
/// # Safety
///
/// - `src` is valid for reads of `count` elements of the type converted from.
/// - `dst` is valid for writes of `count` elements of the type converted to.
/// - The two do not overlap.
pub(crate) type CastRow = unsafe fn(src: *const u8, dst: *mut u8, count: usize, affine: &Affine);

/// What is done to floats after they were converted: each is multiplied by the scale, or, where there are channels, by the
/// factor of its channel, and the offset of its channel is added.
pub(crate) struct Affine {
    scale: f64,
    channels: Option<Channels>,
}

/// Factors and offsets, in the arithmetic of either type of floats.
struct Channels {
    narrow: Coefficients<f32>,
    wide: Coefficients<f64>,
}

/// Element `i` has the coefficients numbered `i / run`, beginning again after the last.
struct Coefficients<F> {
    run: usize,
    factors: Box<[F]>,
    offsets: Box<[F]>,
}

impl Affine {
    /// Multiplies by `scale`.
    pub(crate) fn scale(scale: f64) -> Self {
        Affine { scale, channels: None }
    }

    /// Multiplies by `scale`, takes the mean away and divides by the standard deviation, as said for each channel: of which
    /// one element follows `run` elements of the one before.
    pub(crate) fn normalize(scale: f64, mean: &[f64], std: &[f64], run: usize) -> Self {
        /// Shorter runs are laid out one after another, for a loop that reads coefficients as it reads elements.
        const SHORT_RUN: usize = 64;
        let each: Vec<(f64, f64)> =
            mean.iter().zip(std).map(|(mean, std)| (scale / std, -mean / std)).collect();
        let (run, each) = if run >= SHORT_RUN {
            (run, each)
        } else {
            let period: Vec<_> = each.iter().flat_map(|&pair| std::iter::repeat_n(pair, run)).collect();
            (1, period.repeat(SHORT_RUN.div_ceil(period.len())))
        };
        let narrow = Coefficients {
            run,
            factors: each.iter().map(|pair| pair.0 as f32).collect(),
            offsets: each.iter().map(|pair| pair.1 as f32).collect(),
        };
        let wide = Coefficients {
            run,
            factors: each.iter().map(|pair| pair.0).collect(),
            offsets: each.iter().map(|pair| pair.1).collect(),
        };
        Affine { scale, channels: Some(Channels { narrow, wide }) }
    }
}

/// An affine function for floats as a device takes it, see `staging/cuda/kernels.ptx`.
#[cfg(feature = "cuda")]
pub(crate) struct AffineTable {
    pub(crate) scale: f64,
    /// Elements that follow one another with the same coefficients, how many coefficients there are, and their bytes: first all
    /// factors, then all offsets.
    pub(crate) channels: Option<(usize, usize, Vec<u8>)>,
}

#[cfg(feature = "cuda")]
impl Affine {
    /// For elements that were converted to `to`.
    pub(crate) fn table(&self, to: DType) -> AffineTable {
        fn bytes<F: bytemuck::Pod>(each: &Coefficients<F>) -> (usize, usize, Vec<u8>) {
            let both =
                [&each.factors, &each.offsets].map(|each| bytemuck::cast_slice::<F, u8>(each)).concat();
            (each.run, each.factors.len(), both)
        }
        let channels = self.channels.as_ref().and_then(|channels| match to {
            DType::F16 | DType::F32 => Some(bytes(&channels.narrow)),
            DType::F64 => Some(bytes(&channels.wide)),
            _ => None,
        });
        AffineTable { scale: self.scale, channels }
    }
}

/// An element that can be converted to `D`, as `as` converts.
trait CastTo<D> {
    fn cast(self) -> D;
}

/// An element that can be multiplied and added to; integers are never asked to.
trait Arithmetic: Copy {
    /// Factors and offsets in the arithmetic of this type.
    type Factor: Copy;
    fn factor(scale: f64) -> Self::Factor;
    fn scaled(self, factor: Self::Factor) -> Self;
    fn moved(self, factor: Self::Factor, offset: Self::Factor) -> Self;
    fn coefficients(channels: &Channels) -> Option<&Coefficients<Self::Factor>>;
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
        impl Arithmetic for $integer {
            type Factor = ();
            fn factor(_: f64) {}
            #[inline(always)]
            fn scaled(self, (): ()) -> Self {
                self
            }
            #[inline(always)]
            fn moved(self, (): (), (): ()) -> Self {
                self
            }
            fn coefficients(_: &Channels) -> Option<&Coefficients<()>> {
                None
            }
        }
    )*};
}

scale_never!(u8, i8, u16, i16, u32, i32, u64, i64);

impl Arithmetic for f16 {
    type Factor = f32;
    fn factor(scale: f64) -> f32 {
        scale as f32
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        f16::from_f32(self.to_f32() * factor)
    }
    #[inline(always)]
    fn moved(self, factor: f32, offset: f32) -> Self {
        f16::from_f32(self.to_f32() * factor + offset)
    }
    fn coefficients(channels: &Channels) -> Option<&Coefficients<f32>> {
        Some(&channels.narrow)
    }
}

impl Arithmetic for f32 {
    type Factor = f32;
    fn factor(scale: f64) -> f32 {
        scale as f32
    }
    #[inline(always)]
    fn scaled(self, factor: f32) -> Self {
        self * factor
    }
    #[inline(always)]
    fn moved(self, factor: f32, offset: f32) -> Self {
        self * factor + offset
    }
    fn coefficients(channels: &Channels) -> Option<&Coefficients<f32>> {
        Some(&channels.narrow)
    }
}

impl Arithmetic for f64 {
    type Factor = f64;
    fn factor(scale: f64) -> f64 {
        scale
    }
    #[inline(always)]
    fn scaled(self, factor: f64) -> Self {
        self * factor
    }
    #[inline(always)]
    fn moved(self, factor: f64, offset: f64) -> Self {
        self * factor + offset
    }
    fn coefficients(channels: &Channels) -> Option<&Coefficients<f64>> {
        Some(&channels.wide)
    }
}

/// # Safety
///
/// Those of [`CastRow`].
unsafe fn convert<S: CastTo<D> + Copy, D: Arithmetic>(
    src: *const u8,
    dst: *mut u8,
    count: usize,
    affine: &Affine,
) {
    let (src, dst) = (src.cast::<S>(), dst.cast::<D>());
    let Some(each) = affine.channels.as_ref().and_then(D::coefficients) else {
        let factor = D::factor(affine.scale);
        for i in 0..count {
            // SAFETY: `i < count` elements are valid on both sides, which the caller promises; alignment is not
            // asked for.
            unsafe { dst.add(i).write_unaligned(src.add(i).read_unaligned().cast().scaled(factor)) }
        }
        return;
    };
    let write = |i: usize, factor, offset| {
        debug_assert!(i < count);
        // SAFETY: as above: the loops below stay below `count`.
        unsafe { dst.add(i).write_unaligned(src.add(i).read_unaligned().cast().moved(factor, offset)) }
    };
    let mut start = 0;
    while start < count {
        if each.run == 1 {
            let len = each.factors.len().min(count - start);
            for (i, (&factor, &offset)) in each.factors[..len].iter().zip(&each.offsets[..len]).enumerate() {
                write(start + i, factor, offset);
            }
            start += len;
        } else {
            for (&factor, &offset) in each.factors.iter().zip(&each.offsets) {
                let end = (start + each.run).min(count);
                (start..end).for_each(|i| write(i, factor, offset));
                start = end;
            }
        }
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
    unsafe { cast_row(DType::F64, to)(bytes.as_ptr(), out.as_mut_ptr(), 1, &Affine::scale(1.0)) }
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
    unsafe { cast_row(from, DType::F64)(bytes.as_ptr(), out.as_mut_ptr(), 1, &Affine::scale(1.0)) }
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
                unsafe { cast_row(from, to)(a.as_ptr(), b.as_mut_ptr(), 1, &Affine::scale(1.0)) };
                assert_eq!(read_one(to, &b), 1.0, "{from} to {to}");
            }
        }
    }

    #[test]
    fn scales_in_the_arithmetic_of_the_target() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = vec![0f32; 256];
        // SAFETY: 256 elements on each side.
        unsafe {
            let scale = Affine::scale(1.0 / 255.0);
            cast_row(DType::U8, DType::F32)(bytes.as_ptr(), out.as_mut_ptr().cast(), 256, &scale)
        };
        for (byte, value) in bytes.iter().zip(&out) {
            assert_eq!(*value, f32::from(*byte) * (1.0f64 / 255.0) as f32);
        }
    }

    #[test]
    fn normalizes_each_channel_wherever_it_lies() {
        let (mean, std) = ([0.5, 0.25, 0.125], [0.5, 2.0, 4.0]);
        // Channels last, first, in the middle; several rows in one go.
        for (channel_run, outer) in [(1, 50), (7, 3), (63, 1), (64, 2), (200, 1), (1, 1)] {
            let num_elements = 3 * channel_run * outer;
            let bytes: Vec<u8> = (0..2 * num_elements).map(|i| (i * 7 % 256) as u8).collect();
            let affine = Affine::normalize(1.0 / 256.0, &mean, &std, channel_run);
            for to in [DType::F16, DType::F32, DType::F64] {
                let mut out = vec![0u8; bytes.len() * to.width_bytes()];
                // SAFETY: as many elements on each side.
                unsafe { cast_row(DType::U8, to)(bytes.as_ptr(), out.as_mut_ptr(), bytes.len(), &affine) };
                for (i, (&byte, found)) in bytes.iter().zip(out.chunks(to.width_bytes())).enumerate() {
                    let channel = i / channel_run % 3;
                    // Powers of two: the same however it is computed, but for the last bits of an f16.
                    let expected = (f64::from(byte) / 256.0 - mean[channel]) / std[channel];
                    let found = read_one(to, found);
                    let tolerance = if to == DType::F16 { 1e-3 } else { 0.0 };
                    assert!(
                        (found - expected).abs() <= tolerance,
                        "{to}, element {i}: {found}, not {expected}"
                    );
                }
            }
        }
    }
}
