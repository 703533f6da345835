//! The Control service: BuildKit's API over builds, store and history.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt as _;
use kiln_build::Builder;
use kiln_history::HistoryError;
use kiln_progress::wire::timestamp;
use kiln_store::{Filter, PruneError, PruneOptions, StoreError, Usage};
use kiln_wire::proto::control as wire;
use kiln_wire::proto::types;
use kiln_worker::Worker;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Pruner;

/// The service.
pub(crate) struct Control {
    pub(crate) builder: Builder,
    pub(crate) pruner: Pruner,
}

#[async_trait]
impl wire::control_server::Control for Control {
    async fn solve(
        &self,
        request: Request<wire::SolveRequest>,
    ) -> Result<Response<wire::SolveResponse>, Status> {
        let trace = self.builder.traces().begin(request.metadata());
        let _running = self.pruner.build();
        let result = self.builder.build(request.into_inner(), trace).await;
        result.map(Response::new).map_err(|status| status.to_status())
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<BoxStream<wire::StatusResponse>>, Status> {
        let id = request.into_inner().r#ref;
        if self.builder.builds().known(&id).is_none()
            && let Some(log) = self.builder.history().log(&id).await.unwrap_or_default()
        {
            let messages = log.map(|message| message.map_err(|error| history_status(&error)));
            return Ok(now(Response::new(messages.boxed())));
        }
        let build = self.builder.builds().get(&id).await;
        let build = build.ok_or_else(|| Status::not_found(format!("no such job {id}")))?;
        let messages = futures::stream::unfold((build, 0), |(build, seen)| async move {
            let message = build.next(seen).await?;
            Some((Ok((*message).clone()), (build, seen + 1)))
        });
        Ok(now(Response::new(messages.boxed())))
    }

    async fn session(
        &self,
        request: Request<Streaming<wire::BytesMessage>>,
    ) -> Result<Response<BoxStream<wire::BytesMessage>>, Status> {
        let metadata = request.metadata().clone();
        let outgoing = self.builder.sessions().handle(&metadata, request.into_inner());
        let outgoing = outgoing.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Response::new(Box::pin(outgoing.map(Ok))))
    }

    async fn disk_usage(
        &self,
        request: Request<wire::DiskUsageRequest>,
    ) -> Result<Response<wire::DiskUsageResponse>, Status> {
        let wire::DiskUsageRequest { filter, age_limit } = request.into_inner();
        let unused_for = Duration::from_nanos(natural("ageLimit", age_limit)?);
        let filter = Filter::parse(&filter);
        let filter = filter.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut usage =
            self.builder.store().usage(&filter).await.map_err(|error| store_status(&error))?;
        usage.retain(|usage| is_unused_for(unused_for, usage.last_used, SystemTime::now()));
        Ok(Response::new(wire::DiskUsageResponse {
            record: usage.into_iter().map(record).collect(),
        }))
    }

    async fn prune(
        &self,
        request: Request<wire::PruneRequest>,
    ) -> Result<Response<BoxStream<wire::UsageRecord>>, Status> {
        let options = prune_options(request.into_inner())?;
        let mut removed = Vec::new();
        let mut ids = Vec::new();
        let on_removed = &mut |usage: Usage| {
            ids.push(usage.id.clone());
            removed.push(Ok(record(usage)));
        };
        let pruned = self.builder.store().prune(options, on_removed).await;
        self.pruner.forget(ids).await;
        pruned.map_err(|error| match error {
            PruneError::Filter(error) => Status::invalid_argument(error.to_string()),
            PruneError::Store(error) => store_status(&error),
        })?;
        Ok(Response::new(Box::pin(futures::stream::iter(removed))))
    }

