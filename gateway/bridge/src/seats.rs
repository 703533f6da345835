//! The frontends of a daemon, by name: linked in, plugins, images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_executor::Spawner;
use kiln_frontend::{Bridge as _, BuildResult, Frontend, Ref};
use kiln_oci::Reference;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::BuildBridge;
use crate::plugins::{PREFIX, PluginError, Plugins};
use crate::{frontend_image, seat};

/// What the seats are made of.
pub struct SeatsParts {
    /// Frontends that are linked in, by name.
    pub linked: BTreeMap<String, Arc<dyn Frontend>>,
    /// Which of them stands for an image, so that the image is not pulled.
    pub stands_for: fn(&Reference) -> Option<Arc<dyn Frontend>>,
    /// Which plugins may be started.
    pub plugins: Plugins,
    /// What starts plugins that are not confined.
    pub spawner: Spawner,
}

/// All frontends, by name.
pub struct Seats(SeatsParts);

/// Why there is no frontend.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// Nobody has that name.
    #[error(
        "frontend `{name}` not found: it is not built in ({built_in}), and there is no `{PREFIX}{name}` in the plugin \
         directories of this daemon; for an image, use gateway.v0 with the option source=IMAGE"
    )]
    Unknown {
        /// The name.
        name: String,
        /// Names that exist.
        built_in: String,
    },
    /// A path, of a daemon that starts no program of the caller's choice.
    #[error(
        "frontend `{path}` is a path, and this daemon starts plugins by name only, from its own directories \
         ({directories}): have its operator put the executable there as {PREFIX}NAME, make an image of it with \
         `kiln frontend pack`, or build with kiln's own daemon, without an address"
    )]
    Path {
        /// The path.
        path: String,
        /// Where plugins may be.
        directories: String,
    },
    /// A path that a frontend named.
    #[error(
        "frontend `{0}` is a path, and only the user may name one: frontends call each other by name or image"
    )]
    NestedPath(String),
    /// No executable there.
    #[error("there is no executable at `{path}`")]
    NotThere {
        /// The path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A plugin that is not to be trusted.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// `gateway.v0` without an image.
    #[error("gateway.v0 needs the option source=IMAGE, the frontend's image")]
    NoSource,
}

impl Seats {
    /// Seats for all of these.
    pub fn new(parts: SeatsParts) -> Self {
        Self(parts)
    }

    /// Calls a frontend by name: `gateway.v0`, one that is linked in, or a plugin's; the client of a
    /// daemon in its own process may also name a plugin by its path.
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
            let source = source.ok_or_else(|| refused(&SeatError::NoSource))?;
            // What is linked in stands for an image of its name, unless the client gives another.
            if frontend_image::is_given(source, bridge.info()) {
                return seat::call_image(source, bridge).await;
            }
            if let Some(linked) = self.0.linked.get(source) {
                return call_linked(&**linked, bridge).await;
            }
            if let Some(linked) =
                source.parse().ok().and_then(|source| (self.0.stands_for)(&source))
            {
                bridge.show(&format!("{source} is linked in"));
                return call_linked(&*linked, bridge).await;
            }
            return seat::call_image(source, bridge).await;
        }
        if let Some(linked) = self.0.linked.get(name) {
            return call_linked(&**linked, bridge).await;
        }
        let plugin = self.plugin(name, bridge.is_nested()).map_err(|error| refused(&error))?;
        match plugin {
            Some(path) if self.0.plugins.unconfined => {
                seat::call_on_host(&self.0.spawner, &path, bridge).await
            }
            Some(path) => seat::call_plugin(&path, bridge).await,
            None => {
                let built_in = self.0.linked.keys().cloned().collect::<Vec<_>>().join(", ");
                Err(refused(&SeatError::Unknown { name: name.to_owned(), built_in }))
            }
        }
    }

    fn plugin(&self, name: &str, nested: bool) -> Result<Option<PathBuf>, SeatError> {
        let plugins = &self.0.plugins;
        if !name.contains('/') {
            return Ok(plugins.find(name)?);
        }
        let path = name.to_owned();
        if !plugins.by_path {
            let directories = plugins.directories.iter();
            let directories: Vec<_> =
                directories.map(|directory| directory.path().display().to_string()).collect();
            let directories =
                if directories.is_empty() { "none".to_owned() } else { directories.join(", ") };
            return Err(SeatError::Path { path, directories });
        }
        if nested {
            return Err(SeatError::NestedPath(path));
        }
        let real = std::fs::canonicalize(name);
        real.map(Some).map_err(|source| SeatError::NotThere { path, source })
    }
}

async fn call_linked(
    frontend: &dyn Frontend,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    kiln_frontend::run(frontend, bridge).await.map_err(RichStatus::from)
}

fn refused(error: &SeatError) -> RichStatus {
    let code = match error {
        SeatError::Path { .. }
        | SeatError::NestedPath(_)
        | SeatError::Plugin(PluginError::Unsafe { .. }) => Code::PermissionDenied,
        _ => Code::InvalidArgument,
    };
    let error = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Invalid, error);
    RichStatus::new(code, error.message)
}
