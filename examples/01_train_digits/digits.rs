//! Where the digits come from: this module draws them, so the example needs no download.
//!
//! A digit is drawn as a hand would: its class can be written in a few ways ([`GLYPHS`]), each of them a few
//! strokes through given points. For every image the points are shaken, the sheet they lie on is warped, and
//! the whole is sheared, turned, scaled and moved before a pen of random width goes over it. What comes out
//! looks enough like MNIST to be learned like MNIST, and is written in the same
//! [IDX format](http://yann.lecun.com/exdb/mnist/).
//!
//! - An image is a pure function of the seed and its index: a smaller dataset is a prefix of a larger one.
//! - Images 10·k to 10·k + 9 hold each class once, in an order of their own.
//! - The bytes are the same on every machine. Only operations that IEEE 754 rounds correctly are used
//!   (`+ − × ÷ √` and comparisons); sines, logarithms and fused multiplications are not among them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// Rows, and columns, of an image.
pub const SIDE: usize = 28;
/// Bytes of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// Digits there are to tell apart.
pub const CLASSES: usize = 10;

/// The file of the images, under the name that MNIST gave it.
pub const IMAGES: &str = "train-images-idx3-ubyte";
/// The file of the labels, likewise.
pub const LABELS: &str = "train-labels-idx1-ubyte";

/// Draws `count` digits into `dir`, which is made if it is missing: [`IMAGES`] and [`LABELS`], both IDX.
///
/// Each file appears whole or not at all, and the labels last: in a folder that was empty before, labels mean
/// that the images are there too.
///
/// # Errors
///
/// Whatever the file system refuses, and a `count` that the 32 bits of an IDX header cannot hold.
pub fn write(dir: &Path, count: usize, seed: u64) -> io::Result<()> {
    let rows = u32::try_from(count).map_err(|_| {
        let message = format!("{count} digits were asked for; an IDX header counts to {}", u32::MAX);
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })?;
    let mut images = idx_header(&[rows, SIDE as u32, SIDE as u32]);
    let mut labels = idx_header(&[rows]);
    images.reserve_exact(count * PIXELS);
    labels.reserve_exact(count);
    for index in 0..count as u64 {
        let (image, label) = digit(seed, index);
        images.extend_from_slice(&image);
        labels.push(label);
    }
    fs::create_dir_all(dir)?;
    replace(&dir.join(IMAGES), &images)?;
    replace(&dir.join(LABELS), &labels)
}

/// The digit at `index`, and which one it is.
pub fn digit(seed: u64, index: u64) -> ([u8; PIXELS], u8) {
    let (ten, place) = (index / CLASSES as u64, index % CLASSES as u64);
    let mut order: [u8; CLASSES] = std::array::from_fn(|class| class as u8);
    let mut rng = Rng::new(seed, "order", ten);
    for last in (1..CLASSES).rev() {
        order.swap(last, rng.below(last + 1));
    }
    let label = order[place as usize];
    (draw(label, &mut Rng::new(seed, "digit", index)), label)
}

/// The header of an IDX file of unsigned bytes, all of it big-endian:
///
/// ```text
/// 0       2      3      4                              4 + 4·dimensions
/// ┌───────┬──────┬──────┬─────────────┬─────────────┬──────────────────
/// │ 00 00 │  08  │ dims │ u32 rows    │ u32 …       │ bytes, row-major
/// └───────┴──────┴──────┴─────────────┴─────────────┴──────────────────
/// ```
fn idx_header(shape: &[u32]) -> Vec<u8> {
    const UNSIGNED_BYTE: u8 = 0x08;
    let mut header = vec![0, 0, UNSIGNED_BYTE, shape.len() as u8];
    header.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    header
}

/// Gives `path` the content `bytes` in one step: a reader sees the old file or the new one, never a part.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let replaced = written.and_then(|()| fs::rename(&draft, path));
    if replaced.is_err() {
        // The first error is the one worth telling.
        let _ = fs::remove_file(&draft);
    }
    replaced
}