    async fn list_workers(
        &self,
        request: Request<wire::ListWorkersRequest>,
    ) -> Result<Response<wire::ListWorkersResponse>, Status> {
        let wire::ListWorkersRequest { filter } = request.into_inner();
        let worker = self.builder.worker();
        let info = worker.info();
        let matches = kiln_bridge::fits_worker(&filter, &info.id, &info.labels);
        if !matches.map_err(|error| Status::invalid_argument(error.to_string()))? {
            return Ok(Response::new(wire::ListWorkersResponse::default()));
        }
        let record = types::WorkerRecord {
            id: info.id.clone(),
            labels: info.labels.clone(),
            platforms: worker
                .platforms()
                .into_iter()
                .map(kiln_frontend::grpc::platform_to_wire)
                .collect(),
            buildkit_version: Some(version(&self.builder)),
            gc_policy: self.pruner.policies().into_iter().map(gc_policy).collect(),
            cdi_devices: devices(worker).await,
        };
        Ok(Response::new(wire::ListWorkersResponse { record: vec![record] }))
    }

    async fn listen_build_history(
        &self,
        request: Request<wire::BuildHistoryRequest>,
    ) -> Result<Response<BoxStream<wire::BuildHistoryEvent>>, Status> {
        let events = self.builder.history().listen(request.get_ref()).await;
        let events = events.map_err(|error| history_status(&error))?;
        let events = events.map(|event| event.map_err(|error| history_status(&error)));
        Ok(now(Response::new(events.boxed())))
    }

