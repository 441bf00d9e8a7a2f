//! The images of a part of a run, which may be there already.

use burn::tensor::TensorData;
use burn_seqlora::Shard;
use burn_seqlora::data::Parameters;
use burn_seqlora::error::Error;

use super::orders::Order;
use super::parameters::RunParameters;
use crate::images::numbered;

/// Gives each image the number of its file, and leaves those of a part.
pub fn of_shard(
    orders: Vec<Order>,
    latents: Vec<Option<TensorData>>,
    shard: Shard,
) -> (Vec<Order>, Vec<Option<TensorData>>) {
    let all = orders.into_iter().zip(latents).enumerate();
    let part = all.filter(|(place, _)| shard.has(*place));
    part.map(|(place, (order, latents))| (Order { place: Some(place), ..order }, latents)).unzip()
}

/// Leaves what is not there yet.
///
/// # Errors
/// If an image that is there was made with other settings, or cannot be read.
pub fn missing(
    orders: Vec<Order>,
    latents: Vec<Option<TensorData>>,
    parameters: &RunParameters,
) -> Result<(Vec<Order>, Vec<Option<TensorData>>), Error> {
    let (mut left, mut left_latents) = (Vec::new(), Vec::new());
    for (order, latents) in orders.into_iter().zip(latents) {
        let file = order.place.map(|place| numbered(&parameters.args.out, place));
        match file.filter(|file| file.exists()) {
            None => {
                left.push(order);
                left_latents.push(latents);
            }
            Some(file) => {
                let there = Parameters::read(&file)?.to_string();
                if there != parameters.text(&order) {
                    return Err(Error::Invalid(format!(
                        "--shard: {} was made with other settings; choose another folder",
                        file.display()
                    )));
                }
            }
        }
    }
    Ok((left, left_latents))
}
