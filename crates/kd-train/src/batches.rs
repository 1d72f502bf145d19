//! From examples on the host to batches on a device: order, augmentation, and a thread that prepares ahead.
//!
//! A batch is a pure function of the seed, the stage, the epoch and its number, so a run that was cut off
//! anywhere goes on with the batch that would have come next.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use burn::tensor::{Device, Int, Tensor, TensorData};
use kd_datasets::{Dataset, Split};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::model::Task;
use crate::recipe::DataSpec;
use crate::seeds;

/// Examples of a batch in evaluation; its size changes nothing in a result.
pub const EVALUATION_BATCH: usize = 250;

/// A loaded data set with its split.
#[derive(Debug, Clone)]
pub struct Data {
    /// The examples.
    pub set: Arc<Dataset>,
    /// Training and validation indices into `set.train`.
    pub split: Arc<Split>,
    /// Examples of a training batch.
    pub batch: usize,
    /// Largest shift in pixels, in each direction.
    pub shift: usize,
}

/// Rows and labels on a device.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[batch, features]`, normalized.
    pub rows: Tensor<2>,
    /// `[batch]`
    pub labels: Tensor<1, Int>,
    /// The labels on the host.
    pub classes: Vec<u32>,
}

impl Batch {
    /// The same on another device.
    #[must_use]
    pub fn on(self, device: &Device) -> Self {
        let move_to = |rows: Tensor<2>| Tensor::from_data(rows.into_data(), device);
        Self { rows: move_to(self.rows), labels: Tensor::from_data(self.labels.into_data(), device), ..self }
    }

    /// Its examples, a batch each.
    pub fn examples(self) -> impl Iterator<Item = Self> {
        (0..self.classes.len()).map(move |at| Self {
            rows: self.rows.clone().narrow(0, at, 1),
            labels: self.labels.clone().narrow(0, at, 1),
            classes: vec![self.classes[at]],
        })
    }
}

impl Data {
    /// Puts a loaded set, its split and the recipe's words about them together.
    pub fn new(set: Arc<Dataset>, split: Split, spec: &DataSpec) -> Self {
        Self { set, split: Arc::new(split), batch: spec.batch, shift: spec.augment.shift }
    }

    /// What a model must fit.
    pub fn task(&self) -> Task {
        Task { input: self.set.shape.clone(), classes: self.set.classes }
    }

    /// Batches of a training epoch: whole ones only, unless there is not even one.
    pub fn steps(&self) -> usize {
        (self.split.train.len() / self.batch).max(1)
    }

    /// Training batches of an epoch from the one with number `from` on, in the order of `order`, prepared by a
    /// thread of their own.
    pub fn epoch(&self, seed: u64, order: &str, epoch: usize, from: usize, device: &Device) -> Epoch {
        let (send, receive) = sync_channel(4);
        let (data, order) = (self.clone(), order.to_owned());
        std::thread::spawn(move || {
            let mut indices = data.split.train.clone();
            indices.shuffle(&mut seeds::stream(seed, &format!("order {order}"), &[epoch as u64]));
            for step in from..data.steps() {
                let start = step * data.batch;
                let chosen = &indices[start..(start + data.batch).min(indices.len())];
                let mut rows = Vec::with_capacity(chosen.len() * data.task().features());
                data.set.train.rows(chosen, &mut rows);
                if data.shift > 0 {
                    let purpose = format!("augment {order}");
                    let mut rng = seeds::stream(seed, &purpose, &[epoch as u64, step as u64]);
                    shift(&mut rows, &data.set.shape, data.background(), data.shift, &mut rng);
                }
                let mut labels = Vec::with_capacity(chosen.len());
                data.set.train.labels_at(chosen, &mut labels);
                // The reader is gone when a run was stopped: nothing is left to do.
                if send.send((rows, labels)).is_err() {
                    break;
                }
            }
        });
        Epoch { receive, device: device.clone() }
    }

