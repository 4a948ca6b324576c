//! The model that the loader feeds: a small fully connected network in plain Rust, on one core.
//!
//! Training takes three matrix products a layer, and all three are one function, [`product`]:
//!
//! ```text
//! forward     Y  = X · W      activations of the layer, before its ReLU
//! backward    dX = dY · Wᵀ    what the layer asks of the one before it
//! update      dW = Xᵀ · dY    added to the velocity, which moves the weights, while it is in registers
//! ```
//!
//! - The left factor is always [`Sparse`]: four fifths of a digit's pixels are zero, and so is about half of
//!   what leaves a ReLU; neither is multiplied.
//! - The right factor is always in [`Tile`]s, whose fixed width is what the compiler vectorises.
//! - Every row of `X` ends in a one, so the last row of `W` is the bias and needs no code of its own.
//! - Buffers are reused: they grow to the largest batch seen, and from then on a step allocates nothing.
//!
//! There is no framework here, no second thread, and no `unsafe`.

/// The part of its velocity that a weight keeps from one step to the next.
const MOMENTUM: f32 = 0.9;

/// As many columns as one sum in [`product`] holds at a time.
const TILE: usize = 32;
type Tile = [f32; TILE];

/// A multilayer perceptron: ReLU between layers, softmax and cross-entropy at the end, trained by gradient
/// descent with momentum.
pub struct Network {
    layers: Vec<Layer>,
    pass: Pass,
}

struct Layer {
    inputs: usize,
    outputs: usize,
    /// `[inputs + 1, outputs]`; the last row is the bias.
    weights: Matrix,
    velocity: Matrix,
}

/// What one pass over a batch leaves behind, layer by layer, and the room in which factors are turned about.
#[derive(Clone, Default)]
struct Pass {
    /// `[batch, inputs + 1]`: what went into the layer.
    inputs: Vec<Sparse>,
    /// `[batch, outputs]`: what came out of it; on the way back, the gradient of the loss in the same place.
    outputs: Vec<Matrix>,
    gradients: Sparse,
    turned_inputs: Sparse,
    turned_weights: Matrix,
}

impl Network {
    /// A network with layers of these sizes, from input to output, and He-initialised weights.
    ///
    /// # Panics
    ///
    /// If `sizes` names fewer than two layers, an empty one, or more than 256 classes.
    pub fn new(sizes: &[usize], seed: u64) -> Self {
        assert!(sizes.len() >= 2, "a network needs an input and an output, not the sizes {sizes:?}");
        assert!(!sizes.contains(&0), "no layer of the sizes {sizes:?} may be empty");
        assert!(sizes[sizes.len() - 1] <= 256, "a u8 label cannot name one of the classes in {sizes:?}");
        let mut state = seed;
        let layers: Vec<_> = sizes.windows(2).map(|pair| Layer::new(pair[0], pair[1], &mut state)).collect();
        let pass = Pass::new(layers.len());
        Self { layers, pass }
    }

    /// Learns from one batch, `x` being `[batch, inputs]` row by row and `y` the class of each row, and
    /// returns the mean loss before the lesson.
    ///
    /// # Panics
    ///
    /// If the batch is empty, `x` is not `y.len()` rows of the first layer's size, or a label is not below
    /// the last layer's.
    pub fn step(&mut self, x: &[f32], y: &[u8], rate: f32) -> f32 {
        assert!(!y.is_empty(), "an empty batch has no mean loss");
        let Self { layers, pass } = self;
        pass.forward(layers, x, y.len());
        let loss = pass.softmax(layers, y);
        pass.backward(layers, rate);
        loss
    }

    /// How many of these rows the network puts into their class.
    ///
    /// # Panics
    ///
    /// If `x` is not `y.len()` rows of the first layer's size.
    pub fn correct(&self, x: &[f32], y: &[u8]) -> usize {
        let last = self.layers.len() - 1;
        let mut pass = Pass::new(self.layers.len());
        pass.forward(&self.layers, x, y.len());
        let logits = pass.outputs[last].rows(self.layers[last].outputs);
        logits.zip(y).filter(|(logits, label)| strongest(logits) == usize::from(**label)).count()
    }
}

