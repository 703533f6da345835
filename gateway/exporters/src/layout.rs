//! An image in a content store of the client, blob by blob, instead of an archive (`tar=false`).
//!
//! What is named by a document is there before the document. The client, which is told the root of
//! the image, makes a layout of it.

use kiln_oci::Descriptor;
use kiln_registry::BodySource;
use kiln_store::Requester;

use crate::assemble::Image;
use crate::client::Client;
use crate::error::ExportError;
use crate::export::ExportContext;
use crate::image::{LayerBody, damage};
use crate::vertex::Reporter;

/// Writes every blob and document of an image.
pub(crate) async fn store(
    context: &ExportContext,
    client: &dyn Client,
    image: &Image,
    requester: &Requester,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let status = reporter.status("sending blobs");
    for layer in image.layers() {
        let sent = put(client, &layer.descriptor, &LayerBody::new(layer, requester)).await;
        if let Err(error) = sent {
            return Err(damage(context, layer).await.unwrap_or(error));
        }
    }
    for document in image.documents() {
        put(client, &document.descriptor, &document.bytes).await?;
    }
    status.done();
    Ok(())
}

async fn put(
    client: &dyn Client,
    descriptor: &Descriptor,
    source: &dyn BodySource,
) -> Result<(), ExportError> {
    let stored = client.store_blob(descriptor, source.open()).await;
    stored.map_err(ExportError::Client)
}