    /// Validation examples in order, in batches of [`EVALUATION_BATCH`].
    pub fn validation<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = Batch> + 'a {
        let chunks = self.split.validation.chunks(EVALUATION_BATCH);
        chunks.map(|indices| gather(&self.set.train, indices, device))
    }

    /// Test examples in order, in batches of [`EVALUATION_BATCH`].
    pub fn test<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = Batch> + 'a {
        let len = self.set.test.len();
        (0..len).step_by(EVALUATION_BATCH).map(move |start| {
            let indices: Vec<usize> = (start..(start + EVALUATION_BATCH).min(len)).collect();
            gather(&self.set.test, &indices, device)
        })
    }

    /// Rows of the first training batch in the split's order, to check a cut on.
    pub fn first_rows(&self, device: &Device) -> Tensor<2> {
        let count = self.batch.min(self.split.train.len());
        gather(&self.set.train, &self.split.train[..count], device).rows
    }

    /// The first `count` training batches in the split's order, without augmentation, for calibration.
    pub fn calibration<'a>(&'a self, count: usize, device: &'a Device) -> impl Iterator<Item = Batch> + 'a {
        let chunks = self.split.train.chunks(self.batch);
        chunks.take(count).map(|indices| gather(&self.set.train, indices, device))
    }

    /// The same, as often as it is wanted.
    pub fn calibration_again<'a>(
        &'a self,
        count: usize,
        device: &'a Device,
    ) -> impl Fn() -> Box<dyn Iterator<Item = Batch> + 'a> {
        move || Box::new(self.calibration(count, device))
    }

    /// What a black pixel becomes by normalization; shifted images are filled with it.
    fn background(&self) -> f32 {
        self.set.normalization().apply(0.0)
    }
}

/// The batches of an epoch as they become ready.
#[derive(Debug)]
pub struct Epoch {
    receive: Receiver<(Vec<f32>, Vec<u32>)>,
    device: Device,
}

impl Iterator for Epoch {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let (rows, classes) = self.receive.recv().ok()?;
        Some(upload(rows, classes, &self.device))
    }
}

fn gather(examples: &kd_datasets::Examples, indices: &[usize], device: &Device) -> Batch {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    examples.rows(indices, &mut rows);
    examples.labels_at(indices, &mut labels);
    upload(rows, labels, device)
}

fn upload(rows: Vec<f32>, classes: Vec<u32>, device: &Device) -> Batch {
    let (batch, labels) = (classes.len(), classes.iter().map(|&class| class as i32).collect::<Vec<_>>());
    let features = rows.len() / batch.max(1);
    Batch {
        rows: Tensor::from_data(TensorData::new(rows, [batch, features]), device),
        labels: Tensor::from_data(TensorData::new(labels, [batch]), device),
        classes,
    }
}

/// Moves every image of `rows` by its own whole number of pixels, up to `most` in each direction; what moves in
/// is `background`. Examples that are no images `[channels, height, width]` stay as they are.
fn shift(rows: &mut [f32], shape: &[usize], background: f32, most: usize, rng: &mut impl Rng) {
    let &[channels, height, width] = shape else { return };
    let plane = height * width;
    let mut moved = vec![background; plane];
    for image in rows.chunks_mut(channels * plane) {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let (down, right) =
            (rng.random_range(-most..=most) as isize, rng.random_range(-most..=most) as isize);
        for channel in image.chunks_mut(plane) {
            moved.fill(background);
            let columns = right.max(0)..(width as isize + right.min(0)).max(0);
            for y in 0..height as isize {
                let from = y - down;
                if (0..height as isize).contains(&from) && !columns.is_empty() {
                    let to = (y * width as isize + columns.start) as usize;
                    let from = (from * width as isize + columns.start - right) as usize;
                    let len = columns.len();
                    moved[to..to + len].copy_from_slice(&channel[from..from + len]);
                }
            }
            channel.copy_from_slice(&moved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_moves_whole_images_and_fills_with_the_background() {
        // One white pixel in a 5×5 image stays inside for shifts of up to two, wherever it goes.
        for seed in 0..50 {
            let mut image = vec![-1.0; 25];
            image[12] = 1.0;
            shift(&mut image, &[1, 5, 5], -1.0, 2, &mut seeds::stream(seed, "test", &[]));
            assert_eq!(image.iter().filter(|&&x| x == 1.0).count(), 1, "seed {seed}: {image:?}");
            assert_eq!(image.iter().filter(|&&x| x == -1.0).count(), 24, "seed {seed}: {image:?}");
        }
    }

    #[test]
    fn a_shift_moves_all_channels_of_an_image_alike_and_images_apart() {
        let image: Vec<f32> = (0..2 * 16).map(|i| (i % 16) as f32).collect();
        let mut rows = image.repeat(20);
        shift(&mut rows, &[2, 4, 4], 99.0, 1, &mut seeds::stream(3, "test", &[]));
        let mut different = 0;
        for pair in rows.chunks(32) {
            assert_eq!(pair[..16], pair[16..]);
            different += usize::from(pair[..16] != rows[..16]);
        }
        assert!(different > 5, "only {different} of 20 images moved differently from the first");
    }

    #[test]
    fn rows_that_are_no_images_stay() {
        let mut rows = vec![1.0, 2.0, 3.0];
        shift(&mut rows, &[3], 0.0, 2, &mut seeds::stream(3, "test", &[]));
        assert_eq!(rows, [1.0, 2.0, 3.0]);
    }
}