impl Layer {
    fn new(inputs: usize, outputs: usize, state: &mut u64) -> Self {
        let mut weights = Matrix::default();
        weights.reset(inputs + 1, outputs);
        // Uniform within ±√(6 / inputs) has He's variance, 2 / inputs. The bias starts at zero.
        let reach = (6.0 / inputs as f32).sqrt();
        for row in weights.rows_mut(outputs).take(inputs) {
            row.fill_with(|| reach * uniform(state));
        }
        Self { inputs, outputs, velocity: weights.zeros_like(), weights }
    }
}

impl Pass {
    fn new(layers: usize) -> Self {
        Self {
            inputs: vec![Sparse::default(); layers],
            outputs: vec![Matrix::default(); layers],
            ..Self::default()
        }
    }

    /// Fills `inputs` and `outputs`; the last of the outputs are logits, those before it have their ReLU.
    fn forward(&mut self, layers: &[Layer], x: &[f32], batch: usize) {
        let expected = batch * layers[0].inputs;
        assert_eq!(x.len(), expected, "{batch} labels call for {expected} values");
        self.inputs[0].collect(x.chunks_exact(layers[0].inputs), Some(1.0));
        for (l, layer) in layers.iter().enumerate() {
            let output = &mut self.outputs[l];
            output.reset(batch, layer.outputs);
            let last = l + 1 == layers.len();
            let floor = if last { f32::NEG_INFINITY } else { 0.0 };
            product(&self.inputs[l], &layer.weights, |at, sum| output.tiles[at] = sum.map(|s| s.max(floor)));
            if !last {
                self.inputs[l + 1].collect(output.rows(layer.outputs), Some(1.0));
            }
        }
    }

    /// Turns the logits into the gradient of the mean loss by them, and returns that loss.
    fn softmax(&mut self, layers: &[Layer], y: &[u8]) -> f32 {
        let last = layers.len() - 1;
        let classes = layers[last].outputs;
        let share = 1.0 / y.len() as f32;
        let mut loss = 0.0;
        for (row, &label) in self.outputs[last].rows_mut(classes).zip(y) {
            let label = usize::from(label);
            assert!(label < classes, "the label {label} is none of {classes} classes");
            let (most, wanted) = (row[strongest(row)], row[label]);
            let mut total = 0.0;
            for value in &mut *row {
                *value = (*value - most).exp();
                total += *value;
            }
            loss += total.ln() + most - wanted;
            for value in &mut *row {
                *value *= share / total;
            }
            row[label] -= share;
        }
        loss * share
    }

    /// Carries the gradient from the last layer to the first and moves each layer's weights on the way.
    fn backward(&mut self, layers: &mut [Layer], rate: f32) {
        for (l, layer) in layers.iter_mut().enumerate().rev() {
            // The layer before is asked through the weights that made this output, so before they move.
            if let Some(before) = l.checked_sub(1) {
                let [asked, gradient] = &mut self.outputs[before..=l] else { unreachable!("two layers") };
                self.gradients.collect(gradient.rows(layer.outputs), None);
                self.turned_weights.turn(&layer.weights, layer.inputs, layer.outputs);
                product(&self.gradients, &self.turned_weights, |at, sum| {
                    // Where the ReLU gave zero it passes nothing back; elsewhere it passes all.
                    for (asked, &sum) in asked.tiles[at].iter_mut().zip(sum) {
                        *asked = if *asked > 0.0 { sum } else { 0.0 };
                    }
                });
            }
            let Layer { weights, velocity, inputs, .. } = layer;
            self.turned_inputs.turn(&self.inputs[l], *inputs + 1);
            product(&self.turned_inputs, &self.outputs[l], |at, gradient| {
                let moving = velocity.tiles[at].iter_mut().zip(&mut weights.tiles[at]);
                for ((velocity, weight), gradient) in moving.zip(gradient) {
                    *velocity = MOMENTUM * *velocity + gradient;
                    *weight -= rate * *velocity;
                }
            });
        }
    }
}

/// Multiplies `a · b`, and gives each tile of the result to `each` with its place among the result's tiles.
///
/// A sum of a tile's width stays in registers while the row's entries go by; the matrices here fit the
/// second-level cache, so there is nothing more to block.
fn product(a: &Sparse, b: &Matrix, mut each: impl FnMut(usize, &Tile)) {
    for (row, entries) in a.rows().enumerate() {
        for column in 0..b.across {
            let mut sum = [0.0; TILE];
            for &(k, value) in entries {
                let tile = &b.tiles[k as usize * b.across + column];
                for (sum, other) in sum.iter_mut().zip(tile) {
                    *sum += value * other;
                }
            }
            each(row * b.across + column, &sum);
        }
    }
}