    async fn update_build_history(
        &self,
        request: Request<wire::UpdateBuildHistoryRequest>,
    ) -> Result<Response<wire::UpdateBuildHistoryResponse>, Status> {
        let wire::UpdateBuildHistoryRequest { r#ref: build, pinned, delete, finalize } =
            request.into_inner();
        let history = self.builder.history();
        let updated = match (delete, finalize) {
            (true, _) => history.forget(&build).await,
            (false, true) => {
                let written = history.written(Some(&build)).await;
                self.builder.traces().finalize(&build).await;
                written
            }
            (false, false) => history.pin(&build, pinned).await,
        };
        updated.map_err(|error| history_status(&error))?;
        Ok(Response::new(wire::UpdateBuildHistoryResponse {}))
    }

    async fn info(
        &self,
        _: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::InfoResponse>, Status> {
        Ok(Response::new(wire::InfoResponse { buildkit_version: Some(version(&self.builder)) }))
    }
}

/// What a client wants to be removed.
fn prune_options(request: wire::PruneRequest) -> Result<PruneOptions, Status> {
    let wire::PruneRequest {
        filter,
        all,
        keep_duration,
        reserved_space,
        max_used_space,
        min_free_space,
    } = request;
    Ok(PruneOptions {
        all,
        keep_images: !all,
        filter,
        keep_duration: Duration::from_nanos(natural("keepDuration", keep_duration)?),
        reserved_space: natural("reservedSpace", reserved_space)?,
        max_used_space: natural("maxUsedSpace", max_used_space)?,
        min_free_space: natural("minFreeSpace", min_free_space)?,
    })
}

/// A number of the protocol that cannot be negative.
fn natural(name: &str, number: i64) -> Result<u64, Status> {
    let invalid = || Status::invalid_argument(format!("{name} cannot be {number}"));
    u64::try_from(number).map_err(|_| invalid())
}

/// Whether something was last used so long ago. What is used in a moment to come is not.
fn is_unused_for(limit: Duration, last_used: SystemTime, now: SystemTime) -> bool {
    limit.is_zero() || now.duration_since(last_used).is_ok_and(|age| age >= limit)
}

/// A failure of the store as a status: a full disk is not the client's mistake.
fn store_status(error: &StoreError) -> Status {
    let message = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, error).message;
    match error.is_full() {
        true => Status::resource_exhausted(message),
        false => Status::internal(message),
    }
}

/// A failure of the history as a status.
pub(crate) fn history_status(error: &HistoryError) -> Status {
    let message = kiln_engine::OpError::from_error(kiln_engine::ErrorKind::Failed, error).message;
    match error {
        HistoryError::NotFound(_) => Status::not_found(message),
        HistoryError::Filter(_) | HistoryError::Limit(_) => Status::invalid_argument(message),
        HistoryError::Behind(_) => Status::data_loss(message),
        HistoryError::Busy | HistoryError::Closed => Status::unavailable(message),
        HistoryError::File { .. } | HistoryError::Database(_) => Status::internal(message),
    }
}

/// Says with an answer what time it is here, so that clients show times as if their clocks agreed.
fn now<T>(mut response: Response<T>) -> Response<T> {
    if let Ok(time) = timestamp(SystemTime::now()).to_string().parse() {
        response.metadata_mut().insert("buildkit-current-timestamp", time);
    }
    response
}

fn version(builder: &Builder) -> types::BuildkitVersion {
    types::BuildkitVersion {
        package: "kiln".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        dockerfile_version: builder.dockerfile_version().into(),
        ..types::BuildkitVersion::default()
    }
}

/// The devices that builds may ask for, as they are described now.
async fn devices(worker: &Worker) -> Vec<types::CdiDevice> {
    let worker = worker.clone();
    let read = tokio::task::spawn_blocking(move || worker.containers().devices());
    let devices = read.await.ok().flatten().unwrap_or_default();
    devices.iter().map(device).collect()
}

fn device(device: &kiln_cdi::Device) -> types::CdiDevice {
    types::CdiDevice {
        name: device.name.clone(),
        auto_allow: device.auto_allowed,
        annotations: device.annotations.clone(),
        on_demand: false,
    }
}

fn gc_policy(policy: PruneOptions) -> types::GcPolicy {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    types::GcPolicy {
        all: policy.all,
        filters: policy.filter,
        keep_duration: i64::try_from(policy.keep_duration.as_nanos()).unwrap_or(i64::MAX),
        reserved_space: number(policy.reserved_space),
        max_used_space: number(policy.max_used_space),
        min_free_space: number(policy.min_free_space),
    }
}

fn record(usage: Usage) -> wire::UsageRecord {
    wire::UsageRecord {
        id: usage.id,
        mutable: usage.mutable,
        in_use: usage.in_use,
        size: i64::try_from(usage.size).unwrap_or(i64::MAX),
        created_at: Some(timestamp(usage.created)),
        last_used_at: Some(timestamp(usage.last_used)),
        usage_count: i64::try_from(usage.usage_count).unwrap_or(i64::MAX),
        description: match usage.interrupted {
            true => format!("{} (a step that wrote to it was interrupted)", usage.description),
            false => usage.description,
        },
        record_type: usage.kind.as_str().to_owned(),
        shared: usage.shared,
        parents: usage.parents,
        ..wire::UsageRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn disk_use_can_be_asked_for_by_age() {
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        assert!(is_unused_for(Duration::ZERO, now, now) && !is_unused_for(minute, now, now));
        assert!(is_unused_for(minute, now - minute, now));
        assert!(!is_unused_for(minute, now + minute, now));
    }

    #[test]
    fn every_limit_of_a_prune_is_read_and_none_is_negative() {
        type Limit = fn(&mut wire::PruneRequest) -> &mut i64;
        let limits: [(&str, Limit); 4] = [
            ("keepDuration", |request| &mut request.keep_duration),
            ("reservedSpace", |request| &mut request.reserved_space),
            ("maxUsedSpace", |request| &mut request.max_used_space),
            ("minFreeSpace", |request| &mut request.min_free_space),
        ];
        let none = format!("{:?}", prune_options(wire::PruneRequest::default()).unwrap());
        for (name, limit) in limits {
            let mut request = wire::PruneRequest::default();
            *limit(&mut request) = 7;
            assert_ne!(format!("{:?}", prune_options(request.clone()).unwrap()), none, "{name}");
            *limit(&mut request) = -1;
            let error = prune_options(request).unwrap_err();
            assert_eq!(error.message(), format!("{name} cannot be -1"));
        }
    }

    #[test]
    fn a_full_disk_is_not_the_clients_mistake() {
        let full = StoreError::NoSpace { doing: "writing index", path: "/x".into() };
        assert_eq!(store_status(&full).code(), Code::ResourceExhausted);
        assert_eq!(store_status(&StoreError::Closed).code(), Code::Internal);
    }
}