/// Draws one digit of class `label`.
fn draw(label: u8, rng: &mut Rng) -> [u8; PIXELS] {
    let ways = GLYPHS[usize::from(label)];
    let glyph = ways[rng.below(ways.len())];
    let hand = Hand::new(rng);
    let pen = Pen { radius: rng.within(0.75..1.5), edge: rng.within(0.9..1.8) };

    let mut distance = [f32::INFINITY; PIXELS];
    for stroke in glyph {
        let points: Vec<Point> = stroke.iter().map(|&point| hand.place(point, rng)).collect();
        let mut from = points[0];
        for to in curve(&points) {
            pen.reach(from, to, &mut distance);
            from = to;
        }
    }

    let contrast = rng.within(0.75..1.0);
    distance.map(|distance| {
        let ink = contrast * pen.ink(distance) + rng.within(-0.1..0.1);
        // Paper is black, as in MNIST: only the strongest of the grain shows on it.
        if ink < 0.09 { 0 } else { (ink.min(1.0) * 255.0) as u8 }
    })
}

/// One person's way with one digit: how the box of [`GLYPHS`] is laid on the 28 × 28 pixels.
struct Hand {
    /// Displacements at the knots of a grid over the box; between knots they are blended smoothly.
    warp: [[Point; Self::KNOTS]; Self::KNOTS],
    /// The linear part, by rows: shear, then scale, then turn.
    matrix: [[f32; 2]; 2],
    /// Where the middle of the box comes to lie, in pixels.
    middle: Point,
}

impl Hand {
    const KNOTS: usize = 4;
    /// How far a point of a stroke strays on its own, in units of the box.
    const SHAKE: f32 = 3.0;
    /// How far a knot of the warp is displaced, in units of the box.
    const WARP: f32 = 6.0;

    fn new(rng: &mut Rng) -> Self {
        let warp = std::array::from_fn(|_| std::array::from_fn(|_| rng.point(Self::WARP)));
        let height = rng.within(0.16..0.22);
        let width = height * rng.within(0.75..1.25);
        let shear = rng.within(-0.3..0.3);
        // With t = tan(θ/2), sine and cosine of θ are rational; ±0.12 is a turn of up to 14 degrees.
        let t = rng.within(-0.12..0.12);
        let (sin, cos) = (2.0 * t / (1.0 + t * t), (1.0 - t * t) / (1.0 + t * t));
        let matrix = [
            [cos * width, -cos * width * shear - sin * height],
            [sin * width, -sin * width * shear + cos * height],
        ];
        let shift = rng.point(2.0);
        let centre = (SIDE as f32 - 1.0) / 2.0;
        Self { warp, matrix, middle: Point { x: centre + shift.x, y: centre + shift.y } }
    }

    /// Where a point of a glyph comes to lie, in pixels.
    fn place(&self, (x, y): (u8, u8), rng: &mut Rng) -> Point {
        let (x, y) = (f32::from(x), f32::from(y));
        let (warp, shake) = (self.warp_at(x, y), rng.point(Self::SHAKE));
        let (x, y) = (x + warp.x + shake.x - BOX.0 / 2.0, y + warp.y + shake.y - BOX.1 / 2.0);
        let [[xx, xy], [yx, yy]] = self.matrix;
        Point { x: self.middle.x + xx * x + xy * y, y: self.middle.y + yx * x + yy * y }
    }

    fn warp_at(&self, x: f32, y: f32) -> Point {
        let (column, x) = Self::knot(x / BOX.0);
        let (row, y) = Self::knot(y / BOX.1);
        let across = |row: usize| self.warp[row][column].towards(self.warp[row][column + 1], x);
        across(row).towards(across(row + 1), y)
    }

