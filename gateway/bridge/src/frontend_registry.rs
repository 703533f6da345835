//! The frontends of a daemon, by name: linked in, plugins, images.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_document::did_you_mean;
use kiln_executor::Spawner;
use kiln_frontend::{Bridge as _, BuildResult, Frontend, Ref};
use kiln_oci::Reference;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::plugins::{PREFIX, PluginError, Plugins};
use crate::{BuildBridge, FrontendRules};
use crate::{frontend_image, frontend_process};

/// What a registry is made of.
pub struct FrontendRegistryParts {
    /// Frontends that are linked in, by name.
    pub linked: BTreeMap<String, Arc<dyn Frontend>>,
    /// Which of them stands for an image, so that the image is not pulled.
    pub stands_for: fn(&Reference) -> Option<Arc<dyn Frontend>>,
    /// Which plugins may be started.
    pub plugins: Plugins,
    /// What starts plugins that are not confined.
    pub spawner: Spawner,
    /// Which frontends builds may use.
    pub rules: FrontendRules,
}

/// All frontends, by name.
pub struct FrontendRegistry(FrontendRegistryParts);

/// Why there is no frontend.
#[derive(Debug, thiserror::Error)]
pub enum FrontendLookupError {
    /// Nobody has that name.
    #[error(
        "frontend `{name}` not found{}: it is not built in ({built_in}), and there is no `{PREFIX}{name}` in the plugin \
         directories of this daemon; for an image, use gateway.v0 with the option source=IMAGE",
        meant.as_ref().map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"))
    )]
    Unknown {
        /// The name.
        name: String,
        /// Names that exist.
        built_in: String,
        /// The one of them that may have been meant.
        meant: Option<String>,
    },
    /// A plugin that is not started.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// `gateway.v0` without an image.
    #[error("gateway.v0 needs the option source=IMAGE, the frontend's image")]
    NoSource,
}

impl FrontendRegistry {
    /// FrontendRegistry for all of these.
    pub fn new(parts: FrontendRegistryParts) -> Self {
        Self(parts)
    }

    /// Calls a frontend by name: `gateway.v0`, one that is linked in, or a plugin's; the client of a
    /// daemon in its own process may also name a plugin by its path.
    ///
    /// # Errors
    ///
    /// The frontend's own, or that there is none.
    pub fn call<'a>(
        &'a self,
        name: &'a str,
        bridge: &'a BuildBridge,
    ) -> BoxFuture<'a, Result<BuildResult<Ref>, RichStatus>> {
        Box::pin(async move {
            let options = &bridge.info().options;
            if name == "gateway.v0" {
                let source = options.get("source").filter(|source| !source.is_empty());
                let source = source.ok_or_else(|| refused(&FrontendLookupError::NoSource))?;
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
                    return frontend_process::call_image(source, bridge).await;
                }
                if let Some(linked) =
                    source.parse().ok().and_then(|source| (self.0.stands_for)(&source))
                {
                    bridge.show(&format!("{source} is linked in"));
                    return call_linked(&*linked, bridge).await;
                }
                return frontend_process::call_image(source, bridge).await;
            }
            self.0.rules.check_name(name).map_err(|error| invalid(&error))?;
            if let Some(linked) = self.0.linked.get(name) {
                return call_linked(&**linked, bridge).await;
            }
            let plugin = self.0.plugins.choose(name, bridge.is_nested());
            match plugin.map_err(|error| refused(&error.into()))? {
                Some(path) if self.0.plugins.unconfined => {
                    frontend_process::call_on_host(&self.0.spawner, &path, bridge).await
                }
                Some(path) => frontend_process::call_plugin(&path, bridge).await,
                None => {
                    let names = self.0.linked.keys();
                    let known = names.clone().map(String::as_str).chain(["gateway.v0"]);
                    let meant = did_you_mean(name, known).map(str::to_owned);
                    let built_in = names.cloned().collect::<Vec<_>>().join(", ");
                    Err(refused(&FrontendLookupError::Unknown {
                        name: name.to_owned(),
                        built_in,
                        meant,
                    }))
                }
            }
        })
    }
}

async fn call_linked(
    frontend: &dyn Frontend,
    bridge: &BuildBridge,
) -> Result<BuildResult<Ref>, RichStatus> {
    kiln_frontend::run(frontend, bridge).await.map_err(RichStatus::from)
}

fn refused(error: &FrontendLookupError) -> RichStatus {
    let code = match error {
        FrontendLookupError::Plugin(error) if error.is_denial() => Code::PermissionDenied,
        _ => Code::InvalidArgument,
    };
    status(code, error)
}

fn invalid(error: &dyn std::error::Error) -> RichStatus {
    status(Code::InvalidArgument, error)
}

fn status(code: Code, error: &dyn std::error::Error) -> RichStatus {
    let error = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Invalid, error);
    RichStatus::new(code, error.message)
}