/// A dense matrix in rows of whole tiles. The columns that fill up the last tile of a row are zero, and stay
/// so: no product or update of zeros makes anything else of them.
#[derive(Clone, Default)]
struct Matrix {
    /// Tiles in a row.
    across: usize,
    tiles: Vec<Tile>,
}

impl Matrix {
    /// Makes this `rows` × `columns` of zeros, in the memory it has if that is enough.
    fn reset(&mut self, rows: usize, columns: usize) {
        self.across = columns.div_ceil(TILE);
        self.tiles.clear();
        self.tiles.resize(rows * self.across, [0.0; TILE]);
    }

    fn zeros_like(&self) -> Self {
        Self { across: self.across, tiles: vec![[0.0; TILE]; self.tiles.len()] }
    }

    /// The first `columns` of each row.
    fn rows(&self, columns: usize) -> impl Iterator<Item = &[f32]> {
        self.tiles.chunks_exact(self.across).map(move |row| &row.as_flattened()[..columns])
    }

    fn rows_mut(&mut self, columns: usize) -> impl Iterator<Item = &mut [f32]> {
        self.tiles.chunks_exact_mut(self.across).map(move |row| &mut row.as_flattened_mut()[..columns])
    }

    /// Becomes the transpose of the first `rows` × `columns` of `other`.
    fn turn(&mut self, other: &Self, rows: usize, columns: usize) {
        self.reset(columns, rows);
        let stride = self.across * TILE;
        let turned = self.tiles.as_flattened_mut();
        for (r, row) in other.rows(columns).take(rows).enumerate() {
            for (c, &value) in row.iter().enumerate() {
                turned[c * stride + r] = value;
            }
        }
    }
}

/// A matrix by its entries that are not zero, row after row, in ascending columns.
#[derive(Clone, Default)]
struct Sparse {
    entries: Vec<(u32, f32)>,
    /// Where each row ends among the entries.
    ends: Vec<usize>,
}

impl Sparse {
    fn rows(&self) -> impl Iterator<Item = &[(u32, f32)]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.entries[start..end])
    }

    /// Becomes these dense rows, each with one more column of `tail` where that is given.
    fn collect<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>, tail: Option<f32>) {
        self.entries.clear();
        self.ends.clear();
        for row in rows {
            let all = row.iter().copied().chain(tail).enumerate();
            self.entries
                .extend(all.filter(|entry| entry.1 != 0.0).map(|(column, value)| (column as u32, value)));
            self.ends.push(self.entries.len());
        }
    }

    /// Becomes the transpose of `other`, which has so many `columns`: a counting sort of its entries.
    fn turn(&mut self, other: &Self, columns: usize) {
        // `ends[c]` is first the number of entries in column c, then where its next entry goes; when all have
        // gone to their places, that is where the column ends.
        self.ends.clear();
        self.ends.resize(columns, 0);
        for &(column, _) in &other.entries {
            self.ends[column as usize] += 1;
        }
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.entries.resize(other.entries.len(), (0, 0.0));
        for (row, entries) in other.rows().enumerate() {
            for &(column, value) in entries {
                let next = &mut self.ends[column as usize];
                self.entries[*next] = (row as u32, value);
                *next += 1;
            }
        }
    }
}