    /// The knot before `at`, a fraction of the box, and how much of the next one is blended in: 0 at the
    /// first, 1 at the second, level at both.
    fn knot(at: f32) -> (usize, f32) {
        let at = at.clamp(0.0, 1.0) * (Self::KNOTS - 1) as f32;
        let knot = (at as usize).min(Self::KNOTS - 2);
        let along = at - knot as f32;
        (knot, along * along * (3.0 - 2.0 * along))
    }
}

/// A round nib: full ink within `radius` pixels of the stroke, fading out over `edge` pixels.
struct Pen {
    radius: f32,
    edge: f32,
}

impl Pen {
    /// Lowers each pixel's distance to the ink to that from the segment, where the pen reaches at all.
    fn reach(&self, from: Point, to: Point, distance: &mut [f32; PIXELS]) {
        let margin = self.radius + self.edge;
        let pixels = |a: f32, b: f32| {
            let (low, high) = (a.min(b) - margin, a.max(b) + margin);
            low.clamp(0.0, SIDE as f32) as usize..(high + 1.0).clamp(0.0, SIDE as f32) as usize
        };
        for y in pixels(from.y, to.y) {
            for x in pixels(from.x, to.x) {
                let nearest = &mut distance[y * SIDE + x];
                *nearest = nearest.min(Point { x: x as f32, y: y as f32 }.distance_to(from, to));
            }
        }
    }

    /// How much of a pixel at `distance` from the stroke is covered, 0 to 1.
    fn ink(&self, distance: f32) -> f32 {
        ((self.radius - distance) / self.edge + 0.5).clamp(0.0, 1.0)
    }
}

/// The Catmull–Rom spline through `points`, as the points that follow the first one.
///
/// It passes through every point given, so two points make a straight line. A stroke that starts and ends at
/// one place in the glyph need not do so here: hands do not close their circles either.
fn curve(points: &[Point]) -> impl Iterator<Item = Point> {
    const STEPS: usize = 6;
    let last = points.len() - 1;
    (0..last).flat_map(move |i| {
        let [a, b, c, d] = [i.saturating_sub(1), i, i + 1, (i + 2).min(last)].map(|i| points[i]);
        let blend = |a: f32, b: f32, c: f32, d: f32, t: f32| {
            let cubic = 3.0 * (b - c) + d - a;
            let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
            b + 0.5 * t * (c - a + t * (square + t * cubic))
        };
        (1..=STEPS).map(move |step| {
            let t = step as f32 / STEPS as f32;
            Point { x: blend(a.x, b.x, c.x, d.x, t), y: blend(a.y, b.y, c.y, d.y, t) }
        })
    })
}

#[derive(Clone, Copy)]
struct Point {
    x: f32,
    y: f32,
}

impl Point {
    fn towards(self, other: Self, part: f32) -> Self {
        Self { x: self.x + part * (other.x - self.x), y: self.y + part * (other.y - self.y) }
    }

    /// The distance from this point to the nearest of the segment.
    fn distance_to(self, from: Self, to: Self) -> f32 {
        let (run, rise) = (to.x - from.x, to.y - from.y);
        let length_squared = (run * run + rise * rise).max(1e-6);
        let along = ((self.x - from.x) * run + (self.y - from.y) * rise) / length_squared;
        let foot = from.towards(to, along.clamp(0.0, 1.0));
        let (dx, dy) = (self.x - foot.x, self.y - foot.y);
        (dx * dx + dy * dy).sqrt()
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): one stream for each purpose and index under a seed.
struct Rng(u64);

impl Rng {
    fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut rng = Self(seed);
        for word in purpose.bytes().map(u64::from).chain([index]) {
            rng.0 = rng.next() ^ word;
        }
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    fn within(&mut self, range: Range<f32>) -> f32 {
        // The 24 bits that an f32 holds exactly.
        let unit = (self.next() >> 40) as f32 / (1 << 24) as f32;
        range.start + unit * (range.end - range.start)
    }

