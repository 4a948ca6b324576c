//! Decodes PNG files in the worker threads, row by row, straight into the memory the trainer gets; flips some of them.
//!
//! ```sh
//! cargo run --release --example 07_decode_png
//! ```

use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;

use forebay::{Dataset, Error, ErrorKind, Loader, Output, Row, RowWriter, Shuffle};

/// Pixels of a picture, and their channels.
const SHAPE: [usize; 3] = [24, 32, 3];
const PICTURES: usize = 200;

/// The pixels of picture `number`, in rows, red, green and blue.
fn pixels(number: usize) -> Vec<u8> {
    let [height, width, channels] = SHAPE;
    let pixel =
        |i: usize| (number * 31 + i / channels % width * 7 + i / (channels * width) * (1 + i % 3)) as u8;
    (0..height * width * channels).map(pixel).collect()
}

/// A tar archive of pictures and their labels, as WebDataset has them.
fn draw(path: &Path) -> Result<(), Box<dyn StdError>> {
    let mut archive = tar::Builder::new(File::create(path)?);
    let mut add = |name: String, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes)
    };
    for number in 0..PICTURES {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, SHAPE[1] as u32, SHAPE[0] as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&pixels(number))?;
        add(format!("{number:04}.png"), &file)?;
        add(format!("{number:04}.cls"), (number % 10).to_string().as_bytes())?;
    }
    archive.finish()?;
    Ok(())
}

/// Decodes the picture of `row` into its place in the batch, and mirrors every second one, by chance.
fn decode(row: &Row<'_>, out: &mut RowWriter<'_>) -> forebay::Result<()> {
    let bad = |e: png::DecodingError| Error::new(ErrorKind::Malformed, e.to_string()).with_source(e);
    let mut reader = png::Decoder::new(Cursor::new(row.values::<u8>("png")?)).read_info().map_err(bad)?;
    let info = reader.info();
    let found = [info.height as usize, info.width as usize, info.color_type.samples()];
    if found != SHAPE || info.bit_depth != png::BitDepth::Eight {
        return Err(Error::new(
            ErrorKind::Mismatch,
            format!("expected a picture of {SHAPE:?}, found {found:?}"),
        ));
    }
    let image = out.tensor_mut::<u8>("image")?;
    reader.next_frame(image).map_err(bad)?;
    if row.rng().chance(0.5) {
        for line in image.chunks_exact_mut(SHAPE[1] * SHAPE[2]) {
            mirror(line);
        }
    }
    Ok(())
}

fn mirror(line: &mut [u8]) {
    let last = line.len() / SHAPE[2] - 1;
    for left in 0..line.len() / SHAPE[2] / 2 {
        (0..SHAPE[2]).for_each(|c| line.swap(left * SHAPE[2] + c, (last - left) * SHAPE[2] + c));
    }
}

fn main() -> Result<(), Box<dyn StdError>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pictures.tar");
    draw(&path)?;
    println!("{PICTURES} pictures in {} bytes", fs::metadata(&path)?.len());

    let dataset = Dataset::open(&path)?;
    let mut loader = Loader::builder(&dataset)
        .columns(["cls", "__key__"])
        .map_rows(["png"], [Output::tensor::<u8>("image", &SHAPE)], decode)
        .batch_size(32)
        .shuffle(Shuffle::Exact)
        .seed(42)
        .build()?;
    let (mut seen, mut mirrored) = (0, 0);
    for batch in &mut loader {
        let batch = batch?;
        let (image, key) = (batch.tensor::<u8>("image")?, batch.text("__key__")?);
        for row in 0..batch.num_rows() {
            // What the decoder made is what was drawn, or its mirror image.
            let mut drawn = pixels(key.row(row).parse()?);
            if image.row(row) != drawn {
                drawn.chunks_exact_mut(SHAPE[1] * SHAPE[2]).for_each(mirror);
                mirrored += 1;
            }
            assert!(image.row(row) == drawn, "picture {} is another one", key.row(row));
            seen += 1;
        }
    }
    assert_eq!(seen, PICTURES);
    assert!((PICTURES / 4..PICTURES * 3 / 4).contains(&mirrored), "{mirrored} are mirrored");
    println!("all of them decoded, {mirrored} mirrored; {}", loader.stats());
    Ok(())
}

#[test]
fn every_picture_is_decoded() {
    main().unwrap();
}
