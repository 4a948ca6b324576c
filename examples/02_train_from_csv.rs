//! Trains a linear model from a CSV file as it is: no conversion, missing values and all.
//!
//! `cargo run --release --example 02_train_from_csv` writes a table of houses, some of whose cells are missing, lays two of
//! its columns into one tensor while they are parsed, shuffles it exactly, and fits the prices by gradient descent.
//! With `-- FILE` it prints the columns of a CSV file of yours instead.

use std::fmt::Write as _;
use std::path::Path;

use forebay::format::{CsvOptions, CsvType};
use forebay::{Dataset, Loader, Result, Shuffle};

/// What the prices are made of: a price per square metre, one per room, and a base.
const TRUTH: [f32; 3] = [3.0, 10.0, 50.0];

/// The mean area and number of rooms, which stand for missing cells.
const MEANS: [f32; 2] = [100.0, 4.0];

fn main() -> Result<()> {
    if let Some(file) = std::env::args().nth(1) {
        let table = Dataset::open(&file)?;
        println!("{table:#?}");
        return Ok(());
    }
    let folder = std::env::temp_dir().join("forebay-houses");
    std::fs::create_dir_all(&folder).expect("a writable folder");
    let path = folder.join("houses.csv");
    write_houses(&path);

    let options = CsvOptions::new()
        .na_values(["?"])
        .default_value("area", MEANS[0])
        .default_value("rooms", MEANS[1])
        .stack("features", ["area", "rooms"])
        .column("features", CsvType::F32)
        .column("price", CsvType::F32)
        .required("price");
    let houses = Dataset::options().csv(options).open(&path)?;
    println!("{} houses: {houses:?}", houses.len());

    let (train, test) = houses.split(0.9, 7)?;
    let mut loader =
        Loader::builder(&train).batch_size(64).shuffle(Shuffle::Exact).seed(1).epochs(20).build()?;
    let mut weights = [0f32; 3];
    for batch in &mut loader {
        let batch = batch?;
        let (x, y) = (batch.tensor::<f32>("features")?, batch.tensor::<f32>("price")?);
        let mut gradient = [0f32; 3];
        for (row, &price) in y.as_slice().iter().enumerate() {
            let input = scaled(x.row(row));
            let error = predict(&weights, &input) - price;
            gradient.iter_mut().zip(input).for_each(|(sum, input)| *sum += error * input);
        }
        let rate = 0.2 / batch.num_rows() as f32;
        weights.iter_mut().zip(gradient).for_each(|(weight, gradient)| *weight -= rate * gradient);
    }
    let (mut squares, mut rows) = (0f32, 0);
    for batch in Loader::builder(&test).batch_size(64).build()? {
        let batch = batch?;
        let (x, y) = (batch.tensor::<f32>("features")?, batch.tensor::<f32>("price")?);
        for (row, &price) in y.as_slice().iter().enumerate() {
            squares += (predict(&weights, &scaled(x.row(row))) - price).powi(2);
            rows += 1;
        }
    }
    println!("error on {rows} held-out houses: {:.1} of prices around 390", (squares / rows as f32).sqrt());
    println!("{}", loader.stats());
    Ok(())
}

/// Centred features of about unit size, and a one for the base.
fn scaled(features: &[f32]) -> [f32; 3] {
    [(features[0] - MEANS[0]) / 50.0, (features[1] - MEANS[1]) / 2.0, 1.0]
}

fn predict(weights: &[f32; 3], input: &[f32; 3]) -> f32 {
    weights.iter().zip(input).map(|(weight, input)| weight * input).sum()
}

/// A thousand houses, the same each time; of every fiftieth a cell is missing.
fn write_houses(path: &Path) {
    let mut text = String::from("street,area,rooms,price\n");
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    for number in 0..1000 {
        let (area, rooms) = (20.0 + 160.0 * random(), (1.0 + 6.0 * random()).round());
        let price = TRUTH[0] * area + TRUTH[1] * rooms + TRUTH[2] + 4.0 * (random() - 0.5);
        let area = if number % 50 == 0 { "?".to_owned() } else { format!("{area:.1}") };
        writeln!(text, "\"{number}, Mill Road\",{area},{rooms},{price:.2}").expect("memory for a line");
    }
    std::fs::write(path, text).expect("a writable folder");
}