    /// A point whose coordinates are each within `reach` of zero.
    fn point(&mut self, reach: f32) -> Point {
        Point { x: self.within(-reach..reach), y: self.within(-reach..reach) }
    }
}

/// Points that a stroke passes through, `(x, y)` in [`BOX`], y downwards. A corner is where two strokes meet.
type Stroke = &'static [(u8, u8)];

/// Width and height of the box that [`GLYPHS`] are drawn in.
const BOX: (f32, f32) = (60.0, 100.0);

/// Class by class, the ways of writing it.
#[rustfmt::skip]
const GLYPHS: [&[&[Stroke]]; CLASSES] = [
    &[
        &[&[(30, 0), (8, 18), (0, 50), (8, 82), (30, 100), (52, 82), (60, 50), (52, 18), (30, 0)]],
        &[&[(38, 4), (18, 14), (4, 48), (12, 88), (32, 98), (52, 72), (56, 36), (44, 6), (26, 2)]],
        &[&[(30, 12), (6, 28), (0, 56), (12, 86), (32, 92), (56, 78), (60, 46), (50, 18), (28, 12)]],
    ],
    &[
        &[&[(30, 0), (30, 100)]],
        &[&[(14, 24), (32, 0)], &[(32, 0), (32, 100)]],
        &[&[(14, 20), (32, 0)], &[(32, 0), (32, 100)], &[(10, 100), (54, 100)]],
    ],
    &[
        &[&[(4, 22), (14, 4), (34, 0), (52, 12), (50, 36), (28, 66), (2, 98)], &[(2, 98), (60, 96)]],
        &[&[(6, 20), (22, 2), (46, 8), (50, 32), (34, 64), (14, 92),
            (4, 94), (4, 82), (16, 80), (36, 94), (60, 94)]],
        &[&[(2, 14), (28, 0), (54, 14), (48, 44), (4, 100)], &[(4, 100), (30, 92), (60, 100)]],
    ],
    &[
        &[&[(6, 12), (28, 0), (50, 12), (46, 36), (24, 46)],
          &[(24, 46), (50, 56), (56, 78), (36, 98), (10, 96), (0, 84)]],
        &[&[(4, 0), (52, 0)], &[(52, 0), (24, 40)],
          &[(24, 40), (48, 46), (58, 70), (42, 96), (14, 98), (0, 86)]],
        &[&[(6, 10), (30, 0), (50, 14), (40, 38), (20, 46), (24, 50),
            (32, 44), (54, 62), (48, 92), (22, 100), (2, 88)]],
    ],
    &[
        &[&[(10, 2), (4, 30), (2, 56)], &[(2, 56), (60, 52)], &[(44, 4), (42, 50), (40, 100)]],
        &[&[(42, 0), (0, 66)], &[(0, 66), (60, 66)], &[(42, 0), (42, 100)]],
        &[&[(6, 0), (4, 34), (16, 52), (38, 46), (54, 20)], &[(56, 0), (50, 50), (46, 100)]],
    ],
    &[
        &[&[(54, 0), (10, 0)], &[(10, 0), (6, 42)],
          &[(6, 42), (30, 34), (54, 50), (54, 80), (30, 100), (2, 90)]],
        &[&[(56, 2), (30, 2), (14, 10), (10, 36), (34, 46), (52, 64), (46, 90), (24, 100), (2, 92)]],
        &[&[(16, 4), (10, 44)], &[(10, 44), (36, 38), (56, 60), (44, 92), (16, 100), (0, 90)],
          &[(16, 4), (58, 0)]],
    ],
    &[
        &[&[(48, 4), (22, 22), (4, 54), (4, 84), (26, 100), (50, 88), (52, 64), (32, 50), (8, 66)]],
        &[&[(36, 0), (12, 40), (2, 74), (18, 98), (44, 94), (52, 72), (34, 58), (6, 76)]],
        &[&[(56, 8), (34, 0), (10, 30), (0, 70), (16, 98), (44, 96), (56, 74), (42, 54), (16, 60), (4, 76)]],
    ],
    &[
        &[&[(0, 4), (58, 2)], &[(58, 2), (38, 48), (20, 100)]],
        &[&[(0, 4), (58, 2)], &[(58, 2), (36, 50), (22, 100)], &[(14, 52), (54, 48)]],
        &[&[(2, 18), (6, 4)], &[(6, 4), (56, 4)], &[(56, 4), (34, 48), (26, 100)]],
    ],
    &[
        &[&[(30, 48), (8, 28), (12, 6), (32, 0), (50, 10), (48, 30), (30, 48),
            (8, 68), (4, 90), (28, 100), (54, 90), (52, 68), (30, 48)]],
        &[&[(52, 12), (32, 0), (10, 14), (20, 40), (46, 60), (50, 88),
            (28, 100), (6, 84), (18, 58), (44, 38), (54, 16)]],
        &[&[(30, 0), (12, 8), (8, 24), (18, 42), (30, 46), (44, 40), (52, 22), (46, 6), (30, 0)],
          &[(30, 46), (8, 58), (2, 78), (14, 96), (32, 100), (52, 92), (58, 74), (48, 54), (30, 46)]],
    ],
    &[
        &[&[(50, 16), (30, 0), (6, 14), (6, 38), (26, 50), (46, 36), (50, 16)],
          &[(50, 16), (50, 60), (44, 100)]],
        &[&[(54, 12), (34, 0), (8, 12), (4, 36), (22, 50), (46, 38), (54, 12), (52, 50), (38, 88), (8, 98)]],
        &[&[(46, 10), (24, 2), (4, 24), (14, 46), (38, 40), (48, 14)], &[(48, 14), (44, 56), (36, 100)]],
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a, 64 bits.
    fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    #[test]
    fn the_first_hundred_digits_never_change() {
        let digits = (0..100).map(|index| digit(7, index));
        let hash = fnv(digits.flat_map(|(image, label)| image.into_iter().chain([label])));
        assert_eq!(hash, 0xfd98_9565_3d9a_7667, "the digits of seed 7 hash to {hash:#018x}");
    }

    #[test]
    fn every_ten_hold_each_class_once() {
        for ten in 0..20 {
            let mut labels: Vec<u8> = (0..10).map(|place| digit(3, 10 * ten + place).1).collect();
            labels.sort_unstable();
            assert_eq!(
                labels,
                [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
                "among images {}..{}",
                10 * ten,
                10 * ten + 10
            );
        }
    }

    #[test]
    fn no_two_digits_are_alike_and_none_is_blank() {
        let mut digits: Vec<_> = (0..300).map(|index| digit(1, index).0).chain([digit(2, 0).0]).collect();
        for image in &digits {
            let ink = image.iter().filter(|&&pixel| pixel > 100).count();
            assert!((15..400).contains(&ink), "{ink} inked pixels");
        }
        digits.sort_unstable();
        digits.dedup();
        assert_eq!(digits.len(), 301);
    }

    #[test]
    fn the_files_are_what_their_headers_say() {
        let dir = std::env::temp_dir().join(format!("forebay-digits-{}", std::process::id()));
        write(&dir, 23, 5).unwrap();
        let (images, labels) = (fs::read(dir.join(IMAGES)).unwrap(), fs::read(dir.join(LABELS)).unwrap());
        let names = fs::read_dir(&dir).unwrap().count();
        fs::remove_dir_all(&dir).unwrap();

        assert_eq!(names, 2, "no draft is left behind");
        assert_eq!(images[..16], [0, 0, 8, 3, 0, 0, 0, 23, 0, 0, 0, 28, 0, 0, 0, 28]);
        assert_eq!(labels[..8], [0, 0, 8, 1, 0, 0, 0, 23]);
        assert_eq!((images.len(), labels.len()), (16 + 23 * PIXELS, 8 + 23));
        let (image, label) = digit(5, 22);
        assert_eq!((&images[16 + 22 * PIXELS..], labels[8 + 22]), (&image[..], label));
    }
}
