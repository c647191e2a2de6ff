//! Images: there already, or pulled with their progress told.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use super::engine::EngineError;
use crate::unit::container::Pull;

/// Why there is no image to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("image {image} is not here, and Pull=never")]
    NotHere { image: String },
    #[error("image {image} cannot be pulled: {reason}")]
    Pull { image: String, reason: String },
}

/// Makes sure that the engine has an image; how far a pull has come goes to `progress`, in hundredths.
///
/// # Errors
/// [`ImageError`]
pub async fn ensure(docker: &Docker, image: &str, pull: Pull, progress: impl FnMut(u8)) -> Result<(), ImageError> {
    let here = match docker.inspect_image(image).await.map_err(EngineError::from) {
        Ok(_) => true,
        Err(EngineError::NotFound(_)) => false,
        Err(error) => return Err(error.into()),
    };
    match (pull, here) {
        (Pull::Missing | Pull::Never, true) => Ok(()),
        (Pull::Never, false) => Err(ImageError::NotHere { image: image.to_owned() }),
        (Pull::Newer, true) => match fetch(docker, image, progress).await {
            Err(ImageError::Pull { reason, .. }) => {
                tracing::warn!(image, reason, "the image that is here is used");
                Ok(())
            }
            done => done,
        },
        _ => fetch(docker, image, progress).await,
    }
}

async fn fetch(docker: &Docker, image: &str, mut progress: impl FnMut(u8)) -> Result<(), ImageError> {
    let options = CreateImageOptionsBuilder::default().from_image(&with_tag(image)).build();
    let mut steps = Box::pin(docker.create_image(Some(options), None, None));
    let mut layers = Layers::default();
    while let Some(step) = steps.next().await {
        match step.map_err(EngineError::from) {
            Ok(step) => {
                if let Some(hundredths) = layers.took(step) {
                    progress(hundredths);
                }
            }
            Err(EngineError::Away(why)) => return Err(EngineError::Away(why).into()),
            Err(error) => {
                return Err(ImageError::Pull { image: image.to_owned(), reason: error.to_string() });
            }
        }
    }
    Ok(())
}

/// Without a tag the API would pull all that there are.
fn with_tag(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// Bytes of each layer: how many came, and how many there are.
#[derive(Default)]
struct Layers(BTreeMap<String, (i64, i64)>);

impl Layers {
    /// What a step of the pull changes in the whole.
    fn took(&mut self, step: CreateImageInfo) -> Option<u8> {
        let (layer, detail) = (step.id?, step.progress_detail?);
        // Unpacking counts its bytes from 0 again.
        if step.status.as_deref() != Some("Downloading") {
            return None;
        }
        self.0.insert(layer, (detail.current?, detail.total?));
        let (came, all) = self.0.values().fold((0, 0), |(a, b), (came, all)| (a + came, b + all));
        u8::try_from(came.saturating_mul(100).checked_div(all)?.clamp(0, 100)).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn tags_are_added_where_there_is_none() {
        for (image, expected) in [
            ("web", "web:latest"),
            ("web:1", "web:1"),
            ("registry:5000/web", "registry:5000/web:latest"),
            ("registry:5000/web@sha256:0a", "registry:5000/web@sha256:0a"),
        ] {
            assert_eq!(with_tag(image), expected);
        }
    }

    #[test]
    fn progress_is_that_of_all_layers() {
        let mut layers = Layers::default();
        let mut step = |layer: &str, status: &str, current, total| {
            layers.took(CreateImageInfo {
                id: Some(layer.to_owned()),
                status: Some(status.to_owned()),
                progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
                ..CreateImageInfo::default()
            })
        };
        assert_eq!(step("a", "Downloading", 50, 100), Some(50));
        assert_eq!(step("b", "Downloading", 0, 100), Some(25));
        assert_eq!(step("a", "Extracting", 1, 100), None);
        assert_eq!(step("b", "Downloading", 100, 100), Some(75));
        assert_eq!(step("c", "Downloading", 5, 0), Some(77));
    }
}