/// The index of the largest value.
fn strongest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// A value in −1..1, from SplitMix64.
fn uniform(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that are half zeros, and labels for them.
    fn batch(rows: usize, inputs: usize, classes: usize) -> (Vec<f32>, Vec<u8>) {
        let mut state = 11;
        let x = (0..rows * inputs).map(|_| uniform(&mut state).max(0.0)).collect();
        (x, (0..rows).map(|row| (row * 7 % classes) as u8).collect())
    }

    /// The mean loss, by the definition and in f64.
    fn loss(network: &Network, x: &[f32], y: &[u8]) -> f64 {
        let inputs = network.layers[0].inputs;
        let mut total = 0.0;
        for (row, &label) in x.chunks_exact(inputs).zip(y) {
            let mut values: Vec<f64> = row.iter().map(|&value| f64::from(value)).collect();
            for (l, layer) in network.layers.iter().enumerate() {
                if l > 0 {
                    values.iter_mut().for_each(|value| *value = value.max(0.0));
                }
                values.push(1.0);
                let mut next = vec![0.0; layer.outputs];
                for (value, weights) in values.iter().zip(layer.weights.rows(layer.outputs)) {
                    next.iter_mut()
                        .zip(weights)
                        .for_each(|(next, &weight)| *next += value * f64::from(weight));
                }
                values = next;
            }
            total += values.iter().map(|value| value.exp()).sum::<f64>().ln() - values[usize::from(label)];
        }
        total / y.len() as f64
    }

    /// A network's first step at rate zero moves nothing and leaves the gradient as the velocity.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        // Sizes below, at and above a tile, none but one a multiple of it.
        for sizes in [&[5, 3][..], &[6, 7, 4], &[9, 32, 33, 10]] {
            let (x, y) = batch(8, sizes[0], sizes[sizes.len() - 1]);
            let mut network = Network::new(sizes, 3);
            let told = network.step(&x, &y, 0.0);
            assert!((f64::from(told) - loss(&network, &x, &y)).abs() < 1e-5, "loss of {sizes:?}");
            for l in 0..network.layers.len() {
                let Layer { inputs, outputs, .. } = network.layers[l];
                let stride = network.layers[l].weights.across * TILE;
                for (row, column) in
                    (0..=inputs).flat_map(|row| (0..outputs).map(move |column| (row, column)))
                {
                    let at = row * stride + column;
                    let gradient = f64::from(network.layers[l].velocity.tiles.as_flattened()[at]);
                    let mut loss_at = |moved: f32| {
                        let weight = &mut network.layers[l].weights.tiles.as_flattened_mut()[at];
                        let kept = std::mem::replace(weight, moved);
                        let loss = loss(&network, &x, &y);
                        network.layers[l].weights.tiles.as_flattened_mut()[at] = kept;
                        (kept, loss)
                    };
                    let (weight, _) = loss_at(0.0);
                    let (low, high) = (weight - 1e-4, weight + 1e-4);
                    let slope = (loss_at(high).1 - loss_at(low).1) / f64::from(high - low);
                    assert!(
                        (gradient - slope).abs() < 2e-5,
                        "layer {l} of {sizes:?} at [{row}, {column}]: gradient {gradient}, slope {slope}"
                    );
                }
            }
        }
    }

    #[test]
    fn padding_stays_zero() {
        let (x, y) = batch(16, 20, 10);
        let mut network = Network::new(&[20, 40, 10], 1);
        for _ in 0..10 {
            network.step(&x, &y, 0.1);
        }
        for layer in &network.layers {
            for row in layer.weights.tiles.chunks_exact(layer.weights.across) {
                assert!(row.as_flattened()[layer.outputs..].iter().all(|&weight| weight == 0.0));
            }
        }
    }

    #[test]
    fn a_batch_is_learned_by_heart() {
        let (x, y) = batch(32, 20, 10);
        let mut network = Network::new(&[20, 64, 10], 1);
        let first = network.step(&x, &y, 0.1);
        let last = (0..300).fold(first, |_, _| network.step(&x, &y, 0.1));
        assert!(last < first / 50.0, "the loss went from {first} to {last}");
        assert_eq!(network.correct(&x, &y), 32);
    }

    #[test]
    fn batches_may_differ_in_size() {
        let (x, y) = batch(32, 20, 10);
        let mut mixed = Network::new(&[20, 64, 10], 1);
        let mut plain = Network::new(&[20, 64, 10], 1);
        mixed.step(&x, &y, 0.0);
        plain.step(&x[..20 * 5], &y[..5], 0.0);
        let told = [&mut mixed, &mut plain].map(|network| network.step(&x[..20 * 5], &y[..5], 0.0));
        assert_eq!(told[0], told[1]);
    }

    #[test]
    #[should_panic(expected = "the label 10 is none of 10 classes")]
    fn a_label_out_of_range_is_refused() {
        Network::new(&[4, 10], 0).step(&[0.5; 4], &[10], 0.1);
    }
}
