//! Decides on the requests of steps that have a proxy: by the policies of the build, as on any file that is
//! fetched from an address.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use async_trait::async_trait;
use kiln_container::Judge;
use kiln_policy::Source;

use crate::build_bridge::WeakBridge;

/// See the module. It is made before the bridge that it asks.
#[derive(Default)]
pub(crate) struct RequestJudge {
    /// Not held: the build has the judge.
    pub(crate) bridge: OnceLock<WeakBridge>,
}

#[async_trait]
impl Judge for RequestJudge {
    async fn judge(&self, url: &str) -> Result<Option<String>, String> {
        let bridge = self.bridge.get().and_then(WeakBridge::upgrade);
        let bridge = bridge.ok_or("the build has ended")?;
        let source = Source { identifier: url.to_owned(), attrs: BTreeMap::new() };
        let judged = bridge.judge(&bridge.policies, source, None).await;
        let judged = judged.map_err(|error| error.to_string())?;
        if !judged.attrs.is_empty() {
            return Err("the policy adds attributes, which a request of a step cannot have".into());
        }
        Ok((judged.identifier != url).then_some(judged.identifier))
    }
}
