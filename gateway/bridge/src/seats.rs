//! Where frontends sit: linked in, plugins, images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_executor::Spawner;
use kiln_frontend::{Bridge as _, BuildResult, Frontend, Ref};
use kiln_oci::Reference;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::{BuildBridge, FrontendRules};
use crate::{frontend_image, seat};

/// The name of a plugin's executable is this and the frontend's name.
const PLUGIN_PREFIX: &str = "kiln-frontend-";

/// What the seats are made of.
pub struct SeatsParts {
    /// Frontends that are linked in, by name.
    pub linked: BTreeMap<String, Arc<dyn Frontend>>,
    /// Which of them stands for an image, so that the image is not pulled.
    pub stands_for: fn(&Reference) -> Option<Arc<dyn Frontend>>,
    /// Directories with plugins.
    pub plugin_path: Vec<PathBuf>,
    /// What starts plugins.
    pub spawner: Spawner,
    /// Which frontends builds may use.
    pub rules: FrontendRules,
}

/// All frontends, by name.
pub struct Seats(SeatsParts);

/// Why there is no frontend.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// Nobody has that name.
    #[error(
        "frontend `{name}` not found: it is not built in ({built_in}), no executable at that path, and no \
         `{PLUGIN_PREFIX}{name}` on the plugin path; for an image, use gateway.v0 with the option source=IMAGE"
    )]
    Unknown {
        /// The name.
        name: String,
        /// Names that exist.
        built_in: String,
    },
    /// `gateway.v0` without an image.
    #[error("gateway.v0 needs the option source=IMAGE, the frontend's image")]
    NoSource,
}

impl Seats {
    /// Seats for all of these.
    pub fn new(parts: SeatsParts) -> Self {
        Self(parts)
    }

    /// Calls a frontend by name: `gateway.v0`, one that is linked in, a path or a plugin's name.
    ///
    /// # Errors
    ///
    /// The frontend's own, or that there is none.
    pub async fn call(
        &self,
        name: &str,
        bridge: &BuildBridge,
    ) -> Result<BuildResult<Ref>, RichStatus> {
        let options = &bridge.info().options;
        if name == "gateway.v0" {
            let source = options.get("source").filter(|source| !source.is_empty());
            let source = source.ok_or_else(|| invalid(&SeatError::NoSource))?;
            let given = frontend_image::is_given(source, bridge.info());
            // What is linked in stands for an image of its name, unless the client gives another.
            if let Some(linked) = self.0.linked.get(source).filter(|_| !given) {
                self.0.rules.check_name(source).map_err(|error| invalid(&error))?;
                return call_linked(&**linked, bridge).await;
            }
            self.0.rules.check_name(name).map_err(|error| invalid(&error))?;
            self.0.rules.check_image(source).map_err(|error| invalid(&error))?;
            if given {
                let image = frontend_image::given(source, bridge.info());
                if let Some(image) = image.map_err(|error| invalid(&*error))? {
                    self.0.rules.check_given(&image).map_err(|error| invalid(&error))?;
                }
                return seat::call_image(source, bridge).await;
            }
            if let Some(linked) =
                source.parse().ok().and_then(|source| (self.0.stands_for)(&source))
            {
                bridge.show(&format!("{source} is linked in"));
                return call_linked(&*linked, bridge).await;
            }
            return seat::call_image(source, bridge).await;
        }
        self.0.rules.check_name(name).map_err(|error| invalid(&error))?;
        if let Some(linked) = self.0.linked.get(name) {
            return call_linked(&**linked, bridge).await;
        }
        match self.plugin(name) {
            Some(path) => seat::call_plugin(&self.0.spawner, &path, bridge).await,
            None => {
                let built_in = self.0.linked.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(invalid(&SeatError::Unknown { name: name.to_owned(), built_in }))
            }
        }
    }

    fn plugin(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return std::fs::canonicalize(name).ok().filter(|path| path.is_file());
        }
        let name = format!("{PLUGIN_PREFIX}{}", name.trim_end_matches(".v0"));
        self.0
            .plugin_path
            .iter()
            .map(|directory: &PathBuf| directory.join(&name))
            .find(|path: &PathBuf| Path::is_file(path))
    }
}

async fn call_linked(
    frontend: &dyn Frontend,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    kiln_frontend::run(frontend, bridge).await.map_err(RichStatus::from)
}

fn invalid(error: &dyn std::error::Error) -> RichStatus {
    RichStatus::new(Code::InvalidArgument, error.to_string())
}
